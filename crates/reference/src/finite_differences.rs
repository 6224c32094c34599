//! Tests that compare the gradients of random models with finite differences in f64.

use std::collections::HashMap;

use engraft_ir::ValueId;
use engraft_nn::Model;
use engraft_plan::{GradientRequest, Plan, PlanOptions, SingleReplica};

use crate::array::Array;
use crate::pass::{ForwardPass, PassGradients};
use crate::random_graphs::{Kinds, random_model};
use crate::testing::{STEP, dot, random};
use crate::unfused::UnfusedProgram;
use crate::weights::Weights;

const BATCH: usize = 3;

/// A scalar function of a model to differentiate: its outputs, weighted by random `upstream` gradients and summed.
struct Evaluation {
    plan: Plan,
    program: UnfusedProgram,
    upstream: HashMap<ValueId, Array>,
}

impl Evaluation {
    fn new(model: &Model, training: bool) -> Self {
        let request = GradientRequest { training, seed: 4, inputs: true, weights: true, layers: Vec::new() };
        let plan = Plan::gradients(model, &request, BATCH, &PlanOptions::default()).unwrap();
        let upstream = |&output: &ValueId| {
            let shape = [&[BATCH], plan.program().shapes[output].as_slice()].concat();
            (output, random(&shape, 100 + output as u64))
        };
        let upstream = plan.program().outputs.iter().map(upstream).collect();
        Self { program: UnfusedProgram::of(&plan), plan, upstream }
    }

    fn pass<'a>(&'a self, weights: &'a Weights, inputs: &HashMap<ValueId, Array>) -> ForwardPass<'a> {
        ForwardPass::run(&self.program, weights, BATCH, inputs.clone(), 7, &mut SingleReplica).unwrap()
    }

    /// `sum(output * upstream)`.
    fn score(&self, weights: &Weights, inputs: &HashMap<ValueId, Array>) -> f64 {
        let pass = self.pass(weights, inputs);
        self.upstream.iter().map(|(&output, upstream)| dot(pass.value(output).unwrap(), upstream)).sum()
    }

    fn gradients(&self, weights: &Weights, inputs: &HashMap<ValueId, Array>) -> PassGradients {
        self.pass(weights, inputs).backward(self.upstream.clone(), &mut SingleReplica).unwrap()
    }
}

/// Compares the directional derivative along a random `direction` with the central difference, which covers all elements at once.
///
/// The error of central differences grows with the third derivative, which is of order 1 for these models of a few layers.
#[track_caller]
fn compare(what: &str, gradient: &Array, direction: &Array, score: impl Fn(f64) -> f64) {
    let (along, difference) = (dot(gradient, direction), (score(STEP) - score(-STEP)) / (2.0 * STEP));
    let size = dot(gradient, gradient).sqrt().max(1.0);
    assert!((along - difference).abs() < 1e-6 * size, "{what}: {along}, differences say {difference}");
}

fn moved(start: &Array, direction: &Array, step: f64) -> Array {
    start.zip(direction, |start, direction| start + step * direction)
}

fn check(seed: u64, training: bool) {
    let model = random_model(seed, Kinds::Smooth);
    let evaluation = Evaluation::new(&model, training);
    let program = evaluation.plan.program();
    let mut weights = Weights::default();
    weights.upload(program.weights());
    for (i, param) in program.weights().into_iter().enumerate() {
        let spread = random(param.weight.shape(), 200 + i as u64);
        let variance = param.weight.name() == "moving_variance";
        *weights.get_mut(&param.weight).unwrap() = spread.map(|x| if variance { 0.5 + x.abs() } else { 0.5 * x });
    }
    let input =
        |&input: &ValueId| (input, random(&[&[BATCH], program.shapes[input].as_slice()].concat(), input as u64));
    let inputs: HashMap<ValueId, Array> = program.inputs.iter().map(input).collect();
    let found = evaluation.gradients(&weights, &inputs);

    for (&input, start) in &inputs {
        let Some(gradient) = found.values.get(&input) else { continue };
        let direction = random(start.shape(), 300 + input as u64);
        compare(&format!("model {seed}, input {input}"), gradient, &direction, |step| {
            let mut inputs = inputs.clone();
            inputs.insert(input, moved(start, &direction, step));
            evaluation.score(&weights, &inputs)
        });
    }
    let trainable = program.weights().into_iter().filter(|param| param.trainable).count();
    assert_eq!(found.weights.len(), trainable, "model {seed}: a gradient with respect to each trainable weight");
    for (weight, gradient) in &found.weights {
        let start = weights.get(weight).unwrap();
        let direction = random(start.shape(), 400);
        compare(&format!("model {seed}, {}", weight.path()), gradient, &direction, |step| {
            let mut weights = weights.clone();
            *weights.get_mut(weight).unwrap() = moved(start, &direction, step);
            evaluation.score(&weights, &inputs)
        });
    }
}

#[test]
fn random_models_have_the_gradients_of_finite_differences() {
    for seed in 0..60 {
        check(seed, false);
        check(seed, true);
    }
}
