//! What each operation computes, forward and backward.

mod augment;
mod conv2d;
mod dense;
mod depthwise;
mod elementwise;
mod layout;
mod normalization;
mod pooling;
pub(crate) mod stream;

use engraft_ir::{Activation, Op};
use engraft_nn::Result;
use engraft_plan::GradientReducer;

use crate::step_call::{Statistics, StepCall};
use crate::workspace::{Keeps, Workspace};

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

/// Turns `dy`, the gradient with respect to the step's output, into the one with respect to the input of its fused activation.
pub(crate) fn activation_gradient(call: &StepCall<'_>, y: &[f32], dy: &mut [f32]) {
    if call.step.activation != Activation::Linear {
        engraft_kernels::activation_gradient(call.step.activation, y, dy);
    }
}

/// What the backward pass of a step may read. Values that the step doesn't need are empty.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a [&'a [f32]],
    pub(crate) y: &'a [f32],
    pub(crate) dy: &'a [f32],
}

/// `dx`, the gradient with respect to input `index`, overwritten.
///
/// # Errors
/// Those of the reducer, which batch normalization may ask.
pub(crate) fn input_gradient(
    call: &StepCall<'_>,
    index: usize,
    b: &Backward<'_>,
    dx: &mut [f32],
    scratch: &mut [f32],
    reducer: &mut dyn GradientReducer,
) -> Result<()> {
    match &call.step.op {
        Op::Conv2d { .. } => match depthwise::kernel(call) {
            Some(direct) => depthwise::input_gradient(&direct, call, b, dx),
            None => conv2d::input_gradient(call, b, dx, scratch),
        },
        Op::Dense => dense::input_gradient(call, b, dx),
        Op::Pool2d { .. } | Op::GlobalPool { .. } => pooling::input_gradient(call, b, dx),
        Op::BatchNorm { .. } => return normalization::input_gradient(call, b, dx, reducer),
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
    Ok(())
}

/// In place: `x` holds the only input on entry and the gradient with respect to it on return. With `relu`, the input is the result
/// of a ReLU, and the gradient is the one with respect to the ReLU's input.
pub(crate) fn replace_input(call: &StepCall<'_>, b: &Backward<'_>, relu: bool, x: &mut [f32], scratch: &mut [f32]) {
    match &call.step.op {
        Op::Conv2d { .. } => conv2d::replace_input(call, b.dy, relu, x, scratch),
        Op::Pool2d { .. } => pooling::replace_input(call, b, relu, x),
        op => unreachable!("the plan has no gradient written over the input of {op:?}"),
    }
}

/// `dw`, the gradient with respect to the step's weight at `position`, overwritten.
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

/// The statistics of the batch that a step normalizes by, if it does.
///
/// # Errors
/// Those of the reducer, which may sum over replicas.
pub(crate) fn batch_statistics(
    call: &StepCall<'_>,
    x: &[f32],
    reducer: &mut dyn GradientReducer,
) -> Result<Option<Statistics>> {
    match call.step.op {
        Op::BatchNorm { .. } => normalization::batch_statistics(call, x, reducer),
        _ => Ok(None),
    }
}

/// Moves a step's stored statistics towards a batch's.
pub(crate) use normalization::move_statistics;
