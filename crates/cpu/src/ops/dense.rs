//! Dense steps.

use std::ops::Range;

use super::{Backward, StepCall};

/// Rows, inputs and units of the matrix product. All axes but the last are flattened into rows, as in Keras.
fn sizes(call: &StepCall<'_>) -> (usize, usize, usize) {
    let inputs = call.channels();
    let rows = call.samples * call.inputs[0].iter().product::<usize>() / inputs.max(1);
    (rows, inputs, call.output.last().copied().unwrap_or(1))
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let (rows, inputs, units) = sizes(call);
    let weights = &call.step.weights;
    let w = weights[0].weight.values();
    let bias = weights.get(1).map(|bias| bias.weight.values());
    engraft_kernels::dense(rows, inputs, units, x, &w, bias.as_deref().map(Vec::as_slice), call.step.activation, y);
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32]) {
    let (rows, inputs, units) = sizes(call);
    engraft_kernels::dense_input_gradient(rows, inputs, units, b.dy, &call.step.weights[0].weight.values(), dx);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32]) {
    let (rows, inputs, units) = sizes(call);
    engraft_kernels::dense_kernel_gradient(rows, inputs, units, b.x[0], b.dy, dw);
}

/// The gradient with respect to the kernel rows `rows`, computed on the calling thread.
pub(crate) fn kernel_gradient_rows(call: &StepCall<'_>, b: &Backward<'_>, rows: Range<usize>, dw: &mut [f32]) {
    let (batch, inputs, units) = sizes(call);
    engraft_kernels::dense_kernel_gradient_rows(batch, inputs, units, b.x[0], b.dy, rows, dw);
}
