//! `fit` and `train_on_batch` on an executor that keeps copies of the weights.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use engraft_data::Dataset;
use engraft_nn::Result;
use engraft_nn::prelude::*;
use engraft_reference::ReferenceExecutor;
use engraft_runtime::Runtime;
use engraft_train::{Callback, EpochEnd, Fit, History, StepOptions, Train, Training};
use support::{data, dense, weights};

fn model() -> Model {
    let layers = Sequential::new().add(Input::new([3])).add(dense(6, 1).activation(Tanh).named("hidden"));
    let model = layers.add(BatchNormalization::new()).add(dense(2, 2).activation(Softmax)).build().unwrap();
    model.compile(Sgd::new(0.1).momentum(0.9), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

/// Reads the model after each epoch, and writes it after the first.
#[derive(Default)]
struct ReadsAndWrites(Vec<f32>);

impl Callback for ReadsAndWrites {
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        let kernel = training.model()?.get_layer("hidden")?.weights()[0].clone();
        self.0.push(kernel.values()[0]);
        if end.epoch == 0 {
            kernel.values_mut().iter_mut().for_each(|value| *value *= 0.5);
        }
        Ok(())
    }
}

fn fit(runtime: &Runtime) -> (History, Vec<f32>, Vec<f32>) {
    let (model, data, mut callback) = (model(), data(0, 16), ReadsAndWrites::default());
    let options = Fit::new().epochs(3).batch_size(5).validation(&data).runtime(runtime).callback(&mut callback);
    let history = model.fit(&data, options).unwrap();
    (history, callback.0, weights(&model))
}

/// Whether numbers agree up to the order of f32 sums, over twelve steps with momentum.
fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn weights_on_a_device_are_synchronized_when_they_are_read() {
    let (history, seen, weights) = fit(&Runtime::new(Arc::new(ReferenceExecutor)));
    let (expected, expected_seen, expected_weights) = fit(&Runtime::cpu(Some(1)).unwrap());
    // The executors agree on the weights that the callback reads, on validation losses and on the final weights. The callback
    // also changes weights, so copies must go both ways.
    assert!(close(&seen, &expected_seen), "{seen:?} {expected_seen:?}");
    let numbers = |history: &History| history.get("val_loss").iter().map(|&loss| loss as f32).collect::<Vec<_>>();
    assert!(close(&numbers(&history), &numbers(&expected)), "{history:?} {expected:?}");
    assert!(close(&weights, &expected_weights));
}

#[test]
fn a_batch_is_taken_in_by_train_on_batch_whoever_computes() {
    // Two steps, as the second one reads weights and momentum of the first.
    let two_steps = |runtime: &Runtime| {
        let (model, batch) = (model(), data(0, 16).batch(&[0, 1, 2, 3, 4, 5]).unwrap());
        let step = || model.train_on_batch_with(&batch.x, &batch.y, StepOptions::new().runtime(runtime)).unwrap();
        let losses = [step().loss, step().loss].map(|loss| loss as f32);
        let compiled = model.compiled().unwrap();
        assert_eq!((compiled.state.iterations(), compiled.state.slots().len()), (2, 6));
        (losses, weights(&model))
    };
    let (losses, trained) = two_steps(&Runtime::new(Arc::new(ReferenceExecutor)));
    let (expected_losses, expected) = two_steps(&Runtime::cpu(Some(1)).unwrap());
    assert!(!close(&trained, &weights(&model())));
    assert!(close(&losses, &expected_losses) && close(&trained, &expected), "{losses:?} {expected_losses:?}");
}
