//! Products of few rows with a right operand in columns. Those lie side by side in memory, as the left one's rows ought to: so
//! the operands change places, `cᵀ = bᵀ aᵀ`, and the large one is read once, as it lies.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::{Operands, Sums, multiply_rows};
use super::pack::{Copies, pack, room};
use crate::microkernel::{Product, ROWS, Right, columns};
use crate::simd::{Kernel, Simd};
use crate::tiles::Tile;

/// Steps of the depth for which the left operand is copied at a time.
const DEPTH: usize = 2048;

pub(super) struct Turned<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) copies: &'a mut Copies,
}

impl Turned<'_, '_, '_> {
    /// Most rows for which this is faster than packing the right operand: the copy costs as much as the products of a few rows.
    pub(super) const ROWS: usize = 64;
}

impl Kernel for Turned<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, copies) = (self.operands, self.copies);
        let (rows, width, all) = (tile.rows.len(), columns::<S>(), tile.columns.len());
        for depth in (0..k).step_by(DEPTH) {
            let steps = DEPTH.min(k - depth);
            let panels = room(&mut copies.right, rows.div_ceil(width) * steps * width);
            for (index, panel) in panels.chunks_exact_mut(steps * width).enumerate() {
                let count = width.min(rows - index * width);
                pack(simd, a.skip(index * width, depth).turned(), steps, count, width, panel);
            }
            for column in (0..all).step_by(ROWS) {
                let left = b.skip(depth, column).turned();
                for (index, panel) in panels.chunks_exact(steps * width).enumerate() {
                    let (at, size) =
                        ([index * width, column], [width.min(rows - index * width), ROWS.min(all - column)]);
                    let right = Right { start: panel.as_ptr(), inner: width, vectors: size[0].div_ceil(S::LANES) };
                    write(simd, steps, left, right, tile, at, size, accumulate || depth > 0);
                }
            }
        }
    }
}

/// Multiplies into a part of the tile, from `at` on, of `count` rows and `across` columns.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands, and where to")]
fn write<S: Simd>(
    simd: S,
    steps: usize,
    left: Matrix,
    right: Right,
    tile: &mut Tile,
    [row, column]: [usize; 2],
    [count, across]: [usize; 2],
    accumulate: bool,
) {
    let width = columns::<S>();
    let mut sums: Sums = [0.0; _];
    if accumulate {
        for (r, row) in (row..row + count).enumerate() {
            let row = &tile.row(row)[column..][..across];
            row.iter().enumerate().for_each(|(c, value)| sums[c * width + r] = *value);
        }
    }
    let product = Product { start: sums.as_mut_ptr(), outer: width };
    // SAFETY: `gemm_tile` checked the operands' extent; there is a row of sums for every column.
    unsafe { multiply_rows(simd, across, steps, left, right, product, accumulate) };
    for (r, row) in (row..row + count).enumerate() {
        let row = &mut tile.row(row)[column..][..across];
        row.iter_mut().enumerate().for_each(|(c, value)| *value = sums[c * width + r]);
    }
}
