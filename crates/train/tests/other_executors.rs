//! `fit` on an executor that keeps copies of the weights, and on two replicas that sum their gradients.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::sync::{Arc, Barrier, Mutex};

use engraft_data::Arrays;
use engraft_nn::prelude::*;
use engraft_nn::{Result, Weight};
use engraft_plan::{BatchPlace, GradientReducer};
use engraft_reference::ReferenceExecutor;
use engraft_runtime::Runtime;
use engraft_train::{Callback, EpochEnd, Fit, History, Train, Training};

/// A layer with a fixed seed, as the process-wide generator also serves other tests that run at the same time.
fn dense(units: usize, seed: u64) -> Dense {
    Dense::new(units).kernel_initializer(Initializer::RandomNormal { mean: 0.0, stddev: 0.5, seed: Some(seed) })
}

fn model() -> Model {
    let layers = Sequential::new().add(Input::new([3])).add(dense(6, 1).activation(Tanh).named("hidden"));
    let model = layers.add(BatchNormalization::new()).add(dense(2, 2).activation(Softmax)).build().unwrap();
    model.compile(Sgd::new(0.1).momentum(0.9), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

/// Samples `first..first + count` of 16.
fn data(first: usize, count: usize) -> Arrays {
    let x = (3 * first..3 * (first + count)).map(|i| (i * 7 % 13) as f32 / 13.0 - 0.5).collect();
    let y = (first..first + count).flat_map(|i| if i % 3 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    Arrays::new(Tensor::new([count, 3], x).unwrap(), Tensor::new([count, 2], y).unwrap()).unwrap()
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
    let weights = model.weights().iter().flat_map(|weight| weight.values().clone()).collect();
    (history, callback.0, weights)
}

/// Whether numbers agree up to the order of f32 sums, over twelve steps with momentum.
fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn weights_that_are_kept_elsewhere_come_home_when_they_are_wanted() {
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
    let model = model();
    let runtime = Runtime::new(Arc::new(ReferenceExecutor));
    let before = model.weights()[0].values().clone();
    model.fit(&data(0, 16), Fit::new().batch_size(16).runtime(&runtime)).unwrap();
    assert_ne!(*model.weights()[0].values(), before);
    assert_eq!(model.compiled().unwrap().state.slots().len(), 6);
}

/// Sums the gradients of two replicas, in the order of their numbers.
struct Replica<'a> {
    number: usize,
    sums: &'a Mutex<HashMap<String, [Option<Vec<f32>>; 2]>>,
    barrier: &'a Barrier,
}

impl GradientReducer for Replica<'_> {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: 2 * samples }
    }

    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        self.sums.lock().unwrap().entry(weight.path()).or_default()[self.number] = Some(gradient.to_vec());
        self.barrier.wait();
        let parts = self.sums.lock().unwrap()[&weight.path()].clone();
        let [Some(first), Some(second)] = parts else { panic!("a replica has given no gradient") };
        gradient.iter_mut().zip(first.iter().zip(second)).for_each(|(sum, (a, b))| *sum = a + b);
        self.barrier.wait();
        Ok(())
    }
}

#[test]
fn two_replicas_of_fit_train_the_weights_that_one_trains() {
    let plain = || {
        let layers = Sequential::new().add(Input::new([3])).add(dense(6, 1).activation(Tanh).named("hidden"));
        let model = layers.add(dense(2, 2).activation(Softmax).named("top")).build().unwrap();
        model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        model
    };
    let weights = |model: &Model| model.weights().iter().flat_map(|w| w.values().clone()).collect::<Vec<f32>>();
    let alone = plain();
    alone.fit(&data(0, 16), Fit::new().epochs(5).batch_size(16).shuffle(false)).unwrap();
    let models = [plain(), plain()];
    let (sums, barrier) = (Mutex::default(), Barrier::new(2));
    std::thread::scope(|scope| {
        for (number, model) in models.iter().enumerate() {
            let (sums, barrier) = (&sums, &barrier);
            scope.spawn(move || {
                let (data, mut reducer) = (data(8 * number, 8), Replica { number, sums, barrier });
                let fit = Fit::new().epochs(5).batch_size(8).shuffle(false).reducer(&mut reducer);
                model.fit(&data, fit).unwrap();
            });
        }
    });
    let [first, second] = models.each_ref().map(weights);
    assert!(first == second, "both make the same steps, bit for bit");
    // The tolerance covers a few f32 rounding errors per step: two replicas sum gradients in another order than one.
    let largest = first.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    assert!(first.iter().zip(weights(&alone)).all(|(a, b)| (a - b).abs() <= 1e-6 * largest));
}
