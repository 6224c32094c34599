//! Convolution steps, except the depthwise ones of [`depthwise`](super::depthwise).

use engraft_kernels::Conv2d;

use super::{Backward, StepCall, depthwise};
use crate::workspace::{Kernel, KernelCachePolicy, Workspace, bias_len, folded_len};

/// The convolution of this call, for all of its samples.
pub(super) fn convolution(call: &StepCall<'_>) -> Conv2d {
    convolution_for(call, call.samples)
}

fn convolution_for(call: &StepCall<'_>, samples: usize) -> Conv2d {
    call.conv2d(samples).expect("called for convolutions of images only")
}

/// Length of the scratch space, in f32, of any convolution step, depthwise ones included.
///
/// If weights are cached from their first use on, every forward pass reads prepared ones, which takes less scratch space.
pub(super) fn scratch_len(call: &StepCall<'_>, policy: KernelCachePolicy, differentiated: bool) -> usize {
    let cached = !differentiated && policy == KernelCachePolicy::FrozenFirstUse && policy.allows(call);
    let folded = if cached { 0 } else { folded_len(call.step) };
    if depthwise::convolution(call).is_some() {
        return folded;
    }
    let conv = convolution(call);
    match (differentiated, cached) {
        (true, _) => conv.scratch_len(),
        (false, true) => conv.prepared_scratch_len(),
        (false, false) => folded + conv.forward_scratch_len(),
    }
}

/// Length of the prepared weights in f32 of any convolution step; 0 if they aren't cached.
pub(super) fn prepared_len(call: &StepCall<'_>, policy: KernelCachePolicy) -> usize {
    if !policy.allows(call) {
        return 0;
    }
    let prepared = depthwise::convolution(call).map_or_else(|| convolution(call).prepared_len(), |_| 0);
    let bias = call.step.normalization.as_ref().map_or(0, |_| bias_len(call.step));
    if prepared > 0 { prepared + bias } else { folded_len(call.step) }
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
    let activation = call.step.activation;
    workspace.with_weights(Some(conv), call, |kernel, bias, scratch| match kernel {
        Kernel::Prepared(kernel) => conv.forward_prepared(x, kernel, bias, activation, y, scratch),
        Kernel::Plain(w) => conv.forward(x, w, bias, activation, y, scratch),
    });
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
