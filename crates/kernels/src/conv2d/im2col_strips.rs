//! Convolutions of images with few channels, by im2col on strips with overlapping patches.
//!
//! With few channels, gathering each patch takes longer than its multiply-accumulates.
//!
//! A *strip* holds the image rows under one row of outputs, column by column: `[columns, kernel rows, channels]`. The patch of
//! each output starts one stride of columns after the previous patch, and overlaps with it. So a strip is the patch matrix with a
//! row stride smaller than a row. Each pixel is written once, not once for each column of the kernel.
//!
//! Patches have their taps in column-major order. So the kernel is reordered to match, and its gradient is reordered back.

use std::ops::Range;

use super::im2col::Im2col;
use crate::Activation;
use crate::Conv2dShape;
use crate::aligned::CACHE_LINE;
use crate::gemm::{Matrix, apply_epilogue, gemm_tile};
use crate::output_tiles::Tiles;

/// Minimum number of output pixels of a task of the forward pass, which computes whole rows. Smaller tasks don't repay their
/// fixed costs.
const OUTPUTS: usize = 256;

/// Maximum number of output channels of a task of the forward pass.
const CHANNELS: usize = 64;

/// Maximum number of partial sums of the gradient with respect to the kernel. Each covers a range of output rows.
const MAX_PARTIALS: usize = 16;

/// Maximum number of values in all partial sums together. A kernel with more values has one sum.
const PARTIAL_BUDGET: usize = 1 << 20;

/// A convolution on strips, and its gradient with respect to the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strips {
    shape: Conv2dShape,
}

impl Strips {
    /// Whether this algorithm can compute a convolution of this shape.
    pub(super) fn can(shape: &Conv2dShape) -> bool {
        shape.groups == 1 && shape.dilation[1] == 1
    }

    pub(super) fn new(shape: Conv2dShape) -> Self {
        Self { shape }
    }

    pub(super) fn forward_scratch_len(&self, threads: usize) -> usize {
        self.shape.w_len() + threads * self.strip_len()
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let own = self.partials() * self.shape.w_len() + threads * self.strip_len();
        Im2col::new(self.shape).scratch_len(threads).max(own)
    }

    pub(super) fn forward(
        &self,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Conv2dShape { batch, out_h, out_w, out_c, .. } = self.shape;
        let (reordered, scratch) = scratch.split_at_mut(self.shape.w_len());
        self.taps().for_each(|[row, column]| reordered[column].copy_from_slice(&w[row]));
        let kernel = Matrix::row_major(reordered, out_c);
        let rows = OUTPUTS.div_ceil(out_w.max(1));
        let tiles = Tiles::new(y, 1, [batch * out_h * out_w, out_c], [rows * out_w, CHANNELS]);
        tiles.for_each_with(scratch, self.strip_len(), |mut tile, strip| {
            for start in (0..tile.rows.len()).step_by(out_w) {
                let mut row = tile.part(start..start + out_w);
                let patches = self.patches(x, row.rows.start / out_w, strip);
                gemm_tile(self.depth(), patches, kernel.skip(0, row.columns.start), false, &mut row);
                apply_epilogue(bias, activation, &mut row);
            }
        });
    }

    /// The gradient with respect to the input, by im2col: `dy` has many channels, so its patches are long.
    pub(super) fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        Im2col::new(self.shape).input_gradient(dy, w, dx, scratch);
    }

    pub(super) fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        let Conv2dShape { batch, out_h, out_w, out_c, .. } = self.shape;
        let (rows, length) = (batch * out_h, self.shape.w_len());
        let part = rows.div_ceil(self.partials());
        let (sums, scratch) = scratch.split_at_mut(self.partials() * length);
        let size = [self.depth(), out_c];
        Tiles::new(sums, self.partials(), size, size).for_each_with(scratch, self.strip_len(), |mut tile, strip| {
            (0..tile.rows.len()).for_each(|row| tile.row(row).fill(0.0));
            for row in (tile.matrix * part..rows).take(part) {
                let patches = self.patches(x, row, strip);
                let dy = Matrix::row_major(&dy[row * out_w * out_c..], out_c);
                gemm_tile(out_w, patches.transpose(), dy, true, &mut tile);
            }
        });
        dw.fill(0.0);
        for sum in sums.chunks_exact(length) {
            self.taps().for_each(|[row, column]| dw[row].iter_mut().zip(&sum[column]).for_each(|(dw, sum)| *dw += sum));
        }
    }

    /// For each tap, its range of values in the kernel (row-major taps) and in the reordered kernel (column-major taps).
    fn taps(&self) -> impl Iterator<Item = [Range<usize>; 2]> {
        let Conv2dShape { kernel: [height, width], in_c, out_c, .. } = self.shape;
        let part = move |tap: usize| tap * in_c * out_c..(tap + 1) * in_c * out_c;
        (0..height * width).map(move |tap| [part(tap), part(tap % width * height + tap / width)])
    }

    /// Number of partial sums of the kernel gradient.
    fn partials(&self) -> usize {
        (PARTIAL_BUDGET / self.shape.w_len()).clamp(1, MAX_PARTIALS)
    }

    /// Number of values in a patch.
    fn depth(&self) -> usize {
        self.shape.kernel[1] * self.column()
    }

    /// Number of values in a column of a strip.
    fn column(&self) -> usize {
        self.shape.kernel[0] * self.shape.in_c
    }

    /// Scratch of a task: a strip, and a cache line so that the strips of two threads don't share one.
    fn strip_len(&self) -> usize {
        self.columns() * self.column() + CACHE_LINE
    }

    /// Input columns that a row of outputs reads, padding included.
    fn columns(&self) -> usize {
        (self.shape.out_w * self.shape.stride[1]).saturating_sub(self.shape.stride[1]) + self.shape.kernel[1]
    }

    /// Writes the strip of an output row and returns the row's patch matrix, a view of the strip. `row` counts over all images.
    fn patches<'a>(&self, x: &[f32], row: usize, strip: &'a mut [f32]) -> Matrix<'a> {
        let Conv2dShape { in_h, in_w, in_c, kernel, stride, dilation, pad, out_h, .. } = self.shape;
        let (columns, column) = (self.columns(), self.column());
        let strip = &mut strip[..columns * column];
        let image = &x[row / out_h * in_h * in_w * in_c..][..in_h * in_w * in_c];
        for tap in 0..kernel[0] {
            let from = (row % out_h * stride[0] + tap * dilation[0]).checked_sub(pad[0]).filter(|&y| y < in_h);
            let from = from.map_or(&[][..], |y| &image[y * in_w * in_c..][..in_w * in_c]);
            // Padding columns, and all columns of rows outside the image, are zero.
            let inside = |x: usize| x.clamp(pad[1], pad[1] + from.len() / in_c).min(columns);
            let inside = inside(0)..inside(columns);
            let mut zeros = |columns: Range<usize>| {
                let to = strip[columns.start * column..columns.end * column].chunks_exact_mut(column);
                to.for_each(|to| to[tap * in_c..][..in_c].fill(0.0));
            };
            zeros(0..inside.start);
            zeros(inside.end..columns);
            if !inside.is_empty() {
                let from = &from[(inside.start - pad[1]) * in_c..(inside.end - pad[1]) * in_c];
                let to = strip[inside.start * column..inside.end * column].chunks_exact_mut(column);
                match in_c {
                    // RGB images: a constant number of channels compiles to faster code.
                    3 => copy_columns::<3>(from, to, tap),
                    _ => from.chunks_exact(in_c).zip(to).for_each(|(from, to)| {
                        to[tap * in_c..][..in_c].copy_from_slice(from);
                    }),
                }
            }
        }
        Matrix { data: strip, row_stride: stride[1] * column, col_stride: 1 }
    }
}

/// Copies pixels of `C` channels to kernel row `tap` of the strip's columns.
fn copy_columns<'a, const C: usize>(from: &[f32], to: impl Iterator<Item = &'a mut [f32]>, tap: usize) {
    for (from, to) in from.as_chunks::<C>().0.iter().zip(to) {
        to[tap * C..][..C].copy_from_slice(from);
    }
}
