//! Dispatch of a step to its kernels, forward and backward: one module for each kind of operation.

mod batch_norm;
mod conv2d;
mod conv2d_transpose;
mod dense;
mod depthwise;
mod elementwise;
mod embedding;
mod layout;
mod matmul;
mod noise;
mod normalization;
mod parameter;
mod penalty;
mod pooling;
mod random_transform;
mod reduce;
mod resize;
mod scale;
pub(crate) mod stream;

use engraft_ir::{Activation, Op};
use engraft_nn::Result;
use engraft_plan::GradientReducer;

use crate::step_call::{Statistics, StepCall};
use crate::workspace::{KernelCachePolicy, Workspace};

/// Upper bound of the scratch space that this step needs under this cache policy, in f32. `differentiated` tells whether it has a
/// backward pass, too.
pub(crate) fn scratch_len(call: &StepCall<'_>, policy: KernelCachePolicy, differentiated: bool) -> usize {
    match call.step.op {
        Op::Conv2d { .. } => conv2d::scratch_len(call, policy, differentiated),
        Op::Conv2dTranspose { .. } => conv2d_transpose::scratch_len(call),
        _ => 0,
    }
}

/// Length in f32 of the prepared weights that this step may add to the cache.
pub(crate) fn prepared_len(call: &StepCall<'_>, policy: KernelCachePolicy) -> usize {
    match call.step.op {
        Op::Conv2d { .. } => conv2d::prepared_len(call, policy),
        _ => 0,
    }
}

/// Forward pass of a step: computes `y` from its inputs `x`, which are in the step's order.
pub(crate) fn forward(call: &StepCall<'_>, x: &[&[f32]], y: &mut [f32], workspace: &mut Workspace) {
    match &call.step.op {
        Op::Conv2d { .. } => match depthwise::convolution(call) {
            Some(direct) => depthwise::forward(&direct, call, x[0], y, workspace),
            None => conv2d::forward(call, x[0], y, workspace),
        },
        Op::Conv2dTranspose { .. } => conv2d_transpose::forward(call, x[0], y, workspace),
        Op::Dense => dense::forward(call, x[0], y),
        Op::MatMul { .. } => matmul::forward(call, x, y),
        Op::Embedding => embedding::forward(call, x[0], y),
        Op::Parameter => parameter::forward(call, y),
        Op::Pool2d { .. } | Op::GlobalPool { .. } | Op::AdaptivePool2d { .. } => pooling::forward(call, x[0], y),
        Op::BatchNorm { .. } => batch_norm::forward(call, x[0], y),
        Op::Normalize(norm) => normalization::forward(call, norm, x[0], y),
        Op::Scale { below_zero } => scale::forward(call, *below_zero, x[0], y),
        Op::LogSoftmax | Op::Sparsemax => elementwise::forward(call, x, y),
        Op::Activation(_) | Op::Softmax | Op::Add | Op::Multiply | Op::ScaleShift { .. } | Op::Dropout { .. } => {
            elementwise::forward(call, x, y)
        }
        Op::Unary(_) | Op::Binary(_) | Op::Constant { .. } => elementwise::forward(call, x, y),
        Op::Reduce { reduction, axes } => reduce::forward(call, *reduction, axes, x[0], y),
        Op::Resize { .. } => resize::forward(call, x[0], y),
        Op::Concatenate { .. }
        | Op::Pad2d { .. }
        | Op::Reshape
        | Op::ReverseChannels
        | Op::Slice { .. }
        | Op::Permute { .. }
        | Op::Gather { .. }
        | Op::Pad { .. } => layout::forward(call, x, y),
        Op::Noise { .. } => noise::forward(call, x[0], y),
        Op::Penalty { .. } => penalty::forward(call, x[0], y),
        Op::RandomTransform { transform, seed } => random_transform::forward(call, transform, *seed, x[0], y),
    }
}

/// Backward pass of the step's fused activation, in place.
///
/// `dy` holds the gradient with respect to the activation's output on entry, and with respect to its input on return.
pub(crate) fn activation_gradient(call: &StepCall<'_>, y: &[f32], dy: &mut [f32]) {
    if call.step.activation != Activation::Linear {
        engraft_kernels::activation_gradient(call.step.activation, y, dy);
    }
}

/// Operands of the backward pass of a step. Values that the step doesn't need may be empty.
pub(crate) struct Backward<'a> {
    /// Inputs of the step.
    pub(crate) x: &'a [&'a [f32]],
    /// Output of the step.
    pub(crate) y: &'a [f32],
    /// Gradient with respect to the output.
    pub(crate) dy: &'a [f32],
}

/// Overwrites `dx` with the gradient with respect to input `index`.
///
/// # Errors
/// Errors of the reducer, which sums the statistics of batch normalization over replicas.
pub(crate) fn input_gradient(
    call: &StepCall<'_>,
    index: usize,
    b: &Backward<'_>,
    dx: &mut [f32],
    scratch: &mut [f32],
    reducer: &mut dyn GradientReducer,
) -> Result<()> {
    match &call.step.op {
        Op::Conv2d { .. } => match depthwise::convolution(call) {
            Some(direct) => depthwise::input_gradient(&direct, call, b, dx),
            None => conv2d::input_gradient(call, b, dx, scratch),
        },
        Op::Conv2dTranspose { .. } => conv2d_transpose::input_gradient(call, b, dx, scratch),
        Op::Dense => dense::input_gradient(call, b, dx),
        Op::MatMul { .. } => matmul::input_gradient(call, index, b, dx),
        // Indices and the number of samples have no gradient.
        Op::Embedding | Op::Parameter => dx.fill(0.0),
        Op::Pool2d { .. } | Op::GlobalPool { .. } | Op::AdaptivePool2d { .. } => pooling::input_gradient(call, b, dx),
        Op::BatchNorm { .. } => return batch_norm::input_gradient(call, b, dx, reducer),
        Op::Normalize(norm) => normalization::input_gradient(call, norm, b, dx),
        Op::Scale { below_zero } => scale::input_gradient(call, *below_zero, b, dx),
        Op::LogSoftmax | Op::Sparsemax => elementwise::input_gradient(call, index, b, dx),
        Op::Activation(_) | Op::Softmax | Op::Add | Op::Multiply | Op::ScaleShift { .. } | Op::Dropout { .. } => {
            elementwise::input_gradient(call, index, b, dx)
        }
        Op::Unary(_) | Op::Binary(_) => elementwise::input_gradient(call, index, b, dx),
        Op::Reduce { reduction, axes } => reduce::input_gradient(call, *reduction, axes, b, dx),
        Op::Resize { .. } => resize::input_gradient(call, b.dy, dx),
        Op::Concatenate { .. }
        | Op::Pad2d { .. }
        | Op::Reshape
        | Op::ReverseChannels
        | Op::Slice { .. }
        | Op::Permute { .. }
        | Op::Gather { .. }
        | Op::Pad { .. } => layout::input_gradient(call, index, b, dx),
        Op::Constant { .. } => unreachable!("a constant has no inputs"),
        Op::Noise { .. } => noise::input_gradient(call, b.dy, dx),
        Op::Penalty { .. } => penalty::input_gradient(call, b, dx),
        Op::RandomTransform { .. } => unreachable!("the plan refuses to differentiate a random transformation"),
    }
    Ok(())
}

/// In place: `x` holds the only input on entry and the gradient with respect to it on return.
///
/// With `relu`, the input is the output of a ReLU, and the gradient on return is with respect to the ReLU's input.
pub(crate) fn input_gradient_in_place(
    call: &StepCall<'_>,
    b: &Backward<'_>,
    relu: bool,
    x: &mut [f32],
    scratch: &mut [f32],
) {
    match &call.step.op {
        Op::Conv2d { .. } => conv2d::input_gradient_in_place(call, b.dy, relu, x, scratch),
        Op::Pool2d { .. } => pooling::input_gradient_in_place(call, b, relu, x),
        op => unreachable!("plans have no in-place gradient of {op:?}"),
    }
}

/// Overwrites `dw` with the gradient with respect to the step's weight at `position`.
pub(crate) fn weight_gradient(
    call: &StepCall<'_>,
    position: usize,
    b: &Backward<'_>,
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    match (&call.step.op, position) {
        (Op::Conv2d { .. }, 0) => match depthwise::convolution(call) {
            Some(direct) => depthwise::kernel_gradient(&direct, b, dw),
            None => conv2d::kernel_gradient(call, b, dw, scratch),
        },
        (Op::Conv2dTranspose { .. }, 0) => conv2d_transpose::kernel_gradient(call, b, dw, scratch),
        (Op::Dense, 0) => dense::kernel_gradient(call, b, dw),
        (Op::Embedding, _) => embedding::table_gradient(b, dw),
        (Op::Parameter, _) => parameter::gradient(b, dw),
        (Op::Conv2d { .. } | Op::Conv2dTranspose { .. } | Op::Dense, _) => {
            engraft_kernels::bias_gradient(dw.len(), b.dy, dw)
        }
        (Op::BatchNorm { .. }, _) => batch_norm::weight_gradient(call, position, b, dw),
        (Op::Normalize(norm), _) => normalization::weight_gradient(norm, position, b, dw),
        (Op::Scale { below_zero }, _) => scale::weight_gradient(call, *below_zero, b, dw),
        (op, _) => unreachable!("{op:?} has no weights"),
    }
}

/// Computes some rows of the gradient with respect to a Dense kernel. Folded updates use it: they never need the whole gradient.
pub(crate) use dense::kernel_gradient_rows;

/// Batch statistics that a batch normalization uses in training mode; `None` for every other step.
///
/// # Errors
/// Errors of the reducer, which may sum the statistics over replicas.
pub(crate) fn batch_statistics(
    call: &StepCall<'_>,
    x: &[&[f32]],
    reducer: &mut dyn GradientReducer,
) -> Result<Option<Statistics>> {
    match call.step.op {
        Op::BatchNorm { .. } => batch_norm::batch_statistics(call, x[0], reducer),
        _ => Ok(None),
    }
}

pub(crate) use batch_norm::{fold, update_moving_statistics};
