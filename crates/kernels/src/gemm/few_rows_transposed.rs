//! GEMM for few rows and a column-major right operand, as in the input gradient of Dense layers: computes `cᵀ = bᵀ aᵀ`.
//!
//! The transpose of the large right operand is row-major, so it serves the microkernel as left operand without packing and is
//! read once. Only the small left operand is packed.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::{BLOCK, Operands, TileBuffer, multiply_rows};
use super::pack::{PackBuffers, pack, reserve};
use crate::microkernel::{Product, ROWS, RightOperand, columns};
use crate::output_tiles::Tile;
use crate::simd::{Kernel, Simd};

/// Depth of the packed panels.
const DEPTH: usize = 8 * BLOCK;

/// The loop nest for few rows and a column-major right operand.
pub(super) struct Transposed<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) buffers: &'a mut PackBuffers,
}

impl Transposed<'_, '_, '_> {
    /// Maximum number of rows of the output. With more, packing the right operand is faster, as all rows share the cost.
    pub(super) const MAX_ROWS: usize = 64;
}

impl Kernel for Transposed<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, buffers) = (self.operands, self.buffers);
        let (rows, width, all_columns) = (tile.rows.len(), columns::<S>(), tile.columns.len());
        for depth in (0..k).step_by(DEPTH) {
            let steps = DEPTH.min(k - depth);
            let panels = reserve(&mut buffers.right, rows.div_ceil(width) * steps * width);
            for (index, panel) in panels.chunks_exact_mut(steps * width).enumerate() {
                let count = width.min(rows - index * width);
                pack(simd, a.skip(index * width, depth).transpose(), steps, count, width, panel);
            }
            for column in (0..all_columns).step_by(ROWS) {
                let left = b.skip(depth, column).transpose();
                for (index, panel) in panels.chunks_exact(steps * width).enumerate() {
                    let (at, size) =
                        ([index * width, column], [width.min(rows - index * width), ROWS.min(all_columns - column)]);
                    let right = RightOperand {
                        start: panel.as_ptr(),
                        depth_stride: width,
                        vectors: size[0].div_ceil(S::LANES),
                    };
                    multiply_panel(simd, steps, left, right, tile, at, size, accumulate || depth > 0);
                }
            }
        }
    }
}

/// Multiplies one block of `bᵀ` by one panel of `aᵀ`, into the block of the tile at `[row, column]` of size `[height, width]`.
///
/// The microkernel writes the transpose of the block to a buffer.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands and destination of one product")]
fn multiply_panel<S: Simd>(
    simd: S,
    steps: usize,
    left: Matrix,
    right: RightOperand,
    tile: &mut Tile,
    [row, column]: [usize; 2],
    [height, width]: [usize; 2],
    accumulate: bool,
) {
    let row_stride = columns::<S>();
    let mut buffer: TileBuffer = [0.0; _];
    if accumulate {
        for (r, row) in (row..row + height).enumerate() {
            let row = &tile.row(row)[column..][..width];
            row.iter().enumerate().for_each(|(c, value)| buffer[c * row_stride + r] = *value);
        }
    }
    let product = Product { start: buffer.as_mut_ptr(), row_stride };
    for first in (0..steps).step_by(BLOCK) {
        let start = right.start.wrapping_add(first * right.depth_stride);
        let (left, right, count) = (left.skip(0, first), RightOperand { start, ..right }, BLOCK.min(steps - first));
        // SAFETY: `gemm_tile` checked the sizes of the operands; the buffer has a row for every column of the block.
        unsafe { multiply_rows(simd, width, count, left, right, product, accumulate || first > 0) };
    }
    for (r, row) in (row..row + height).enumerate() {
        let row = &mut tile.row(row)[column..][..width];
        row.iter_mut().enumerate().for_each(|(c, value)| *value = buffer[c * row_stride + r]);
    }
}
