//! Convolution.

use engraft_kernels::Conv2d;

use super::{Backward, StepCall};
use crate::workspace::{Keeps, Workspace};

/// The kernel for this call's shapes.
pub(super) fn kernel(call: &StepCall<'_>) -> Conv2d {
    of_samples(call, call.samples)
}

fn of_samples(call: &StepCall<'_>, samples: usize) -> Conv2d {
    call.conv2d(samples).expect("called for convolutions of images only")
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
    let (prepared, scratch) = (workspace.kernel(conv, call), &mut workspace.scratch);
    match prepared {
        Some(prepared) => conv.forward_prepared(x, &prepared, bias, activation, y, scratch),
        None => conv.forward(x, &weights[0].weight.values(), bias, activation, y, scratch),
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
