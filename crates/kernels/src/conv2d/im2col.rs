//! Im2col: convolution as matrix multiplication, for every shape.
//!
//! With the patches of the input as a matrix P (`[output pixels, taps * channels]`, [`Patches`]) and the kernel as a matrix W
//! (`[taps * channels, out channels]`, as it lies in memory): `Y = P W`, `dW = Pᵀ dY`, and `dX = Q Wᵀ`, where Q holds the patches
//! of `dY`. P and Q never exist as a whole: each task gathers the part it needs into its own scratch.

use rayon::prelude::*;

use super::patches::Patches;
use crate::Activation;
use crate::Conv2dShape;
use crate::chunks::CHUNK;
use crate::gemm::{self, MAX_TILE_ROWS, Matrix, apply_epilogue, gemm_tile, tile_size};
use crate::output_tiles::{Tile, Tiles};

/// Maximum number of columns of the patch matrix that one task gathers at a time: two blocks of GEMM's depth. With 256 rows they
/// take 528 KiB, which stays in a core's L2 cache.
const PATCH_COLUMNS: usize = 2 * gemm::BLOCK;

/// Maximum number of values in all partial sums of the kernel gradient together. A kernel with more values has one sum.
const PARTIAL_BUDGET: usize = 4 * 1024 * 1024;

/// Maximum number of partial sums of the kernel gradient.
const MAX_PARTIALS: usize = 16;

/// Output pixels whose products are added to the kernel gradient at a time.
const GRADIENT_ROWS: usize = 256;

/// A convolution and its gradients by im2col.
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

    /// Scratch of a forward pass. It is enough for smaller batches too, although these may have taller tiles.
    pub(super) fn forward_scratch_len(&self, threads: usize) -> usize {
        threads * buffer_len(&self.input, self.out_pixels().min(MAX_TILE_ROWS))
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let forward = self.forward_scratch_len(threads);
        let input_gradient = self.shape.w_len() + threads * buffer_len(&self.output, self.input_gradient_tile()[0]);
        let kernel_gradient = self.partials_len() + threads * buffer_len(&self.input, GRADIENT_ROWS);
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
        let group_c = self.shape.out_c / self.shape.groups;
        let (tile_size, w) = (self.forward_tile(), Matrix::row_major(w, self.shape.out_c));
        let tiles = Tiles::new(y, 1, [self.out_pixels(), self.shape.out_c], tile_size);
        tiles.for_each_with(scratch, buffer_len(&self.input, tile_size[0]), |mut tile, scratch| {
            let kernel = w.skip(0, tile.columns.start);
            multiply_patches(&self.input, x, tile.columns.start / group_c, kernel, &mut tile, scratch);
            apply_epilogue(bias, activation, &mut tile);
        });
    }

    pub(super) fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        let (group_c, k) = (self.shape.in_c / self.shape.groups, self.output.columns());
        let (transposed, scratch) = scratch.split_at_mut(self.shape.w_len());
        self.transpose_kernel(w, transposed);
        let (tile_size, transposed) = (self.input_gradient_tile(), &*transposed);
        let tiles = Tiles::new(dx, 1, [self.in_pixels(), self.shape.in_c], tile_size);
        tiles.for_each_with(scratch, buffer_len(&self.output, tile_size[0]), |mut tile, scratch| {
            let (group, column) = (tile.columns.start / group_c, tile.columns.start % group_c);
            let kernel = Matrix::row_major(&transposed[group * k * group_c..], group_c).skip(0, column);
            multiply_patches(&self.output, dy, group, kernel, &mut tile, scratch);
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

    /// Cuts the output pixels into `segments` and writes `Pᵀ dY` of each segment to its matrix in `sums`.
    fn add_patches(&self, x: &[f32], dy: &[f32], segments: usize, sums: &mut [f32], scratch: &mut [f32]) {
        let shape = &self.shape;
        let (patches, group_c, tile_size) = (&self.input, shape.out_c / shape.groups, self.gradient_tile());
        let pixels = self.out_pixels();
        let segment = pixels.div_ceil(segments);
        let dy = Matrix::row_major(dy, shape.out_c);
        let tiles = Tiles::new(sums, segments, [patches.columns(), shape.out_c], tile_size);
        tiles.for_each_with(scratch, buffer_len(patches, GRADIENT_ROWS), |mut tile, scratch| {
            (0..tile.rows.len()).for_each(|row| tile.row(row).fill(0.0));
            let group = tile.columns.start / group_c;
            let end = pixels.min((tile.matrix + 1) * segment);
            for start in (tile.matrix * segment..end).step_by(GRADIENT_ROWS) {
                let rows = start..end.min(start + GRADIENT_ROWS);
                let patch = patches.read(x, group, rows.clone(), tile.rows.clone(), scratch);
                let transposed =
                    Matrix { data: patch.data, row_stride: patch.col_stride, col_stride: patch.row_stride };
                gemm_tile(rows.len(), transposed, dy.skip(start, tile.columns.start), true, &mut tile);
            }
        });
    }

    /// Transposes the kernel for the input gradient: `[taps * out channels, in channels]` for each group.
    fn transpose_kernel(&self, w: &[f32], transposed: &mut [f32]) {
        let shape = &self.shape;
        let (in_c, out_c) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        const COLUMNS: usize = 8;
        transposed.par_chunks_exact_mut(in_c * out_c).enumerate().for_each(|(block, transposed)| {
            let (group, tap) = (block / taps, block % taps);
            let rows = w.chunks_exact(shape.out_c).skip(tap * in_c).take(in_c);
            // Only a few columns are transposed at a time. So the written cache lines stay in the L1 cache while all rows are
            // read.
            for first in (0..out_c).step_by(COLUMNS) {
                let columns = first..out_c.min(first + COLUMNS);
                for (c, row) in rows.clone().enumerate() {
                    let row = &row[group * out_c..][columns.clone()];
                    columns.clone().zip(row).for_each(|(o, w)| transposed[o * in_c + c] = *w);
                }
            }
        });
    }

    fn in_pixels(&self) -> usize {
        self.shape.batch * self.shape.in_h * self.shape.in_w
    }

    fn out_pixels(&self) -> usize {
        self.shape.batch * self.shape.out_h * self.shape.out_w
    }

    fn forward_tile(&self) -> [usize; 2] {
        self.pixel_tile(self.out_pixels(), self.shape.out_c)
    }

    fn input_gradient_tile(&self) -> [usize; 2] {
        self.pixel_tile(self.in_pixels(), self.shape.in_c)
    }

    /// Pixels and channels that one task computes. The channels belong to one group.
    fn pixel_tile(&self, pixels: usize, channels: usize) -> [usize; 2] {
        let tile = tile_size(pixels, channels / self.shape.groups);
        if self.shape.groups == 1 { tile } else { [tile[0], channels / self.shape.groups] }
    }

    /// Rows and columns of the kernel gradient that one task computes.
    fn gradient_tile(&self) -> [usize; 2] {
        [self.input.columns().min(PATCH_COLUMNS), self.shape.out_c / self.shape.groups]
    }

    fn partials(&self) -> usize {
        (PARTIAL_BUDGET / self.shape.w_len()).clamp(1, MAX_PARTIALS)
    }

    fn partials_len(&self) -> usize {
        if self.partials() == 1 { 0 } else { self.partials() * self.shape.w_len() }
    }
}

/// Scratch of a task that computes `rows` pixels: the patch columns that it gathers at a time.
fn buffer_len(patches: &Patches, rows: usize) -> usize {
    patches.buffer_len(rows, patches.columns().min(PATCH_COLUMNS))
}

/// Computes `tile = patches kernel`. The tile's rows are rows of the patches, and its columns are columns of the kernel.
fn multiply_patches(
    patches: &Patches,
    images: &[f32],
    group: usize,
    kernel: Matrix,
    tile: &mut Tile,
    buffer: &mut [f32],
) {
    for start in (0..patches.columns()).step_by(PATCH_COLUMNS) {
        let columns = start..patches.columns().min(start + PATCH_COLUMNS);
        let patch = patches.read(images, group, tile.rows.clone(), columns.clone(), buffer);
        gemm_tile(columns.len(), patch, kernel.skip(start, 0), start > 0, tile);
    }
}
