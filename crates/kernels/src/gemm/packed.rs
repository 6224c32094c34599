//! Products of many rows: panels of the right operand are copied, and all rows multiplied with each.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::{Operands, Sums, multiply_rows};
use super::pack::{Copies, pack, room};
use crate::aligned::odd_lines;
use crate::microkernel::{Product, ROWS, Right, columns};
use crate::simd::{Kernel, Simd};
use crate::tiles::Tile;

/// Steps of the depth that are copied at a time: with 16 columns half of the first-level cache.
const DEPTH: usize = 256;

/// From here on, steps lie far apart.
const FAR: usize = 128;

pub(super) struct Packed<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) copies: &'a mut Copies,
}

impl Kernel for Packed<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, copies) = (self.operands, self.copies);
        let (rows, width) = (tile.rows.len(), columns::<S>());
        let (side_by_side, panel) = (odd_lines(rows), room(&mut copies.right, DEPTH * width));
        for depth in (0..k).step_by(DEPTH) {
            let steps = DEPTH.min(k - depth);
            let a = match a.skip(0, depth) {
                a if a.col_stride == 1 || a.row_stride == 1 && a.col_stride < FAR => a,
                // Steps that lie far apart would push each other out of the cache.
                a => {
                    let left = room(&mut copies.left, DEPTH * side_by_side);
                    pack(simd, a.turned(), steps, rows, side_by_side, left);
                    Matrix::transposed(left, side_by_side)
                }
            };
            for column in (0..tile.columns.len()).step_by(width) {
                let count = width.min(tile.columns.len() - column);
                pack(simd, b.skip(depth, column), steps, count, width, panel);
                let right = Right { start: panel.as_ptr(), inner: width, vectors: count.div_ceil(S::LANES) };
                write(simd, steps, a, right, tile, column, count, accumulate || depth > 0);
            }
        }
    }
}

/// Multiplies into `count` columns of the tile from `column` on; where they are no whole vectors, by way of a copy.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands, and where to")]
fn write<S: Simd>(
    simd: S,
    steps: usize,
    a: Matrix,
    right: Right,
    tile: &mut Tile,
    column: usize,
    count: usize,
    accumulate: bool,
) {
    let (rows, width) = (tile.rows.len(), columns::<S>());
    if count.is_multiple_of(S::LANES) {
        let (start, outer) = tile.as_mut_ptr();
        // SAFETY: `gemm_tile` checked the operands' extent, and these columns lie within the tile.
        unsafe {
            let product = Product { start: start.add(column), outer };
            return multiply_rows(simd, rows, steps, a, right, product, accumulate);
        }
    }
    let mut sums: Sums = [0.0; _];
    for row in (0..rows).step_by(ROWS) {
        let some = ROWS.min(rows - row);
        for (r, sums) in sums.chunks_exact_mut(width).take(some).enumerate() {
            sums[..count].copy_from_slice(&tile.row(row + r)[column..][..count]);
        }
        let product = Product { start: sums.as_mut_ptr(), outer: width };
        // SAFETY: as above; every row of the sums holds `width` values.
        unsafe { multiply_rows(simd, some, steps, a.skip(row, 0), right, product, accumulate) };
        for (r, sums) in sums.chunks_exact(width).take(some).enumerate() {
            tile.row(row + r)[column..][..count].copy_from_slice(&sums[..count]);
        }
    }
}
