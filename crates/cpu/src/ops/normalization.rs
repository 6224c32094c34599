//! Batch normalisation.

use std::sync::RwLockReadGuard;

use engraft_kernels::{batch_norm, batch_norm_gradient_inference, batch_norm_gradient_training, moments};
use engraft_nn::plan::Op;

use super::{Backward, StepCall};

/// Mean and variance of each channel.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

/// Options of the step, and which of its weights is which.
struct Setup {
    epsilon: f32,
    momentum: f32,
    batch_statistics: bool,
    gamma: Option<usize>,
    beta: Option<usize>,
    mean: usize,
    variance: usize,
}

impl Setup {
    fn of(call: &StepCall<'_>) -> Self {
        let Op::BatchNorm { epsilon, momentum, scale, center, batch_statistics } = call.step.op else {
            unreachable!("called for batch normalisation only");
        };
        let mean = usize::from(scale) + usize::from(center);
        let (gamma, beta) = (scale.then_some(0), center.then_some(usize::from(scale)));
        Self { epsilon, momentum, batch_statistics, gamma, beta, mean, variance: mean + 1 }
    }
}

fn values<'a>(call: &'a StepCall<'_>, position: usize) -> RwLockReadGuard<'a, Vec<f32>> {
    call.step.weights[position].weight.values()
}

/// The batch's own statistics, where the step normalises by them.
pub(super) fn batch_statistics(call: &StepCall<'_>, x: &[f32]) -> Option<Statistics> {
    Setup::of(call).batch_statistics.then(|| {
        let channels = call.channels();
        let mut statistics = Statistics { mean: vec![0.0; channels], variance: vec![0.0; channels] };
        moments(channels, x, &mut statistics.mean, &mut statistics.variance);
        statistics
    })
}

/// What the step normalises by: the batch's statistics or the stored ones.
fn statistics(call: &StepCall<'_>, setup: &Setup) -> Statistics {
    match &call.statistics {
        Some(batch) => Statistics::clone(batch),
        None => Statistics { mean: values(call, setup.mean).clone(), variance: values(call, setup.variance).clone() },
    }
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let setup = Setup::of(call);
    let Statistics { mean, variance } = statistics(call, &setup);
    let gamma = setup.gamma.map(|position| values(call, position));
    let beta = setup.beta.map(|position| values(call, position));
    let (gamma, beta) = (gamma.as_deref().map(Vec::as_slice), beta.as_deref().map(Vec::as_slice));
    batch_norm(call.channels(), x, &mean, &variance, gamma, beta, setup.epsilon, y);
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32]) {
    gradient(call, b, Some(dx), None, None);
}

pub(super) fn weight_gradient(call: &StepCall<'_>, position: usize, b: &Backward<'_>, dw: &mut [f32]) {
    if Setup::of(call).gamma == Some(position) {
        gradient(call, b, None, Some(dw), None);
    } else {
        gradient(call, b, None, None, Some(dw));
    }
}

fn gradient(
    call: &StepCall<'_>,
    b: &Backward<'_>,
    dx: Option<&mut [f32]>,
    dgamma: Option<&mut [f32]>,
    dbeta: Option<&mut [f32]>,
) {
    let setup = Setup::of(call);
    let x = b.x[0];
    let Statistics { mean, variance } = statistics(call, &setup);
    let gamma = setup.gamma.map(|position| values(call, position));
    let gamma = gamma.as_deref().map(Vec::as_slice);
    let channels = call.channels();
    if call.statistics.is_some() {
        batch_norm_gradient_training(channels, b.dy, x, &mean, &variance, gamma, setup.epsilon, dx, dgamma, dbeta);
    } else {
        batch_norm_gradient_inference(channels, b.dy, x, &mean, &variance, gamma, setup.epsilon, dx, dgamma, dbeta);
    }
}

/// `stored * momentum + batch * (1 - momentum)`, Keras' formula.
pub(crate) fn move_statistics(call: &StepCall<'_>, batch: &Statistics) {
    let setup = Setup::of(call);
    for (position, batch) in [(setup.mean, &batch.mean), (setup.variance, &batch.variance)] {
        let mut stored = call.step.weights[position].weight.values_mut();
        for (stored, batch) in stored.iter_mut().zip(batch) {
            *stored = *stored * setup.momentum + batch * (1.0 - setup.momentum);
        }
    }
}
