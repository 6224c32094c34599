//! One tile of a matrix product on one thread, by the shape of its operands.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use std::cell::RefCell;

use super::Matrix;
use super::packed::Packed;
use super::swept::Swept;
use super::turned::Turned;
use crate::aligned::AlignedVec;
use crate::microkernel::{Ahead, Columns, Left, Product, ROWS, Right, Rows, columns, multiply};
use crate::number::F32;
use crate::simd::{Isa, MAX_COLUMNS, Simd};
use crate::tiles::Tile;

/// Operands of one tile: `tile = a b` or `tile += a b`, over `k` steps.
pub(super) struct Operands<'a, 'b, 't> {
    pub(super) k: usize,
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'b>,
    pub(super) accumulate: bool,
    pub(super) tile: &'a mut Tile<'t>,
}

/// Sums of one tile of products.
pub(super) type Sums = [f32; ROWS * MAX_COLUMNS];

/// Copies of operands in the order in which they are used.
pub(super) struct Copies {
    pub(super) left: AlignedVec,
    pub(super) right: AlignedVec,
}

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

/// Copies `steps` rows of `count` columns, each filled up to `width` with zeros.
#[inline(always)]
pub(super) fn pack<S: Simd>(simd: S, b: Matrix, steps: usize, count: usize, width: usize, to: &mut [f32]) {
    if b.col_stride == 1 && count == columns::<S>() && width == count {
        return pack_whole(simd, b, steps, to);
    }
    for (step, to) in to.chunks_exact_mut(width).take(steps).enumerate() {
        let row = &b.data[step * b.row_stride..];
        match b.col_stride {
            1 => to[..count].copy_from_slice(&row[..count]),
            stride => to[..count].iter_mut().zip(row.iter().step_by(stride)).for_each(|(to, b)| *to = *b),
        }
        to[count..].fill(0.0);
    }
}

/// [`pack`] of a panel of as many columns as a tile of products has. A copy by the library's function takes longer than the
/// products of a few rows.
#[inline(always)]
fn pack_whole<S: Simd>(simd: S, b: Matrix, steps: usize, to: &mut [f32]) {
    let width = columns::<S>();
    assert!(to.len() >= steps * width && (steps == 0 || b.data.len() >= (steps - 1) * b.row_stride + width));
    for step in 0..steps {
        for vector in 0..S::VECTORS {
            // SAFETY: the assertion above.
            unsafe {
                let x = simd.load(b.data.as_ptr().add(step * b.row_stride + vector * S::LANES));
                simd.store(x, to.as_mut_ptr().add(step * width + vector * S::LANES));
            }
        }
    }
}

/// The first `len` values of a copy, which grows where it must.
pub(super) fn room(copy: &mut AlignedVec, len: usize) -> &mut [f32] {
    if copy.as_slice().len() < len {
        *copy = AlignedVec::zeros(len);
    }
    &mut copy.as_mut_slice()[..len]
}

/// [`multiply`] with a left operand one of whose strides is 1.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
pub(super) unsafe fn multiply_rows<S: Simd>(
    simd: S,
    rows: usize,
    steps: usize,
    a: Matrix,
    right: Right,
    product: Product,
    accumulate: bool,
) {
    #[inline(always)]
    unsafe fn with<S: Simd, L: Left>(simd: S, rows: usize, steps: usize, a: L, b: Right, c: Product, accumulate: bool) {
        // SAFETY: the caller's promise.
        unsafe { multiply::<S, F32, L>(simd, rows, steps, a, b, c, accumulate, Ahead::NOTHING) }
    }
    let start = a.data.as_ptr();
    // SAFETY: the caller's promise.
    unsafe {
        match a.col_stride {
            1 => with(simd, rows, steps, Rows { start, outer: a.row_stride }, right, product, accumulate),
            inner => {
                debug_assert_eq!(a.row_stride, 1);
                with(simd, rows, steps, Columns { start, inner }, right, product, accumulate);
            }
        }
    }
}
