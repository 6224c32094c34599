//! The CPU executor against the reference executor, which computes every operation from its definition in f64.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod architectures;
mod attention;
mod compare;
mod losses;
#[path = "../../../plan/tests/random_graphs/mod.rs"]
mod random_graphs;
#[path = "../support/mod.rs"]
mod support;

use compare::{compare_gradients, compare_training, inner_layers, optimizers};
use engraft_nn::Interpolation;
use engraft_nn::layers::ActivityRegularization;
use engraft_nn::prelude::*;
use engraft_plan::GradientRequest;
use random_graphs::{Kinds, random_classifier, random_model};
use support::randomize;

#[test]
fn gradients_of_random_models() {
    for (seed, training) in (0..200).flat_map(|seed| [(seed, false), (seed, true)]) {
        let model = random_model(seed, Kinds::All);
        randomize(&model, seed);
        let layers = inner_layers(&model, seed as usize);
        let place = format!("seed {seed}, training {training}");
        let request = GradientRequest { training, seed, inputs: true, weights: true, layers };
        compare_gradients(&model, &request, &place);
        // Without gradients with respect to inputs and weights, fewer steps are differentiated. So more are fused, chunked and
        // streamed.
        let request = GradientRequest { inputs: false, weights: false, ..request };
        compare_gradients(&model, &request, &format!("{place}, of layers only"));
    }
}

#[test]
fn training_of_random_classifiers() {
    for seed in 0..100 {
        let model = random_classifier(seed);
        randomize(&model, seed);
        for optimizer in optimizers() {
            compare_training(&model, &optimizer, &format!("seed {seed}, {optimizer:?}"));
        }
    }
}

/// Noise that values share, penalties on the outputs of layers, and resizing by tables of weights.
#[test]
fn training_with_noise_and_penalties() {
    let x = Input::new([6, 5, 2]);
    let y = GaussianNoise::new(0.2).call(&Conv2D::new(3, 3).padding(Padding::Same).activation(Relu).call(&x).unwrap());
    let y = ActivityRegularization::new().l1(0.01).l2(0.02).call(&y.unwrap()).unwrap();
    let y = SpatialDropout2D::new(0.3).call(&y).unwrap();
    let y = Resizing::new(4, 7).interpolation(Interpolation::Bicubic).antialias(true).call(&y).unwrap();
    let y = GaussianDropout::new(0.2).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let y = ActivityRegularization::new().l2(0.05).call(&Dense::new(4).activation(Tanh).call(&y).unwrap()).unwrap();
    let y = Dense::new(3).activation(Softmax).call(&AlphaDropout::new(0.2).call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    randomize(&model, 5);
    for optimizer in optimizers() {
        compare_training(&model, &optimizer, &format!("{optimizer:?}"));
    }
}
