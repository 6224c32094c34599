//! Products with a weight that is broadcast to each sample.

use engraft_kernels::{broadcast_scale, broadcast_scale_gradient, broadcast_scale_weight_gradient};

use super::{Backward, StepCall};

/// The shape of the step's weight, with axes of size 1 in front up to the rank of a sample.
fn weight_shape(call: &StepCall<'_>) -> Vec<usize> {
    let (weight, rank) = (call.step.weights[0].weight.shape(), call.inputs[0].len());
    [&vec![1; rank.saturating_sub(weight.len())], weight].concat()
}

pub(super) fn forward(call: &StepCall<'_>, below_zero: bool, x: &[f32], y: &mut [f32]) {
    let weight = call.step.weights[0].weight.values();
    broadcast_scale(call.inputs[0], &weight_shape(call), &weight, below_zero, x, y);
}

pub(super) fn input_gradient(call: &StepCall<'_>, below_zero: bool, b: &Backward<'_>, dx: &mut [f32]) {
    let weight = call.step.weights[0].weight.values();
    dx.copy_from_slice(b.dy);
    broadcast_scale_gradient(call.inputs[0], &weight_shape(call), &weight, below_zero, b.x[0], dx);
}

pub(super) fn weight_gradient(call: &StepCall<'_>, below_zero: bool, b: &Backward<'_>, dw: &mut [f32]) {
    broadcast_scale_weight_gradient(call.inputs[0], &weight_shape(call), below_zero, b.x[0], b.dy, dw);
}
