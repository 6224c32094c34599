//! Normalization of groups of values within each sample.

use engraft_ir::Normalization;
use engraft_kernels::{normalize, normalize_input_gradient, normalize_weight_gradients};

use super::{Backward, StepCall};

pub(super) fn forward(call: &StepCall<'_>, norm: &Normalization, x: &[f32], y: &mut [f32]) {
    let weight = |position: usize| call.step.weights[position].weight.values();
    let gamma = norm.scale.then(|| weight(0));
    let beta = norm.center.then(|| weight(usize::from(norm.scale)));
    normalize(norm, x, gamma.as_deref().map(Vec::as_slice), beta.as_deref().map(Vec::as_slice), y);
}

pub(super) fn input_gradient(call: &StepCall<'_>, norm: &Normalization, b: &Backward<'_>, dx: &mut [f32]) {
    let gamma = norm.scale.then(|| call.step.weights[0].weight.values());
    normalize_input_gradient(norm, b.dy, b.x[0], gamma.as_deref().map(Vec::as_slice), dx);
}

pub(super) fn weight_gradient(norm: &Normalization, position: usize, b: &Backward<'_>, dw: &mut [f32]) {
    match norm.scale && position == 0 {
        true => normalize_weight_gradients(norm, b.dy, b.x[0], Some(dw), None),
        false => normalize_weight_gradients(norm, b.dy, b.x[0], None, Some(dw)),
    }
}
