//! 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications of a direct convolution.
//!
//! Images are cut into tiles of 4x4 outputs. A task takes a block of tiles and a range of output channels: it transforms what
//! the tiles read, multiplies channels at each of the 36 points (36 small matrix products, where most of the time goes), and
//! transforms products back, adding bias and activation in registers. Nothing but the task's own block is ever held.

mod convolve;
mod filters;
mod kernel_gradient;
mod output;
mod tiles;
mod transform;

use self::convolve::{Arithmetic, Convolution, Filters};
use self::tiles::Tiles;
use self::transform::TAPS;
use super::direction::Direction;
use super::epilogue::{Epilogue, RegisterEpilogue};
use crate::Conv2dShape;
use crate::aligned::{AlignedVec, LINE, aligned};
use crate::simd::{Bf16, Isa};

#[derive(Clone, Debug)]
pub(super) struct Winograd {
    arithmetic: Arithmetic,
    forward: Convolution,
    backward: Convolution,
}

impl Winograd {
    /// Whether this algorithm can do a convolution of this shape.
    pub(super) fn can(shape: &Conv2dShape) -> bool {
        shape.kernel == [TAPS, TAPS]
            && shape.stride == [1, 1]
            && shape.dilation == [1, 1]
            && shape.groups == 1
            && shape.pad.iter().all(|&pad| pad < TAPS)
    }

    /// How many tiles the outputs of one image are cut into.
    pub(super) fn tiles_of_image(shape: &Conv2dShape) -> usize {
        Tiles { images: 1, size: [shape.out_h, shape.out_w] }.count()
    }

    pub(super) fn new(isa: Isa, shape: Conv2dShape) -> Self {
        Self::by(Arithmetic::F32(isa), shape)
    }

    /// With products in bf16 in the forward pass and in the gradient with respect to the input: operands are rounded in the
    /// Winograd domain. The gradient with respect to the kernel stays in f32, as it is a long sum of small numbers.
    pub(super) fn in_bf16(bf16: Bf16, shape: Conv2dShape) -> Self {
        Self::by(Arithmetic::Bf16(bf16), shape)
    }

    fn by(arithmetic: Arithmetic, shape: Conv2dShape) -> Self {
        let (inputs, outputs) = ([shape.in_h, shape.in_w], [shape.out_h, shape.out_w]);
        let forward = Convolution {
            tiles: Tiles { images: shape.batch, size: outputs },
            from_size: inputs,
            pad: shape.pad,
            filters: arithmetic.layout(shape.in_c, shape.out_c),
            arithmetic,
        };
        let backward = Convolution {
            tiles: Tiles { images: shape.batch, size: inputs },
            from_size: outputs,
            pad: shape.pad.map(|pad| TAPS - 1 - pad),
            filters: arithmetic.layout(shape.out_c, shape.in_c),
            arithmetic,
        };
        Self { arithmetic, forward, backward }
    }

    /// The same for another shape.
    pub(super) fn of_shape(&self, shape: Conv2dShape) -> Self {
        Self::by(self.arithmetic, shape)
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let convolution = |c: &Convolution| LINE + c.filters.len() + c.scratch_len(threads);
        let kernel_gradient = kernel_gradient::scratch_len(&self.forward_in_f32(), threads);
        convolution(&self.forward).max(convolution(&self.backward)).max(kernel_gradient)
    }

    pub(super) fn prepared_scratch_len(&self, threads: usize) -> usize {
        self.forward.scratch_len(threads)
    }

    pub(super) fn prepared_len(&self) -> usize {
        self.forward.filters.len()
    }

    /// Transforms the kernel to the Winograd domain.
    pub(super) fn prepare(&self, w: &[f32]) -> AlignedVec {
        let mut points = AlignedVec::zeros(self.forward.filters.len());
        self.forward.prepare((Direction::Forward, w), points.as_mut_slice());
        points
    }

    /// The forward pass with a kernel that [`prepare`](Self::prepare) has transformed.
    pub(super) fn forward_prepared(
        &self,
        x: &[f32],
        points: &AlignedVec,
        epilogue: Epilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.run_forward(x, Filters::Points(points.as_slice()), epilogue, y, scratch);
    }

    pub(super) fn forward(&self, x: &[f32], w: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        let (filters, scratch) = filters(&self.forward, Direction::Forward, w, scratch);
        self.run_forward(x, filters, epilogue, y, scratch);
    }

    fn run_forward(&self, x: &[f32], filters: Filters, epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        self.forward.run(x, filters, epilogue.in_registers(), y, scratch);
        epilogue.activate_rest(y);
    }

    /// If `where_positive`, the gradient is zero wherever `dx` held no positive value.
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
        let filters = arithmetic.layout(self.forward.filters.from, self.forward.filters.to);
        Convolution { filters, arithmetic, ..self.forward }
    }
}

/// The filters `w` of a convolution, and the rest of `scratch`. They are transformed into the first part of `scratch`, or left as
/// they are if tasks transform them.
fn filters<'a>(
    convolution: &Convolution,
    direction: Direction,
    w: &'a [f32],
    scratch: &'a mut [f32],
) -> (Filters<'a>, &'a mut [f32]) {
    if convolution.prepares_in_tasks(rayon::current_num_threads()) {
        return (Filters::Taps(direction, w), scratch);
    }
    let (points, scratch) = aligned(scratch).split_at_mut(convolution.filters.len());
    convolution.prepare((direction, w), points);
    (Filters::Points(points), scratch)
}
