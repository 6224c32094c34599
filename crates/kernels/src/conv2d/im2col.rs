//! Convolution as matrix multiplication, for every shape.
//!
//! With the patches of the input as a matrix P (`[output pixels, taps * channels]`, [`Patches`]) and the kernel as a matrix W
//! (`[taps * channels, out channels]`, as it lies in memory): `Y = P W`, `dW = Pᵀ dY`, and `dX = Q Wᵀ`, where Q holds the patches
//! of `dY`. P and Q never exist as a whole: each task gathers the part it needs into its own scratch.

use rayon::prelude::*;

use super::Conv2dShape;
use super::patches::Patches;
use crate::Activation;
use crate::chunks::CHUNK;
use crate::gemm::{Matrix, finish_tile, gemm_tile};
use crate::tiles::Tiles;

/// Values of patches that one task gathers at a time.
const PATCH_BUDGET: usize = 256 * 1024;

/// Values that partial sums of the kernel gradient may take.
const PARTIAL_BUDGET: usize = 4 * 1024 * 1024;

/// Most partial sums of the kernel gradient.
const MAX_PARTIALS: usize = 16;

/// Output pixels whose share of the kernel gradient is added at once.
const GRADIENT_ROWS: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Im2col {
    shape: Conv2dShape,
    input: Patches,
    output: Patches,
}

impl Im2col {
    pub(super) fn new(shape: Conv2dShape) -> Self {
        Self { shape, input: Patches::of_input(&shape), output: Patches::of_output(&shape) }
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let shape = &self.shape;
        let part = |patches: &Patches, tile: [usize; 2]| patches.buffer_len(tile[0], patches.columns());
        let forward = threads * part(&self.input, self.forward_tile());
        let input_gradient = shape.w_len() + threads * part(&self.output, self.input_gradient_tile());
        let kernel_gradient =
            self.partials_len() + threads * self.input.buffer_len(GRADIENT_ROWS, self.gradient_tile()[0]);
        forward.max(input_gradient).max(kernel_gradient)
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
        let (patches, group_c, k) = (&self.input, self.shape.out_c / self.shape.groups, self.input.columns());
        let (tile_size, w) = (self.forward_tile(), Matrix::row_major(w, self.shape.out_c));
        let tiles = Tiles::new(y, 1, [self.out_pixels(), self.shape.out_c], tile_size);
        tiles.for_each_with(scratch, patches.buffer_len(tile_size[0], k), |mut tile, scratch| {
            let group = tile.columns.start / group_c;
            let patch = patches.read(x, group, tile.rows.clone(), 0..k, scratch);
            gemm_tile(k, patch, w.skip(0, tile.columns.start), false, &mut tile);
            finish_tile(bias, activation, &mut tile);
        });
    }

    pub(super) fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        let shape = &self.shape;
        let (patches, group_c, k) = (&self.output, shape.in_c / shape.groups, self.output.columns());
        let (turned, scratch) = scratch.split_at_mut(shape.w_len());
        self.transpose_kernel(w, turned);
        let (tile_size, turned) = (self.input_gradient_tile(), &*turned);
        let tiles = Tiles::new(dx, 1, [shape.batch * shape.in_h * shape.in_w, shape.in_c], tile_size);
        tiles.for_each_with(scratch, patches.buffer_len(tile_size[0], k), |mut tile, scratch| {
            let (group, column) = (tile.columns.start / group_c, tile.columns.start % group_c);
            let patch = patches.read(dy, group, tile.rows.clone(), 0..k, scratch);
            let kernel = Matrix::row_major(&turned[group * k * group_c..], group_c).skip(0, column);
            gemm_tile(k, patch, kernel, false, &mut tile);
        });
    }

    pub(super) fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        let partials = self.partials();
        if partials == 1 {
            return self.add_patches(x, dy, 1, dw, scratch);
        }
        let (sums, scratch) = scratch.split_at_mut(self.partials_len());
        self.add_patches(x, dy, partials, sums, scratch);
        let sums = &*sums;
        dw.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, dw)| {
            dw.fill(0.0);
            for sum in sums.chunks_exact(self.shape.w_len()) {
                dw.iter_mut().zip(&sum[chunk * CHUNK..]).for_each(|(dw, sum)| *dw += sum);
            }
        });
    }

    /// Cuts the output pixels into `segments` and writes each one's `Pᵀ dY` into its layer of `sums`.
    fn add_patches(&self, x: &[f32], dy: &[f32], segments: usize, sums: &mut [f32], scratch: &mut [f32]) {
        let shape = &self.shape;
        let (patches, group_c, tile_size) = (&self.input, shape.out_c / shape.groups, self.gradient_tile());
        let pixels = self.out_pixels();
        let segment = pixels.div_ceil(segments);
        let dy = Matrix::row_major(dy, shape.out_c);
        let tiles = Tiles::new(sums, segments, [patches.columns(), shape.out_c], tile_size);
        tiles.for_each_with(scratch, patches.buffer_len(GRADIENT_ROWS, tile_size[0]), |mut tile, scratch| {
            (0..tile.rows.len()).for_each(|row| tile.row(row).fill(0.0));
            let group = tile.columns.start / group_c;
            let end = pixels.min((tile.layer + 1) * segment);
            for start in (tile.layer * segment..end).step_by(GRADIENT_ROWS) {
                let rows = start..end.min(start + GRADIENT_ROWS);
                let patch = patches.read(x, group, rows.clone(), tile.rows.clone(), scratch);
                let transposed =
                    Matrix { data: patch.data, row_stride: patch.col_stride, col_stride: patch.row_stride };
                gemm_tile(rows.len(), transposed, dy.skip(start, tile.columns.start), true, &mut tile);
            }
        });
    }

    /// The kernel as the input gradient wants it: for each group `[taps * out channels, in channels]`.
    fn transpose_kernel(&self, w: &[f32], turned: &mut [f32]) {
        let shape = &self.shape;
        let (in_c, out_c) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        turned.par_chunks_exact_mut(in_c * out_c).enumerate().for_each(|(block, turned)| {
            let (group, tap) = (block / taps, block % taps);
            for (o, turned) in turned.chunks_exact_mut(in_c).enumerate() {
                for (c, turned) in turned.iter_mut().enumerate() {
                    *turned = w[(tap * in_c + c) * shape.out_c + group * out_c + o];
                }
            }
        });
    }

    fn out_pixels(&self) -> usize {
        self.shape.batch * self.shape.out_h * self.shape.out_w
    }

    fn forward_tile(&self) -> [usize; 2] {
        pixel_tile(self.input.columns(), self.shape.out_c / self.shape.groups)
    }

    fn input_gradient_tile(&self) -> [usize; 2] {
        pixel_tile(self.output.columns(), self.shape.in_c / self.shape.groups)
    }

    /// Rows and columns of the kernel gradient that one task computes.
    fn gradient_tile(&self) -> [usize; 2] {
        [self.input.columns().min(512), self.shape.out_c / self.shape.groups]
    }

    fn partials(&self) -> usize {
        (PARTIAL_BUDGET / self.shape.w_len()).clamp(1, MAX_PARTIALS)
    }

    fn partials_len(&self) -> usize {
        if self.partials() == 1 { 0 } else { self.partials() * self.shape.w_len() }
    }
}

/// Pixels and channels of the output that one task computes, where patches hold `k` values and a group `channels`.
fn pixel_tile(k: usize, channels: usize) -> [usize; 2] {
    [(PATCH_BUDGET / k).clamp(32, 256), channels]
}
