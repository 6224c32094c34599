//! GEMM for many rows: each panel of the right operand is packed, and then multiplied by all rows of the left operand.
//!
//! A panel has the depth of a [`BLOCK`]. With AVX2, it has 16 columns and takes about half of a 32 KiB L1 cache.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::{BLOCK, Operands, TileBuffer, multiply_rows};
use super::pack::{PackBuffers, pack, reserve};
use crate::aligned::odd_cache_lines;
use crate::microkernel::{Product, ROWS, RightOperand, columns};
use crate::output_tiles::Tile;
use crate::simd::{Kernel, Simd};

/// A column-major left operand is packed if its columns are at least this far apart. Closer columns are read where they are.
const MIN_PACKED_STRIDE: usize = 128;

/// The loop nest for many rows.
pub(super) struct Packed<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) buffers: &'a mut PackBuffers,
}

impl Kernel for Packed<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, buffers) = (self.operands, self.buffers);
        let (rows, width) = (tile.rows.len(), columns::<S>());
        let (left_stride, panel) = (odd_cache_lines(rows), reserve(&mut buffers.right, BLOCK * width));
        for depth in (0..k).step_by(BLOCK) {
            let steps = BLOCK.min(k - depth);
            let a = match a.skip(0, depth) {
                a if a.col_stride == 1 || a.row_stride == 1 && a.col_stride < MIN_PACKED_STRIDE => a,
                // Columns that are far apart, often by a power of two, would evict each other from the cache.
                a => {
                    let left = reserve(&mut buffers.left, BLOCK * left_stride);
                    pack(simd, a.transpose(), steps, rows, left_stride, left);
                    Matrix::transposed(left, left_stride)
                }
            };
            for column in (0..tile.columns.len()).step_by(width) {
                let count = width.min(tile.columns.len() - column);
                pack(simd, b.skip(depth, column), steps, count, width, panel);
                let right =
                    RightOperand { start: panel.as_ptr(), depth_stride: width, vectors: count.div_ceil(S::LANES) };
                multiply_panel(simd, steps, a, right, tile, column, count, accumulate || depth > 0);
            }
        }
    }
}

/// Multiplies `a` by one panel, into `count` columns of the tile from `column` on.
///
/// The microkernel writes whole vectors. If `count` isn't a multiple of a vector, it writes to a buffer instead, from which the
/// columns are copied.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands and destination of one product")]
fn multiply_panel<S: Simd>(
    simd: S,
    steps: usize,
    a: Matrix,
    right: RightOperand,
    tile: &mut Tile,
    column: usize,
    count: usize,
    accumulate: bool,
) {
    let (rows, width) = (tile.rows.len(), columns::<S>());
    if count.is_multiple_of(S::LANES) {
        let (start, row_stride) = tile.as_mut_ptr();
        // SAFETY: `gemm_tile` checked the operands' extent, and these columns lie within the tile.
        unsafe {
            let product = Product { start: start.add(column), row_stride };
            return multiply_rows(simd, rows, steps, a, right, product, accumulate);
        }
    }
    let mut buffer: TileBuffer = [0.0; _];
    for row in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - row);
        for (r, buffer) in buffer.chunks_exact_mut(width).take(height).enumerate() {
            buffer[..count].copy_from_slice(&tile.row(row + r)[column..][..count]);
        }
        let product = Product { start: buffer.as_mut_ptr(), row_stride: width };
        // SAFETY: as above; every row of the buffer holds `width` values.
        unsafe { multiply_rows(simd, height, steps, a.skip(row, 0), right, product, accumulate) };
        for (r, buffer) in buffer.chunks_exact(width).take(height).enumerate() {
            tile.row(row + r)[column..][..count].copy_from_slice(&buffer[..count]);
        }
    }
}
