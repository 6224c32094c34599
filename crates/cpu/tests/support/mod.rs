//! Helpers that several tests share: plan options, random tensors, targets, and weights to save and restore.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test uses all of it")]

use engraft_cpu::CpuExecutor;
use engraft_nn::prelude::*;
use engraft_nn::random::Rng;
use engraft_plan::{Executor, GradientRequest, PlanOptions};

/// The plan options of the CPU executor.
pub(crate) fn options() -> PlanOptions {
    CpuExecutor::new(Some(1)).unwrap().plan_options()
}

/// Gradients with respect to inputs and weights, in training mode or not.
pub(crate) fn request(training: bool) -> GradientRequest {
    GradientRequest { training, inputs: true, weights: true, ..GradientRequest::default() }
}

/// Numbers of a standard normal distribution.
pub(crate) fn normal(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.normal()).collect()).unwrap()
}

/// A random batch for each of these inputs or outputs of a model.
pub(crate) fn batches(values: &[SymbolicTensor], batch: usize, seed: u64) -> Vec<Tensor> {
    values
        .iter()
        .zip(seed..)
        .map(|(value, seed)| normal(&[&[batch], value.shape().as_slice()].concat(), seed))
        .collect()
}

/// One-hot targets that cycle through the classes.
pub(crate) fn one_hot(samples: usize, classes: usize) -> Tensor {
    let row = |sample: usize| (0..classes).map(move |class| f32::from(u8::from(sample % classes == class)));
    Tensor::new([samples, classes], (0..samples).flat_map(row).collect()).unwrap()
}

/// Sets every weight to random values. Weights of layers with many inputs are small: values and gradients stay of order 1.
pub(crate) fn randomize(model: &Model, seed: u64) {
    for (weight, seed) in model.weights().iter().zip(1000 * seed..) {
        let inputs = weight.count() / weight.shape().last().unwrap_or(&1);
        let scale = (18.0 / inputs as f32).sqrt().min(1.0);
        let positive = weight.name() == "moving_variance";
        let value = |v: &f32| if positive { 0.5 + v.abs() } else { 0.5 * scale * v };
        weight.set(normal(weight.shape(), seed).data().iter().map(value).collect()).unwrap();
    }
}

/// The values of all weights, moving statistics included.
pub(crate) fn weights(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

/// Sets the weights to values that [`weights`] returned before.
pub(crate) fn restore(model: &Model, values: &[Vec<f32>]) {
    model.weights().iter().zip(values).for_each(|(weight, values)| weight.set(values.clone()).unwrap());
}
