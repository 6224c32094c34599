//! Convolution.

use engraft_kernels::Conv2d;
use engraft_nn::plan::Op;

use super::{Backward, StepCall};
use crate::workspace::{Keeps, Workspace};

/// The kernel for this call's shapes.
pub(super) fn kernel(call: &StepCall<'_>) -> Conv2d {
    of_samples(call, call.samples)
}

fn of_samples(call: &StepCall<'_>, samples: usize) -> Conv2d {
    let shape = call.step.op.conv2d_shape(samples, call.inputs[0], call.output);
    let conv = Conv2d::new(shape.expect("called for convolutions of images only"));
    let conv = match call.bf16 {
        Some(bf16) => conv.in_bf16(bf16),
        None => conv,
    };
    if let Op::Conv2d { pool: Some(_), .. } = call.step.op { conv.pooled() } else { conv }
}

/// Working space that any call needs, or the forward pass alone where the kernel is kept prepared from its first use on.
pub(super) fn scratch_len(call: &StepCall<'_>, keeps: Keeps) -> usize {
    let conv = kernel(call);
    match keeps == Keeps::AtOnce && keeps.kernel(call) {
        true => conv.prepared_scratch_len(),
        false => conv.scratch_len(),
    }
}

/// What the prepared kernel takes, if it is kept.
pub(super) fn prepared_len(call: &StepCall<'_>, keeps: Keeps) -> usize {
    if keeps.kernel(call) { kernel(call).prepared_len() } else { 0 }
}

/// Whether preparing the kernel for each batch would take long beside the convolution; of the last batch, too, if that is smaller.
pub(crate) fn is_short(call: &StepCall<'_>) -> bool {
    of_samples(call, call.batch).is_short()
}

/// The kernel for one sample.
pub(super) fn of_one(call: &StepCall<'_>) -> Conv2d {
    of_samples(call, 1)
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    apply(&kernel(call), call, x, y, workspace);
}

/// `y` by `conv`, with the step's weights: all of its convolution, or some rows.
pub(super) fn apply(conv: &Conv2d, call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    let (weights, activation) = (&call.step.weights, call.step.activation);
    let bias = weights.get(1).map(|bias| bias.weight.values());
    let bias = bias.as_deref().map(Vec::as_slice);
    match workspace.kernel(conv, call) {
        (Some(prepared), scratch) => conv.forward_prepared(x, prepared, bias, activation, y, scratch),
        (None, scratch) => conv.forward(x, &weights[0].weight.values(), bias, activation, y, scratch),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    let w = call.step.weights[0].weight.values();
    kernel(call).input_gradient(b.dy, &w, dx, scratch);
}

pub(super) fn replace_input(call: &StepCall<'_>, dy: &[f32], relu: bool, x: &mut [f32], scratch: &mut [f32]) {
    kernel(call).replace_input(dy, &call.step.weights[0].weight.values(), relu, x, scratch);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32], scratch: &mut [f32]) {
    kernel(call).kernel_gradient(b.x[0], b.dy, dw, scratch);
}
