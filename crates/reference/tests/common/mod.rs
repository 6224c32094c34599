//! Helpers of the session tests: a small model and its training.

#![allow(clippy::unwrap_used, dead_code, reason = "only tests use it, and not every test all of it")]

use engraft_nn::OptimizerState;
use engraft_nn::prelude::*;
use engraft_nn::random::Rng;
use engraft_plan::{Executor, LabelledBatch, Plan, PlanOptions, Session, SingleReplica, Update};
use engraft_reference::ReferenceExecutor;

pub(crate) const BATCH: usize = 4;
pub(crate) const UPDATE: Update = Update { learning_rate: 0.1, iteration: 0 };

pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.normal()).collect()).unwrap()
}

pub(crate) fn classes(samples: usize) -> Tensor {
    Tensor::new([samples, 1], (0..samples).map(|sample| (sample % 3) as f32).collect()).unwrap()
}

/// A model with augmentation, convolution, batch normalization, dropout and softmax. Its weights are the same on every call.
pub(crate) fn model() -> Model {
    let x = Input::new([6, 6, 2]);
    let y = RandomFlip::horizontal().call(&x).unwrap();
    let y = Conv2D::new(3, 3).activation(Relu).named("conv").call(&y).unwrap();
    let y = BatchNormalization::new().named("norm").call(&y).unwrap();
    let y = Flatten::new().call(&MaxPooling2D::new(2).call(&y).unwrap()).unwrap();
    let y = Dropout::new(0.25).call(&y).unwrap();
    let y = Dense::new(3).activation(Softmax).kernel_regularizer(Regularizer::l2(0.01)).named("top").call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    for (weight, seed) in model.weights().iter().zip(100..) {
        let variance = weight.name() == "moving_variance";
        let value = |x: &f32| if variance { 0.5 + x.abs() } else { 0.5 * x };
        weight.set(random(weight.shape(), seed).data().iter().map(value).collect()).unwrap();
    }
    model
}

pub(crate) fn plan(model: &Model, options: &PlanOptions) -> Plan {
    let (optimizer, loss) = (Sgd::new(0.1).momentum(0.9).into(), Loss::sparse_categorical_crossentropy());
    Plan::train(model, optimizer, loss, BATCH, 5, options).unwrap()
}

pub(crate) fn prepare(plan: Plan) -> Box<dyn Session> {
    ReferenceExecutor.prepare(plan).unwrap()
}

pub(crate) fn session(model: &Model) -> Box<dyn Session> {
    prepare(plan(model, &PlanOptions::default()))
}

pub(crate) fn values(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

/// Runs one training step on random samples of this seed, without `synchronize`; returns the loss.
pub(crate) fn step(session: &mut dyn Session, seed: u64, iteration: u64, state: &OptimizerState) -> f64 {
    let (x, y) = (random(&[BATCH, 6, 6, 2], seed), classes(BATCH));
    let output = session.forward_backward(&LabelledBatch::new(&[&x], &y), iteration, &mut SingleReplica).unwrap();
    session.apply(Update { iteration, ..UPDATE }, state).unwrap();
    output.loss
}
