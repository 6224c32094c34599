//! Transposed convolution steps. Their forward pass is a convolution's gradient with respect to its input, and the other way round.

use engraft_kernels::{Activation, Conv2d, add_bias};

use super::{Backward, StepCall};
use crate::workspace::Workspace;

/// The convolution that the step transposes, for the samples of this call.
fn convolution(call: &StepCall<'_>) -> Conv2d {
    let shape = call.step.op.transposed_conv2d_shape(call.samples, call.inputs[0], call.output);
    Conv2d::new(shape.expect("called for transposed convolutions of images only"))
}

pub(super) fn scratch_len(call: &StepCall<'_>) -> usize {
    convolution(call).scratch_len()
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    let weights = &call.step.weights;
    convolution(call).input_gradient(x, &weights[0].weight.values(), y, &mut workspace.scratch);
    if let Some(bias) = weights.get(1) {
        add_bias(&bias.weight.values(), y);
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    let w = call.step.weights[0].weight.values();
    convolution(call).forward(b.dy, &w, None, Activation::Linear, dx, scratch);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32], scratch: &mut [f32]) {
    convolution(call).kernel_gradient(b.dy, b.x[0], dw, scratch);
}
