//! Gradients of random models against finite differences.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../../plan/tests/random_graphs/mod.rs"]
mod random_graphs;

mod support;

use engraft_cpu::CpuExecutor;
use engraft_ir::random::Rng;
use engraft_nn::Weight;
use engraft_nn::prelude::*;
use engraft_plan::{Executor, Plan, Session};
use random_graphs::{Kinds, random_model};
use support::{options, request};

const BATCH: usize = 3;

fn random(shape: &[usize], rng: &mut Rng) -> Tensor {
    let shape = [&[BATCH], shape].concat();
    let values = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::new(shape, values).unwrap()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// A point in the space of all inputs and trainable weights, and a direction from it.
struct Line {
    inputs: Vec<(Tensor, Tensor)>,
    weights: Vec<(Weight, Vec<f32>, Vec<f32>)>,
}

impl Line {
    fn of(model: &Model, rng: &mut Rng) -> Self {
        // Weights of layers with many inputs are small: values and their changes stay of order 1, and truncation errors small.
        let scale = |weight: &Weight| {
            let inputs = weight.count() / weight.shape().last().unwrap();
            (18.0 / inputs as f32).sqrt().min(1.0)
        };
        for weight in model.weights() {
            let (positive, scale) = (weight.name() == "moving_variance", scale(&weight));
            let value = |v: f32| if positive { 0.5 + v.abs() } else { 0.5 * scale * v };
            weight.set((0..weight.count()).map(|_| value(rng.normal())).collect()).unwrap();
        }
        let inputs = model.inputs().iter().map(|x| (random(x.shape(), rng), random(x.shape(), rng))).collect();
        let weights = model.trainable_weights().into_iter().map(|weight| {
            let direction = (0..weight.count()).map(|_| scale(&weight) * rng.normal()).collect();
            let start = weight.values().clone();
            (weight, start, direction)
        });
        Self { inputs, weights: weights.collect() }
    }

    /// `sum(output * upstream)` at the point that is `step` times the direction away from the start.
    fn score(&self, session: &mut dyn Session, step: f32, upstream: &[&Tensor]) -> f64 {
        let along = |start: &[f32], direction: &[f32]| -> Vec<f32> {
            start.iter().zip(direction).map(|(start, direction)| start + step * direction).collect()
        };
        for (weight, start, direction) in &self.weights {
            weight.set(along(start, direction)).unwrap();
        }
        let inputs: Vec<Tensor> =
            self.inputs.iter().map(|(x, d)| Tensor::new(x.shape(), along(x.data(), d.data())).unwrap()).collect();
        let outputs = session.predict(&inputs.iter().collect::<Vec<_>>()).unwrap();
        outputs.iter().zip(upstream).map(|(y, upstream)| product(y.data(), upstream.data())).sum()
    }
}

fn check(model: &Model, seed: u64) {
    // The larger of the two steps of the central differences. Richardson's extrapolation (1911) combines both such that the step²
    // term of the truncation error cancels. The f32 rounding error of about 1e-7 / STEP = 1e-5 remains.
    const STEP: f32 = 1e-2;
    const TOLERANCE: f64 = 2e-3;
    let rng = &mut Rng::new(seed);
    let line = Line::of(model, rng);
    let upstream: Vec<Tensor> = model.outputs().iter().map(|y| random(y.shape(), rng)).collect();
    let upstream: Vec<&Tensor> = upstream.iter().collect();
    let executor = CpuExecutor::new(Some(1)).unwrap();
    let mut session = executor.prepare(Plan::gradients(model, &request(false), BATCH, &options()).unwrap()).unwrap();
    // The gradients are computed twice: what the first run leaves in the buffers must not change the second.
    let inputs: Vec<&Tensor> = line.inputs.iter().map(|(x, _)| x).collect();
    session.gradients(&inputs, &upstream, 0).unwrap();
    let found = session.gradients(&inputs, &upstream, 0).unwrap();
    let parts = found.inputs.iter().zip(&line.inputs).map(|(found, (_, d))| (found.data(), d.data()));
    let parts = parts.chain(line.weights.iter().map(|(w, _, d)| (found.weights[&w.id()].as_slice(), d.as_slice())));
    let (mut along, mut size) = (0.0, 1.0f64);
    for (gradient, direction) in parts {
        along += product(gradient, direction);
        size += product(gradient, gradient);
    }
    let mut session = executor.prepare(Plan::predict(model, BATCH, &options()).unwrap()).unwrap();
    let mut slope = |step: f32| {
        let ends = [step, -step].map(|step| line.score(&mut *session, step, &upstream));
        (ends[0] - ends[1]) / f64::from(2.0 * step)
    };
    let difference = (4.0 * slope(STEP / 2.0) - slope(STEP)) / 3.0;
    assert!(
        (along - difference).abs() < TOLERANCE * size.sqrt(),
        "seed {seed}: {along} where differences say {difference}, of {size}"
    );
}

/// Outputs, gradients and weights of two runs of a plan.
fn bits(model: &Model, plan: Plan, seed: u64) -> Vec<Vec<f32>> {
    let rng = &mut Rng::new(seed);
    let line = Line::of(model, rng);
    let upstream: Vec<Tensor> = model.outputs().iter().map(|y| random(y.shape(), rng)).collect();
    let inputs: Vec<&Tensor> = line.inputs.iter().map(|(x, _)| x).collect();
    let mut session = CpuExecutor::new(Some(1)).unwrap().prepare(plan).unwrap();
    let mut all = Vec::new();
    // The plan runs twice: the second run starts from the moving statistics that the first has updated.
    for step in 0..2 {
        let found = session.gradients(&inputs, &upstream.iter().collect::<Vec<_>>(), step).unwrap();
        all.extend(found.outputs.into_iter().chain(found.inputs).map(|tensor| tensor.data().to_vec()));
        all.extend(line.weights.iter().map(|(weight, ..)| found.weights[&weight.id()].clone()));
    }
    all.extend(model.weights().iter().map(|weight| weight.values().clone()));
    all
}

#[test]
fn what_is_recomputed_is_the_same() {
    let mut recomputed = 0;
    for (seed, training) in (0..200).flat_map(|seed| [(seed, false), (seed, true)]) {
        let model = random_model(seed, Kinds::All);
        let plan = Plan::gradients(&model, &request(training), BATCH, &options()).unwrap();
        let low_memory = plan.clone().low_memory().unwrap();
        recomputed +=
            (0..plan.program().steps.len()).map(|step| low_memory.recomputed_steps(step).len()).sum::<usize>();
        assert!(low_memory.memory().buffers <= plan.memory().buffers);
        let [kept, again] = [plan, low_memory].map(|plan| bits(&model, plan, seed));
        // The comparison is of bits, because a NaN is not equal to itself.
        let same = |a: &[f32], b: &[f32]| a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()));
        assert!(kept.len() == again.len() && kept.iter().zip(&again).all(|(a, b)| same(a, b)), "seed {seed}");
    }
    assert!(recomputed > 50, "only {recomputed} steps ran again");
}

#[test]
fn gradients_of_random_models() {
    for seed in 0..200 {
        check(&random_model(seed, Kinds::Smooth), seed);
    }
}
