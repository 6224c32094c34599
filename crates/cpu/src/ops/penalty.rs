//! Penalties on values: one number for each sample.

use engraft_ir::Op;
use engraft_kernels::{l1_l2_gradient, l1_l2_penalty};
use rayon::prelude::*;

use super::{Backward, StepCall};

fn factors(call: &StepCall<'_>) -> (f32, f32) {
    match call.step.op {
        Op::Penalty { l1, l2 } => (l1, l2),
        _ => unreachable!("called for penalties only"),
    }
}

/// The number of values of a sample.
fn size(call: &StepCall<'_>) -> usize {
    call.inputs[0].iter().product::<usize>().max(1)
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let (l1, l2) = factors(call);
    x.par_chunks(size(call)).zip(y).for_each(|(x, y)| *y = l1_l2_penalty(x, l1, l2) as f32);
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32]) {
    let (l1, l2) = factors(call);
    let samples = dx.par_chunks_mut(size(call)).zip(b.x[0].par_chunks(size(call))).zip(b.dy);
    samples.for_each(|((dx, x), dy)| {
        dx.fill(0.0);
        l1_l2_gradient(x, l1 * dy, l2 * dy, dx);
    });
}
