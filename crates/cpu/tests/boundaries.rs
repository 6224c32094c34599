//! Programs that start at a layer, and gradients with respect to inner layers.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft_cpu::CpuExecutor;
use engraft_nn::prelude::*;
use engraft_nn::{OptimizerState, Program};
use engraft_plan::{Executor, GradientRequest, LabelledBatch, Plan, PlanOptions, Purpose, Session};
use support::{normal, one_hot, options, randomize, restore, weights};

const BATCH: usize = 4;

fn session(plan: Plan) -> Box<dyn Session> {
    CpuExecutor::new(Some(2)).unwrap().prepare(plan).unwrap()
}

/// A frozen base with a trainable head.
fn model() -> Model {
    let x = Input::new([12, 12, 3]);
    let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv").call(&x).unwrap();
    let y = BatchNormalization::new().named("norm").call(&y).unwrap();
    let y = MaxPooling2D::new(2).named("pool").call(&y).unwrap();
    let y = Flatten::new().named("flat").call(&y).unwrap();
    let y = Dense::new(16).activation(Tanh).named("hidden").call(&y).unwrap();
    let y = Dropout::new(0.25).named("dropout").call(&y).unwrap();
    let y = Dense::new(2).activation(Softmax).named("top").call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    ["conv", "norm"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
    randomize(&model, 1);
    model
}

fn photos() -> Tensor {
    normal(&[BATCH, 12, 12, 3], 1)
}

/// The output of a layer for the input [`photos`].
fn features(model: &Model, layer: &str) -> Tensor {
    let plan = Plan::features(model, layer, BATCH, &options()).unwrap();
    session(plan).predict(&[&photos()]).unwrap().remove(0)
}

fn from_boundary(model: &Model, layer: &str, training: bool, purpose: Purpose, options: &PlanOptions) -> Plan {
    let program = Program::of(model, training, 7).unwrap().starting_at(layer).unwrap();
    Plan::new(program, purpose, BATCH, options).unwrap()
}

const BOUNDARIES: [&str; 4] = ["conv", "norm", "pool", "flat"];

#[test]
fn a_fed_layer_gives_the_outputs_of_the_whole_model() {
    let model = model();
    let expected = session(Plan::predict(&model, BATCH, &options()).unwrap()).predict(&[&photos()]).unwrap();
    for layer in BOUNDARIES.into_iter().chain(["hidden", "dropout", "top"]) {
        let plan = from_boundary(&model, layer, false, Purpose::Predict, &options());
        assert_eq!(session(plan).predict(&[&features(&model, layer)]).unwrap(), expected, "from {layer} on");
    }
}

#[test]
fn a_fed_layer_gives_the_gradients_of_the_whole_model() {
    let model = model();
    let upstream = normal(&[BATCH, 2], 2);
    for layer in BOUNDARIES {
        let request = GradientRequest { weights: true, layers: vec![layer.into()], ..GradientRequest::default() };
        let plan = Plan::gradients(&model, &request, BATCH, &options()).unwrap();
        let full = session(plan).gradients(&[&photos()], &[&upstream], 0).unwrap();
        let purpose = Purpose::Gradients { inputs: true, values: Vec::new() };
        let x = features(&model, layer);
        let mut part = session(from_boundary(&model, layer, false, purpose, &options()));
        let part = part.gradients(&[&x], &[&upstream], 0).unwrap();
        assert_eq!((&part.outputs, &part.weights), (&full.outputs, &full.weights), "from {layer} on");
        assert_eq!((&x, &part.inputs[0]), (&full.layers[0].value, &full.layers[0].gradient), "of {layer}");
        assert!(part.inputs[0].data().iter().any(|&g| g != 0.0));
    }
}

/// Losses and weights of three training steps. Restores the weights.
fn trained(model: &Model, plan: Plan, x: &Tensor) -> (Vec<f64>, Vec<Vec<f32>>) {
    let before = weights(model);
    let (inputs, targets, state) = ([x], one_hot(BATCH, 2), OptimizerState::default());
    let mut session = session(plan);
    let step = |_| session.train_step(&LabelledBatch::new(&inputs, &targets), 0.1, &state).unwrap().loss;
    let losses = (0..3).map(step).collect();
    let after = weights(model);
    restore(model, &before);
    (losses, after)
}

#[test]
fn training_above_a_fed_layer_gives_the_weights_of_the_whole_model() {
    let model = model();
    let optimizer = Optimizer::from(Sgd::new(0.1).momentum(0.9));
    let loss = Loss::categorical_crossentropy;
    for options in [options(), options().low_memory(true), options().fold_updates(false)] {
        let full = Plan::train(&model, optimizer.clone(), loss(), BATCH, 7, &options).unwrap();
        let expected = trained(&model, full, &photos());
        assert!(expected.1 != weights(&model));
        for layer in BOUNDARIES {
            let purpose = Purpose::Train { optimizer: optimizer.clone(), loss: loss() };
            let plan = from_boundary(&model, layer, true, purpose, &options);
            // A Dense that reads the program's input has a folded update: `apply` reads the input again after `forward_backward`.
            let kept = plan.keeps_input(plan.program().inputs[0]);
            assert_eq!(kept, layer == "flat" && options.fold_updates);
            assert!(trained(&model, plan, &features(&model, layer)) == expected, "from {layer} on");
        }
    }
}

/// `sum(output * upstream)` in f64.
fn score(session: &mut dyn Session, x: &Tensor, upstream: &Tensor) -> f64 {
    let y = session.predict(&[x]).unwrap().remove(0);
    y.data().iter().zip(upstream.data()).map(|(y, u)| f64::from(*y) * f64::from(*u)).sum()
}

#[test]
fn a_gradient_with_respect_to_a_layer_is_the_slope_of_the_score() {
    // The step of the central differences. The outputs are smooth functions, of order 1, of the values above the pooling. So the
    // truncation error is about STEP² = 1e-4, and the f32 rounding error about 1e-7 / STEP = 1e-5.
    const STEP: f32 = 1e-2;
    const TOLERANCE: f64 = 1e-3;
    let model = model();
    let upstream = normal(&[BATCH, 2], 2);
    let layers = ["pool", "flat", "hidden"];
    let request = GradientRequest { layers: layers.map(String::from).into(), ..GradientRequest::default() };
    for options in [options(), options().low_memory(true)] {
        let plan = Plan::gradients(&model, &request, BATCH, &options).unwrap();
        let found = session(plan).gradients(&[&photos()], &[&upstream], 0).unwrap();
        for (layer, found) in layers.into_iter().zip(&found.layers) {
            let mut above = session(from_boundary(&model, layer, false, Purpose::Predict, &options));
            let direction = normal(found.value.shape(), 3);
            let [up, down] = [STEP, -STEP].map(|step| {
                let moved = found.value.data().iter().zip(direction.data()).map(|(x, d)| x + step * d).collect();
                score(&mut *above, &Tensor::new(found.value.shape(), moved).unwrap(), &upstream)
            });
            let slope = (up - down) / f64::from(2.0 * STEP);
            let pairs = found.gradient.data().iter().zip(direction.data());
            let along: f64 = pairs.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            assert!((along - slope).abs() < TOLERANCE * slope.abs().max(1.0), "{layer}: {along} for {slope}");
            assert!(slope.abs() > 10.0 * TOLERANCE, "the slope of {layer}, {slope}, could be confused with none");
        }
    }
}

/// The input and the output of Flatten share a buffer, but each has consumers of its own.
#[test]
fn a_flattened_value_that_is_read_elsewhere_has_the_gradient_of_both_readers() {
    let x = Input::new([4, 4, 2]);
    let y = Activation::new(Tanh).named("active").call(&x).unwrap();
    let flat = Flatten::new().named("flat").call(&y).unwrap();
    let pooled = GlobalAveragePooling2D::new().call(&y).unwrap();
    let model = Model::new(&x, [&flat, &pooled]).unwrap();
    let layers = vec!["active".into(), "flat".into()];
    let request = GradientRequest { layers, ..GradientRequest::default() };
    let x = normal(&[1, 4, 4, 2], 1);
    let upstream = [Tensor::new([1, 32], vec![1.0; 32]).unwrap(), Tensor::new([1, 2], vec![16.0; 2]).unwrap()];
    for executor in [&CpuExecutor::new(Some(1)).unwrap() as &dyn Executor, &engraft_reference::ReferenceExecutor] {
        let plan = Plan::gradients(&model, &request, 1, &executor.plan_options()).unwrap();
        let mut session = executor.prepare(plan).unwrap();
        let found = session.gradients(&[&x], &[&upstream[0], &upstream[1]], 0).unwrap();
        let [active, flat] = &found.layers[..] else { panic!("two layers, not {}", found.layers.len()) };
        assert_eq!((active.value.data(), flat.value.shape()), (flat.value.data(), &[1, 32][..]));
        assert_eq!(active.gradient.data(), [2.0; 32], "1 from each reader, {}", executor.name());
        assert_eq!(flat.gradient.data(), [1.0; 32], "its own reader's only, {}", executor.name());
    }
}

#[test]
fn every_call_of_a_shared_layer_has_a_gradient_of_its_own() {
    let shared = Dense::new(1).use_bias(false).named("shared");
    let x = Input::new([1]);
    let model = Model::new(&x, &shared.call(&shared.call(&x).unwrap()).unwrap()).unwrap();
    model.weights()[0].set(vec![3.0]).unwrap();
    let program = Program::of(&model, false, 0).unwrap();
    let values = program.layer_outputs("shared").unwrap();
    let purpose = Purpose::Gradients { inputs: false, values };
    let one = Tensor::new([1, 1], vec![1.0]).unwrap();
    for executor in [&CpuExecutor::new(Some(1)).unwrap() as &dyn Executor, &engraft_reference::ReferenceExecutor] {
        let plan = Plan::new(program.clone(), purpose.clone(), 1, &executor.plan_options()).unwrap();
        let found = executor.prepare(plan).unwrap().gradients(&[&one], &[&one], 0).unwrap();
        let calls: Vec<_> = found.layers.iter().map(|call| (call.value.data()[0], call.gradient.data()[0])).collect();
        assert_eq!(calls, [(3.0, 3.0), (9.0, 1.0)], "value and slope of each call, {}", executor.name());
    }
}
