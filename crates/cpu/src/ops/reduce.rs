//! Reductions along axes of samples.

use engraft_ir::Reduction;
use engraft_kernels::{reduce, reduce_gradient};

use super::{Backward, StepCall};

pub(super) fn forward(call: &StepCall<'_>, reduction: Reduction, axes: &[usize], x: &[f32], y: &mut [f32]) {
    reduce(reduction, call.inputs[0], axes, x, y);
}

pub(super) fn input_gradient(
    call: &StepCall<'_>,
    reduction: Reduction,
    axes: &[usize],
    b: &Backward<'_>,
    dx: &mut [f32],
) {
    reduce_gradient(reduction, call.inputs[0], axes, b.x[0], b.y, b.dy, dx);
}
