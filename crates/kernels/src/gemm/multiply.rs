//! One tile of a matrix product on one thread: the choice of the loop nest by the shape of the operands.

use std::cell::RefCell;

use super::operands::Operands;
use super::pack::Copies;
use super::packed::Packed;
use super::swept::Swept;
use super::turned::Turned;
use crate::aligned::AlignedVec;
use crate::simd::Isa;

thread_local! {
    /// Kept from one product to the next; they grow to a megabyte or two at most.
    static COPIES: RefCell<Copies> =
        RefCell::new(Copies { left: AlignedVec::zeros(0), right: AlignedVec::zeros(0) });
}

/// Computes a tile none of whose sizes is zero. Every element is summed along the depth in order, whichever way is taken.
pub(super) fn run(isa: Isa, operands: Operands) {
    let (rows, columns) = (operands.tile.rows.len(), operands.tile.columns.len());
    let (k, b) = (operands.k, operands.b);
    COPIES.with_borrow_mut(|copies| {
        if b.col_stride == 1 && Swept::suits(rows, k, columns) {
            isa.run(Swept { operands, copies });
        } else if b.row_stride == 1 && rows <= Turned::ROWS {
            isa.run(Turned { operands, copies });
        } else {
            isa.run(Packed { operands, copies });
        }
    });
}
