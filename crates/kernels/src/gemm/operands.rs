//! The operands of one tile of a matrix product, and their product in registers.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use crate::microkernel::{Ahead, Columns, Left, Product, ROWS, Right, Rows, multiply};
use crate::number::F32;
use crate::simd::{MAX_COLUMNS, Simd};
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
