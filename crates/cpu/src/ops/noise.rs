//! Random noise, with a seed for each sample.

use engraft_ir::random::mix;
use engraft_ir::{Noise, Op};
use engraft_kernels::{noise, noise_gradient};

use super::StepCall;

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    for_each_sample(call, x, y, noise);
}

pub(super) fn input_gradient(call: &StepCall<'_>, dy: &[f32], dx: &mut [f32]) {
    for_each_sample(call, dy, dx, noise_gradient);
}

/// A kernel for one sample: noise, seed, shapes of the sample and of its noise, input and output.
type Kernel = fn(Noise, u64, &[usize], &[usize], &[f32], &mut [f32]);

/// Calls `kernel` for each sample with the seed of its place in the global batch, or with the seed that all samples share. So the
/// noise doesn't depend on how the batch is split into chunks or replicas.
fn for_each_sample(call: &StepCall<'_>, x: &[f32], y: &mut [f32], kernel: Kernel) {
    let Op::Noise { noise, shape, across_samples, seed } = &call.step.op else {
        unreachable!("called for noise only");
    };
    let size = call.output.iter().product::<usize>().max(1);
    for (sample, (x, y)) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)).enumerate() {
        let place = if *across_samples { u64::MAX } else { (call.first_sample + sample) as u64 };
        kernel(*noise, mix(mix(*seed, call.iteration), place), call.output, shape, x, y);
    }
}
