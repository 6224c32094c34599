//! Training steps with gradients summed over replicas.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::{Arc, Barrier, Mutex};

use common::{BATCH, UPDATE, classes, model, plan, prepare, random, session, values};
use engraft_nn::prelude::*;
use engraft_nn::{OptimizerState, Result, Weight};
use engraft_plan::{BatchPlace, GradientReducer, LabelledBatch, PlanOptions, SingleReplica};

/// The reducer of one of two replicas, which are threads of this process.
struct Replica {
    number: usize,
    exchange: Arc<Exchange>,
    offered: Vec<String>,
    collected: Vec<String>,
}

struct Exchange {
    barrier: Barrier,
    sums: Mutex<Vec<f64>>,
}

impl Replica {
    fn new(number: usize, exchange: &Arc<Exchange>) -> Self {
        Self { number, exchange: Arc::clone(exchange), offered: Vec::new(), collected: Vec::new() }
    }

    /// Sums `own` over all replicas.
    fn sum(&self, own: &[f64]) -> Vec<f64> {
        let Exchange { barrier, sums } = &*self.exchange;
        {
            let mut sums = sums.lock().unwrap();
            sums.resize(own.len(), 0.0);
            sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        barrier.wait();
        let sum = sums.lock().unwrap().clone();
        if barrier.wait().is_leader() {
            sums.lock().unwrap().clear();
        }
        barrier.wait();
        sum
    }
}

impl GradientReducer for Replica {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: 2 * samples }
    }

    fn offer(&mut self, weight: &Weight, _gradient: &[f32]) -> Result<()> {
        self.offered.push(weight.path());
        Ok(())
    }

    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        self.collected.push(weight.path());
        let own: Vec<f64> = gradient.iter().copied().map(f64::from).collect();
        gradient.iter_mut().zip(self.sum(&own)).for_each(|(gradient, sum)| *gradient = sum as f32);
        Ok(())
    }

    fn sum_statistics(&mut self, sums: &mut [f64]) -> Result<()> {
        sums.copy_from_slice(&self.sum(sums));
        Ok(())
    }
}

/// The first or second half of a batch.
fn half(tensor: &Tensor, number: usize) -> Tensor {
    let samples = tensor.batch() / 2;
    let rows = (number * samples..(number + 1) * samples).flat_map(|row| tensor.row(row).to_vec()).collect();
    Tensor::new([&[samples], &tensor.shape()[1..]].concat(), rows).unwrap()
}

#[test]
fn replicas_of_half_a_batch_make_the_step_of_the_full_batch() {
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    let full = model();
    let (mut full_session, state) = (session(&full), OptimizerState::default());
    let output = full_session.forward_backward(&LabelledBatch::new(&[&x], &y), 3, &mut SingleReplica).unwrap();
    full_session.apply(UPDATE, &state).unwrap();
    full_session.synchronize(&state).unwrap();

    let shared = model();
    let exchange = Arc::new(Exchange { barrier: Barrier::new(2), sums: Mutex::default() });
    let losses = std::thread::scope(|scope| {
        let replicas = [0, 1].map(|number| {
            let (mut session, mut reducer) = (session(&shared), Replica::new(number, &exchange));
            let (x, y) = (half(&x, number), half(&y, number));
            scope.spawn(move || {
                let state = OptimizerState::default();
                let step = session.forward_backward(&LabelledBatch::new(&[&x], &y), 3, &mut reducer).unwrap();
                session.apply(UPDATE, &state).unwrap();
                // All replicas have computed the same weights, so one of them writes the weights back to the model.
                if number == 0 {
                    session.synchronize(&state).unwrap();
                }
                (step.loss, reducer.offered, reducer.collected)
            })
        });
        replicas.map(|replica| replica.join().unwrap())
    });

    let backward = ["top/kernel", "top/bias", "norm/gamma", "norm/beta", "conv/kernel", "conv/bias"];
    assert!(losses.iter().all(|(_, offered, collected)| offered == &backward && collected == &backward));
    assert!((losses[0].0 + losses[1].0 - 2.0 * output.loss).abs() < 1e-9, "each gives the mean of its own samples");
    for (a, b) in values(&full).iter().flatten().zip(values(&shared).iter().flatten()) {
        // The tolerance allows for rounding: each replica rounds its part of the gradient to f32 before the sum.
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
}

/// A reducer that replaces every gradient by ones.
struct Ones;

impl GradientReducer for Ones {
    fn place(&self, samples: usize) -> BatchPlace {
        SingleReplica.place(samples)
    }

    fn collect(&mut self, _weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        gradient.fill(1.0);
        Ok(())
    }
}

#[test]
fn the_collected_gradients_are_applied() {
    let model = model();
    let bias = model.get_layer("top").unwrap().weights()[1].clone();
    bias.set(vec![0.0; 3]).unwrap();
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    let (mut session, state) = (session(&model), OptimizerState::default());
    session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut Ones).unwrap();
    session.apply(UPDATE, &state).unwrap();
    session.synchronize(&state).unwrap();
    assert_eq!(*bias.values(), [-0.1; 3]);
}

#[test]
fn a_reducer_that_needs_gradients_refuses_a_plan_that_folds_updates() {
    let mut session = prepare(plan(&model(), &PlanOptions::default().fold_updates(true)));
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    let error = session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut Ones).unwrap_err().to_string();
    assert!(error.contains("fold_updates(false)"), "{error}");
    assert!(session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut SingleReplica).is_ok());
}
