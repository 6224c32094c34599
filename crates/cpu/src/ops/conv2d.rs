//! Convolution steps, except the depthwise ones of [`depthwise`](super::depthwise).

use engraft_kernels::Conv2d;

use super::{Backward, StepCall};
use crate::workspace::{KernelCachePolicy, Workspace};

/// The convolution of this call, for all of its samples.
pub(super) fn convolution(call: &StepCall<'_>) -> Conv2d {
    convolution_for(call, call.samples)
}

fn convolution_for(call: &StepCall<'_>, samples: usize) -> Conv2d {
    call.conv2d(samples).expect("called for convolutions of images only")
}

/// Length of the scratch space, in f32.
///
/// If the kernel is cached from its first use on, every forward pass reads the prepared kernel, which takes less scratch space.
pub(super) fn scratch_len(call: &StepCall<'_>, policy: KernelCachePolicy) -> usize {
    let conv = convolution(call);
    match policy == KernelCachePolicy::FrozenFirstUse && policy.allows(call) {
        true => conv.prepared_scratch_len(),
        false => conv.scratch_len(),
    }
}

/// Length of the prepared kernel in f32; 0 if it isn't cached.
pub(super) fn prepared_len(call: &StepCall<'_>, policy: KernelCachePolicy) -> usize {
    if policy.allows(call) { convolution(call).prepared_len() } else { 0 }
}

/// The convolution of this call, for one sample.
pub(super) fn single_sample_convolution(call: &StepCall<'_>) -> Conv2d {
    convolution_for(call, 1)
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    apply(&convolution(call), call, x, y, workspace);
}

/// Computes `y` with the step's weights. `conv` is the whole convolution of the step or some of its output rows.
pub(super) fn apply(conv: &Conv2d, call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    let (weights, activation) = (&call.step.weights, call.step.activation);
    let bias = weights.get(1).map(|bias| bias.weight.values());
    let bias = bias.as_deref().map(Vec::as_slice);
    let (prepared, scratch) = (workspace.prepared_kernel(conv, call), &mut workspace.scratch);
    match prepared {
        Some(prepared) => conv.forward_prepared(x, &prepared, bias, activation, y, scratch),
        None => conv.forward(x, &weights[0].weight.values(), bias, activation, y, scratch),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    let w = call.step.weights[0].weight.values();
    convolution(call).input_gradient(b.dy, &w, dx, scratch);
}

pub(super) fn input_gradient_in_place(call: &StepCall<'_>, dy: &[f32], relu: bool, x: &mut [f32], scratch: &mut [f32]) {
    convolution(call).replace_input(dy, &call.step.weights[0].weight.values(), relu, x, scratch);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32], scratch: &mut [f32]) {
    convolution(call).kernel_gradient(b.x[0], b.dy, dw, scratch);
}
