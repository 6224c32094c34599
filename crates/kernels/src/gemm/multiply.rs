//! One tile of a matrix product on one thread: the choice of the loop nest by shape and layout of the operands.

use std::cell::RefCell;

use super::few_rows::Skinny;
use super::few_rows_transposed::Transposed;
use super::many_rows::Packed;
use super::operands::Operands;
use super::pack::PackBuffers;
use crate::aligned::AlignedVec;
use crate::simd::Isa;

thread_local! {
    /// Buffers for packed operands, reused by all products of the thread. They grow to 1 or 2 MiB.
    static PACK_BUFFERS: RefCell<PackBuffers> =
        RefCell::new(PackBuffers { left: AlignedVec::zeros(0), right: AlignedVec::zeros(0) });
}

/// Computes one tile, whose sizes must not be zero. Every loop nest sums the same blocks of the depth in order.
pub(super) fn run(isa: Isa, operands: Operands) {
    let (rows, columns) = (operands.tile.rows.len(), operands.tile.columns.len());
    let (k, b) = (operands.k, operands.b);
    PACK_BUFFERS.with_borrow_mut(|buffers| {
        if b.col_stride == 1 && Skinny::suits(rows, k, columns) {
            isa.run(Skinny { operands, buffers });
        } else if b.row_stride == 1 && rows <= Transposed::MAX_ROWS {
            isa.run(Transposed { operands, buffers });
        } else {
            isa.run(Packed { operands, buffers });
        }
    });
}
