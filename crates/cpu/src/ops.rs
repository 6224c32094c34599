//! What each operation computes, forward and backward.

mod augment;
pub(crate) mod band;
mod conv2d;
mod dense;
mod depthwise;
mod elementwise;
mod layout;
mod normalization;
mod pooling;

use std::sync::Arc;

use engraft_kernels::{Activation, Bf16};
use engraft_nn::Shape;
use engraft_nn::plan::{Op, Plan, Precision, Program, Step};

use crate::workspace::{Keeps, Workspace};

pub(crate) use normalization::Statistics;

/// A step about to be computed for some samples.
pub(crate) struct StepCall<'a> {
    pub(crate) step: &'a Step,
    /// Shapes of the inputs, the batch axis left out.
    pub(crate) inputs: Vec<&'a Shape>,
    /// Shape of the output, the batch axis left out.
    pub(crate) output: &'a Shape,
    /// How many samples.
    pub(crate) samples: usize,
    /// Whether it is one of several calls for a batch.
    pub(crate) chunked: bool,
    /// The samples of a whole batch.
    pub(crate) batch: usize,
    /// Which sample of the batch is the first: random layers draw by it.
    pub(crate) first_sample: usize,
    /// Which training step this is: random layers draw by it.
    pub(crate) iteration: u64,
    /// Where products are of bf16, the proof that the CPU has them.
    pub(crate) bf16: Option<Bf16>,
    /// The batch's statistics, where the step normalises by them.
    pub(crate) statistics: Option<Arc<Statistics>>,
}

impl<'a> StepCall<'a> {
    pub(crate) fn new(plan: &'a Plan, step: &'a Step, samples: usize) -> Self {
        let bf16 = if plan.precision() == Precision::Bf16 { Bf16::detect().ok() } else { None };
        Self { batch: plan.batch(), bf16, ..Self::of_program(plan.program(), step, samples) }
    }

    pub(crate) fn of_program(program: &'a Program, step: &'a Step, samples: usize) -> Self {
        let shapes = &program.shapes;
        let inputs = step.inputs.iter().map(|&value| &shapes[value]).collect();
        Self {
            step,
            inputs,
            output: &shapes[step.output],
            samples,
            chunked: false,
            batch: samples,
            first_sample: 0,
            iteration: 0,
            bf16: None,
            statistics: None,
        }
    }

    /// Numbers in the last axis.
    fn channels(&self) -> usize {
        self.inputs[0].last().copied().unwrap_or(1)
    }

    /// Height, width and channels of an image.
    fn image(shape: &Shape) -> [usize; 3] {
        match shape[..] {
            [height, width, channels] => [height, width, channels],
            _ => unreachable!("layers for images have checked that {shape:?} is one"),
        }
    }
}

/// Working space, in f32, that any call of this step needs where such kernels are kept.
pub(crate) fn scratch_len(call: &StepCall<'_>, keeps: Keeps) -> usize {
    match call.step.op {
        Op::Conv2d { .. } if depthwise::kernel(call).is_none() => conv2d::scratch_len(call, keeps),
        _ => 0,
    }
}

/// What a step's kernel takes, in f32, in the form that its algorithm wants, where such kernels are kept.
pub(crate) fn prepared_len(call: &StepCall<'_>, keeps: Keeps) -> usize {
    match call.step.op {
        Op::Conv2d { .. } => conv2d::prepared_len(call, keeps),
        _ => 0,
    }
}

/// Whether preparing a convolution's kernel for each batch would take long beside the convolution.
pub(crate) use conv2d::is_short;

/// `y` from `x`, the inputs in order.
pub(crate) fn forward(call: &StepCall<'_>, x: &[&[f32]], y: &mut [f32], workspace: &mut Workspace) {
    match &call.step.op {
        Op::Conv2d { .. } => match depthwise::kernel(call) {
            Some(direct) => depthwise::forward(&direct, call, x[0], y),
            None => conv2d::forward(call, x[0], y, workspace),
        },
        Op::Dense => dense::forward(call, x[0], y),
        Op::Pool2d { .. } | Op::GlobalPool { .. } => pooling::forward(call, x[0], y),
        Op::BatchNorm { .. } => normalization::forward(call, x[0], y),
        Op::Activation(_) | Op::Softmax | Op::Add | Op::Multiply | Op::ScaleShift { .. } | Op::Dropout { .. } => {
            elementwise::forward(call, x, y)
        }
        Op::Concatenate { .. }
        | Op::Pad2d { .. }
        | Op::Reshape
        | Op::ReverseChannels
        | Op::Resize { .. }
        | Op::Slice { .. }
        | Op::Permute { .. } => layout::forward(call, x, y),
        Op::RandomTransform { transform, seed } => augment::forward(call, transform, *seed, x[0], y),
    }
}

/// Turns `dy`, the gradient by the step's output, into the gradient by what stood before its fused activation.
pub(crate) fn activation_gradient(call: &StepCall<'_>, y: &[f32], dy: &mut [f32]) {
    if call.step.activation != Activation::Linear {
        call.step.activation.gradient(y, dy);
    }
}

/// What the backward pass of a step may read. Values that the step doesn't need are empty.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a [&'a [f32]],
    pub(crate) y: &'a [f32],
    pub(crate) dy: &'a [f32],
}

/// `dx`, the gradient by input `index`, overwritten.
pub(crate) fn input_gradient(call: &StepCall<'_>, index: usize, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    match &call.step.op {
        Op::Conv2d { .. } => match depthwise::kernel(call) {
            Some(direct) => depthwise::input_gradient(&direct, call, b, dx),
            None => conv2d::input_gradient(call, b, dx, scratch),
        },
        Op::Dense => dense::input_gradient(call, b, dx),
        Op::Pool2d { .. } | Op::GlobalPool { .. } => pooling::input_gradient(call, b, dx),
        Op::BatchNorm { .. } => normalization::input_gradient(call, b, dx),
        Op::Activation(_) | Op::Softmax | Op::Add | Op::Multiply | Op::ScaleShift { .. } | Op::Dropout { .. } => {
            elementwise::input_gradient(call, index, b, dx)
        }
        Op::Concatenate { .. }
        | Op::Pad2d { .. }
        | Op::Reshape
        | Op::ReverseChannels
        | Op::Resize { .. }
        | Op::Slice { .. }
        | Op::Permute { .. } => layout::input_gradient(call, index, b, dx),
        Op::RandomTransform { .. } => unreachable!("the plan refuses to differentiate a random transformation"),
    }
}

/// The gradient by the only input, written over it: `x` goes in. With `relu`, it is what a ReLU gave, and the gradient is the one
/// before that.
pub(crate) fn replace_input(call: &StepCall<'_>, b: &Backward<'_>, relu: bool, x: &mut [f32], scratch: &mut [f32]) {
    match &call.step.op {
        Op::Conv2d { .. } => conv2d::replace_input(call, b.dy, relu, x, scratch),
        Op::Pool2d { .. } => pooling::replace_input(call, b, relu, x),
        op => unreachable!("the plan has no gradient written over the input of {op:?}"),
    }
}

/// `dw`, the gradient by the step's weight at `position`, overwritten.
pub(crate) fn weight_gradient(
    call: &StepCall<'_>,
    position: usize,
    b: &Backward<'_>,
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    match (&call.step.op, position) {
        (Op::Conv2d { .. }, 0) => match depthwise::kernel(call) {
            Some(direct) => depthwise::kernel_gradient(&direct, b, dw),
            None => conv2d::kernel_gradient(call, b, dw, scratch),
        },
        (Op::Dense, 0) => dense::kernel_gradient(call, b, dw),
        (Op::Conv2d { .. } | Op::Dense, _) => engraft_kernels::bias_gradient(dw.len(), b.dy, dw),
        (Op::BatchNorm { .. }, _) => normalization::weight_gradient(call, position, b, dw),
        (op, _) => unreachable!("{op:?} has no weights"),
    }
}

/// Dense kernels' gradient a few rows at a time, for an update in the same pass.
pub(crate) use dense::kernel_gradient_rows;

/// The statistics of the batch that a step normalises by, if it does.
pub(crate) fn batch_statistics(call: &StepCall<'_>, x: &[f32]) -> Option<Statistics> {
    match call.step.op {
        Op::BatchNorm { .. } => normalization::batch_statistics(call, x),
        _ => None,
    }
}

/// Moves a step's stored statistics towards a batch's.
pub(crate) use normalization::move_statistics;
