//! The operands of one tile of a matrix product, and the call of the microkernel on them.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use crate::microkernel::{
    AddSums, ColumnMajor, LeftOperand, Prefetch, Product, ROWS, RightOperand, RowMajor, StoreSums, multiply_then,
};
use crate::number::F32;
use crate::output_tiles::Tile;
use crate::simd::{MAX_COLUMNS, Simd};

/// Operands of one tile: `tile = a b`, or `tile += a b` with `accumulate`, of depth `k`.
pub(super) struct Operands<'a, 'b, 't> {
    pub(super) k: usize,
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'b>,
    pub(super) accumulate: bool,
    pub(super) tile: &'a mut Tile<'t>,
}

/// Memory for one register tile of any instruction set, for blocks that aren't whole vectors wide.
pub(super) type TileBuffer = [f32; ROWS * MAX_COLUMNS];

/// Steps of the depth in a block (KC in BLIS). Every loop nest sums each block by itself, and adds the sum to that of the blocks
/// before: the bits of an element depend neither on the loop nest nor on the tiling.
///
/// If one accumulator summed the whole depth, each step would be rounded to the precision of the sum so far. Where all products are
/// nearly equal, as in the kernel gradient of a layer below an average pooling, these errors have the same sign: the relative error
/// of the sum would grow linearly with the depth.
pub(crate) const BLOCK: usize = 264;

/// `product = a b`, or `product += a b` with `accumulate`, of at most [`BLOCK`] steps. The left operand is row-major or
/// column-major: one of its strides must be 1.
///
/// # Safety
/// As [`multiply_then`].
#[inline(always)]
pub(super) unsafe fn multiply_rows<S: Simd>(
    simd: S,
    rows: usize,
    steps: usize,
    a: Matrix,
    right: RightOperand,
    product: Product,
    accumulate: bool,
) {
    #[inline(always)]
    unsafe fn with<S: Simd, L: LeftOperand>(
        simd: S,
        rows: usize,
        steps: usize,
        a: L,
        b: RightOperand,
        c: Product,
        accumulate: bool,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match accumulate {
                true => multiply_then::<S, F32, L, _>(simd, rows, steps, a, b, c, false, Prefetch::NONE, AddSums),
                false => multiply_then::<S, F32, L, _>(simd, rows, steps, a, b, c, false, Prefetch::NONE, StoreSums),
            }
        }
    }
    debug_assert!(steps <= BLOCK);
    let start = a.data.as_ptr();
    // SAFETY: the caller's promise.
    unsafe {
        match a.col_stride {
            1 => with(simd, rows, steps, RowMajor { start, row_stride: a.row_stride }, right, product, accumulate),
            depth_stride => {
                debug_assert_eq!(a.row_stride, 1);
                with(simd, rows, steps, ColumnMajor { start, depth_stride }, right, product, accumulate);
            }
        }
    }
}
