//! Rows of a table by index.

use super::{Backward, StepCall};

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let width = call.output.last().copied().unwrap_or(1);
    engraft_kernels::embedding(width, x, &call.step.weights[0].weight.values(), y);
}

pub(super) fn table_gradient(b: &Backward<'_>, dw: &mut [f32]) {
    let width = b.dy.len() / b.x[0].len().max(1);
    match width {
        // An empty batch reads no row.
        0 => dw.fill(0.0),
        width => engraft_kernels::embedding_gradient(width, b.x[0], b.dy, dw),
    }
}
