//! 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications of a direct convolution.
//!
//! The outputs are cut into tiles of 4x4, each of which reads 6x6 inputs. Inputs and filters are transformed to the Winograd
//! domain, where a tile has 36 elements, the *points*. At each point, the convolution is a matrix product: `[tiles, in channels]`
//! times `[in channels, out channels]`. The output transform turns the products into outputs and applies the epilogue in
//! registers.
//!
//! A task computes a block of tiles for a range of output channels. It keeps the transformed inputs and the products of this
//! block in its scratch, so neither is ever in memory for the whole image.

mod convolve;
mod filters;
mod kernel_gradient;
mod output;
mod tile_grid;
mod transform;

use self::convolve::{Arithmetic, Convolution, Filters};
use self::tile_grid::TileGrid;
use self::transform::TAPS;
use super::direction::Direction;
use super::epilogue::{Epilogue, RegisterEpilogue};
use crate::Conv2dShape;
use crate::aligned::{AlignedVec, CACHE_LINE, aligned};
use crate::simd::{Bf16, Isa};

/// A 3x3 convolution of stride 1 and its gradients by Winograd's algorithm.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    arithmetic: Arithmetic,
    forward: Convolution,
    backward: Convolution,
}

impl Winograd {
    /// Whether this algorithm can compute a convolution of this shape.
    pub(super) fn can(shape: &Conv2dShape) -> bool {
        shape.kernel == [TAPS, TAPS]
            && shape.stride == [1, 1]
            && shape.dilation == [1, 1]
            && shape.groups == 1
            && shape.pad.iter().all(|&pad| pad < TAPS)
    }

    /// Number of tiles of one image.
    pub(super) fn tiles_of_image(shape: &Conv2dShape) -> usize {
        TileGrid { images: 1, size: [shape.out_h, shape.out_w] }.count()
    }

    pub(super) fn new(isa: Isa, shape: Conv2dShape) -> Self {
        Self::by(Arithmetic::F32(isa), shape)
    }

    /// The algorithm with products in bf16, in the forward pass and in the gradient with respect to the input.
    ///
    /// Operands are rounded in the Winograd domain. The gradient with respect to the kernel stays in f32, as it is a long sum of
    /// small numbers.
    pub(super) fn in_bf16(bf16: Bf16, shape: Conv2dShape) -> Self {
        Self::by(Arithmetic::Bf16(bf16), shape)
    }

    fn by(arithmetic: Arithmetic, shape: Conv2dShape) -> Self {
        let (inputs, outputs) = ([shape.in_h, shape.in_w], [shape.out_h, shape.out_w]);
        let forward = Convolution {
            tiles: TileGrid { images: shape.batch, size: outputs },
            in_size: inputs,
            pad: shape.pad,
            filters: arithmetic.layout(shape.in_c, shape.out_c),
            arithmetic,
        };
        let backward = Convolution {
            tiles: TileGrid { images: shape.batch, size: inputs },
            in_size: outputs,
            pad: shape.pad.map(|pad| TAPS - 1 - pad),
            filters: arithmetic.layout(shape.out_c, shape.in_c),
            arithmetic,
        };
        Self { arithmetic, forward, backward }
    }

    /// The same algorithm for another shape.
    pub(super) fn of_shape(&self, shape: Conv2dShape) -> Self {
        Self::by(self.arithmetic, shape)
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let convolution = |c: &Convolution| CACHE_LINE + c.filters.len() + c.scratch_len(threads);
        let kernel_gradient = kernel_gradient::scratch_len(&self.forward_in_f32(), threads);
        convolution(&self.forward).max(convolution(&self.backward)).max(kernel_gradient)
    }

    /// Scratch of a forward pass whose filters aren't prepared.
    pub(super) fn forward_scratch_len(&self, threads: usize) -> usize {
        CACHE_LINE + self.forward.filters.len() + self.forward.scratch_len(threads)
    }

    pub(super) fn prepared_scratch_len(&self, threads: usize) -> usize {
        self.forward.scratch_len(threads)
    }

    pub(super) fn prepared_len(&self) -> usize {
        self.forward.filters.len()
    }

    /// Transforms the kernel to the Winograd domain.
    pub(super) fn prepare(&self, w: &[f32]) -> AlignedVec {
        let mut transformed = AlignedVec::zeros(self.forward.filters.len());
        self.forward.prepare((Direction::Forward, w), transformed.as_mut_slice());
        transformed
    }

    /// The forward pass with a kernel that [`prepare`](Self::prepare) has transformed.
    pub(super) fn forward_prepared(
        &self,
        x: &[f32],
        transformed: &AlignedVec,
        epilogue: Epilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.run_forward(x, Filters::Transformed(transformed.as_slice()), epilogue, y, scratch);
    }

    pub(super) fn forward(&self, x: &[f32], w: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        let (filters, scratch) = filters(&self.forward, Direction::Forward, w, scratch);
        self.run_forward(x, filters, epilogue, y, scratch);
    }

    fn run_forward(&self, x: &[f32], filters: Filters, epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        self.forward.run(x, filters, epilogue.in_registers(), y, scratch);
        epilogue.activate_rest(y);
    }

    /// Writes the gradient with respect to the input to `dx`. With `where_positive`, the gradient is zero where the value that
    /// `dx` holds on entry isn't positive.
    pub(super) fn input_gradient(
        &self,
        dy: &[f32],
        w: &[f32],
        where_positive: bool,
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (filters, scratch) = filters(&self.backward, Direction::Backward, w, scratch);
        self.backward.run(dy, filters, RegisterEpilogue::of_gradient(where_positive), dx, scratch);
    }

    pub(super) fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        kernel_gradient::kernel_gradient(&self.forward_in_f32(), self.arithmetic.isa(), x, dy, dw, scratch);
    }

    fn forward_in_f32(&self) -> Convolution {
        let arithmetic = Arithmetic::F32(self.arithmetic.isa());
        let filters = arithmetic.layout(self.forward.filters.in_channels, self.forward.filters.out_channels);
        Convolution { filters, arithmetic, ..self.forward }
    }
}

/// The filters `w` (HWIO) as the convolution's tasks read them, and the rest of `scratch`.
///
/// The filters are transformed into the first part of `scratch`, or left in the spatial domain if the tasks transform them.
fn filters<'a>(
    convolution: &Convolution,
    direction: Direction,
    w: &'a [f32],
    scratch: &'a mut [f32],
) -> (Filters<'a>, &'a mut [f32]) {
    if convolution.transforms_filters_in_tasks(rayon::current_num_threads()) {
        return (Filters::Spatial(direction, w), scratch);
    }
    let (transformed, scratch) = aligned(scratch).split_at_mut(convolution.filters.len());
    convolution.prepare((direction, w), transformed);
    (Filters::Transformed(transformed), scratch)
}
