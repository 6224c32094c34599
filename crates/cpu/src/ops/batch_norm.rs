//! Batch normalization steps, in training mode (statistics of the batch) and in inference mode (moving statistics).

use std::sync::RwLockReadGuard;

use engraft_ir::Op;
use engraft_kernels::{
    batch_norm, batch_norm_gradient_inference, batch_norm_gradient_sums, batch_norm_gradient_training,
    batch_norm_input_gradient, channel_sums, fold_batch_norm, means, squared_deviation_sums,
};
use engraft_nn::{FoldedNormalization, Result};
use engraft_plan::GradientReducer;

use super::{Backward, StepCall};
use crate::step_call::Statistics;

/// Options of the step, and the position of each parameter among its weights.
struct BatchNormConfig {
    epsilon: f32,
    momentum: f32,
    batch_statistics: bool,
    gamma: Option<usize>,
    beta: Option<usize>,
    mean: usize,
    variance: usize,
}

impl BatchNormConfig {
    fn of(call: &StepCall<'_>) -> Self {
        Self::of_op(&call.step.op)
    }

    fn of_op(op: &Op) -> Self {
        let Op::BatchNorm { epsilon, momentum, scale, center, batch_statistics } = *op else {
            unreachable!("called for batch normalization only");
        };
        let mean = usize::from(scale) + usize::from(center);
        let (gamma, beta) = (scale.then_some(0), center.then_some(usize::from(scale)));
        Self { epsilon, momentum, batch_statistics, gamma, beta, mean, variance: mean + 1 }
    }
}

fn values<'a>(call: &'a StepCall<'_>, position: usize) -> RwLockReadGuard<'a, Vec<f32>> {
    call.step.weights[position].weight.values()
}

/// Folds a normalization into the kernel and bias of a convolution, in place.
pub(crate) fn fold(normalization: &FoldedNormalization, kernel: &mut [f32], bias: &mut [f32]) {
    let config = BatchNormConfig::of_op(&normalization.op);
    let values = |position: usize| normalization.weights[position].weight.values();
    let (mean, variance) = (values(config.mean), values(config.variance));
    let (gamma, beta) = (config.gamma.map(values), config.beta.map(values));
    let (gamma, beta) = (gamma.as_deref().map(Vec::as_slice), beta.as_deref().map(Vec::as_slice));
    fold_batch_norm(kernel, bias, &mean, &variance, gamma, beta, config.epsilon);
}

/// Mean and variance of the batch in training mode; `None` in inference mode.
///
/// If the reducer sums statistics over replicas, the mean and variance are those of the global batch.
pub(super) fn batch_statistics(
    call: &StepCall<'_>,
    x: &[f32],
    reducer: &mut dyn GradientReducer,
) -> Result<Option<Statistics>> {
    if !BatchNormConfig::of(call).batch_statistics {
        return Ok(None);
    }
    let channels = call.channels();
    let mut sums = channel_sums(channels, x);
    sums.push((x.len() / channels.max(1)) as f64);
    reducer.sum_statistics(&mut sums)?;
    // A batch without rows gets a mean and a variance of 0, not 0 / 0.
    let rows = sums.pop().unwrap_or(0.0).max(1.0);
    let mut statistics = Statistics { mean: vec![0.0; channels], variance: vec![0.0; channels], rows };
    means(&sums, rows, &mut statistics.mean);
    let mut sums = squared_deviation_sums(channels, x, &statistics.mean);
    reducer.sum_statistics(&mut sums)?;
    means(&sums, rows, &mut statistics.variance);
    Ok(Some(statistics))
}

/// Mean and variance that the step normalizes by: the batch's in training mode, the moving ones in inference mode.
fn statistics(call: &StepCall<'_>, config: &BatchNormConfig) -> Statistics {
    match &call.statistics {
        Some(batch) => Statistics::clone(batch),
        None => {
            let [mean, variance] = [config.mean, config.variance].map(|position| values(call, position).clone());
            Statistics { mean, variance, rows: 0.0 }
        }
    }
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let config = BatchNormConfig::of(call);
    let Statistics { mean, variance, .. } = statistics(call, &config);
    let gamma = config.gamma.map(|position| values(call, position));
    let beta = config.beta.map(|position| values(call, position));
    let (gamma, beta) = (gamma.as_deref().map(Vec::as_slice), beta.as_deref().map(Vec::as_slice));
    batch_norm(call.channels(), x, &mean, &variance, gamma, beta, config.epsilon, y);
}

/// Computes the gradient with respect to the input.
///
/// In training mode, the batch's mean and variance are functions of the input, and the gradient includes their derivatives.
/// If the reducer sums over replicas, they are the mean and variance of the global batch.
pub(super) fn input_gradient(
    call: &StepCall<'_>,
    b: &Backward<'_>,
    dx: &mut [f32],
    reducer: &mut dyn GradientReducer,
) -> Result<()> {
    let Some(batch) = &call.statistics else {
        gradient(call, b, Some(dx), None, None);
        return Ok(());
    };
    let (config, channels, x) = (BatchNormConfig::of(call), call.channels(), b.x[0]);
    let Statistics { mean, variance, rows } = &**batch;
    let gamma = config.gamma.map(|position| values(call, position));
    let gamma = gamma.as_deref().map(Vec::as_slice);
    let mut sums = batch_norm_gradient_sums(channels, b.dy, x, mean, variance, config.epsilon);
    reducer.sum_statistics(&mut sums)?;
    batch_norm_input_gradient(channels, b.dy, x, mean, variance, gamma, config.epsilon, &sums, *rows, dx);
    Ok(())
}

pub(super) fn weight_gradient(call: &StepCall<'_>, position: usize, b: &Backward<'_>, dw: &mut [f32]) {
    if BatchNormConfig::of(call).gamma == Some(position) {
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
    let config = BatchNormConfig::of(call);
    let x = b.x[0];
    let Statistics { mean, variance, .. } = statistics(call, &config);
    let gamma = config.gamma.map(|position| values(call, position));
    let gamma = gamma.as_deref().map(Vec::as_slice);
    let channels = call.channels();
    if call.statistics.is_some() {
        batch_norm_gradient_training(channels, b.dy, x, &mean, &variance, gamma, config.epsilon, dx, dgamma, dbeta);
    } else {
        batch_norm_gradient_inference(channels, b.dy, x, &mean, &variance, gamma, config.epsilon, dx, dgamma, dbeta);
    }
}

/// Updates the moving mean and variance as Keras does: `moving * momentum + batch * (1 - momentum)`.
pub(crate) fn update_moving_statistics(call: &StepCall<'_>, batch: &Statistics) {
    let config = BatchNormConfig::of(call);
    for (position, batch) in [(config.mean, &batch.mean), (config.variance, &batch.variance)] {
        let mut moving = call.step.weights[position].weight.values_mut();
        for (moving, batch) in moving.iter_mut().zip(batch) {
            *moving = *moving * config.momentum + batch * (1.0 - config.momentum);
        }
    }
}
