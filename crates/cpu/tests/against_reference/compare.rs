//! Runs the same plans on the CPU executor and the reference executor, and compares all results.

use engraft_cpu::CpuExecutor;
use engraft_nn::prelude::*;
use engraft_nn::{OptimizerState, Program};
use engraft_plan::{Executor, GradientRequest, LabelledBatch, Plan, PlanOptions, RowStreaming};
use engraft_reference::ReferenceExecutor;

use crate::support::{batches, one_hot, options, restore, weights};

pub(crate) const BATCH: usize = 3;

/// f32 rounds by 6e-8, and sums of some hundred terms have a few times that error. Batch normalization over three samples divides
/// by small deviations and amplifies it. The largest distance observed is 1.4e-5 of the largest value.
pub(crate) const TOLERANCE: f32 = 5e-5;

/// The errors of three training steps add up. The largest distance observed is 4.7e-5.
pub(crate) const TRAINING_TOLERANCE: f32 = 2e-4;

/// Arrays with descriptive names, for messages.
pub(crate) type Named = Vec<(String, Vec<f32>)>;

/// The CPU's own plan options, and options that change how a plan runs but not its results.
pub(crate) fn variants() -> [(&'static str, PlanOptions); 4] {
    let small_caches = PlanOptions {
        chunk_bytes: 1,
        unchunked_bytes: 0,
        row_streaming: options().row_streaming.map(|streaming| RowStreaming {
            rows_bytes: 1,
            cached_bytes: 0,
            ..streaming
        }),
        ..options()
    };
    [
        ("its own options", options()),
        ("low memory", options().low_memory(true)),
        ("no folding", options().fold_updates(false)),
        ("small caches", small_caches),
    ]
}

/// Compares arrays, with a tolerance relative to the largest value of each, or to 1 if that is larger. Inputs, weights and
/// upstream gradients are of order 1.
pub(crate) fn check(found: &Named, expected: &Named, tolerance: f32, place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}");
    for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
        assert!(name == expected_name && found.len() == expected.len(), "{place}: {name} for {expected_name}");
        let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            // NaN must fail the comparison, as it does with `<=`.
            let close = (found - expected).abs() <= tolerance * largest;
            assert!(close, "{place}: {name}[{index}] is {found} and not {expected}, of up to {largest}");
        }
    }
}

pub(crate) fn named_weights(model: &Model) -> impl Iterator<Item = (String, Vec<f32>)> {
    model.weights().into_iter().map(|weight| (weight.path(), weight.values().clone()))
}

/// Outputs, all requested gradients, and the weights with updated moving statistics. Restores the weights.
pub(crate) fn gradients(
    executor: &dyn Executor,
    model: &Model,
    request: &GradientRequest,
    options: &PlanOptions,
) -> Named {
    let before = weights(model);
    let plan = Plan::gradients(model, request, BATCH, options).unwrap();
    let [inputs, upstream] = [(model.inputs(), 10), (model.outputs(), 20)].map(|(of, seed)| batches(of, BATCH, seed));
    let [inputs, upstream] = [&inputs, &upstream].map(|tensors| tensors.iter().collect::<Vec<_>>());
    let mut session = executor.prepare(plan).unwrap();
    let found = session.gradients(&inputs, &upstream, 0).unwrap();
    session.synchronize(&OptimizerState::default()).unwrap();
    let name = |kind: &str, tensors: Vec<Tensor>| -> Named {
        let named = tensors.into_iter().enumerate();
        named.map(|(index, tensor)| (format!("{kind} {index}"), tensor.into_data())).collect()
    };
    let [values, layers] = [false, true].map(|gradient| {
        let part = |layer: &engraft_plan::LayerGradient| if gradient { &layer.gradient } else { &layer.value }.clone();
        found.layers.iter().map(part).collect()
    });
    let mut all = name("output", found.outputs);
    all.extend(name("gradient with respect to input", found.inputs));
    all.extend(name("layer", values));
    all.extend(name("gradient with respect to layer", layers));
    let of_weights = model
        .weights()
        .into_iter()
        .filter_map(|weight| Some((weight.path(), found.weights.get(&weight.id())?.clone())));
    all.extend(of_weights.map(|(path, gradient)| (format!("gradient with respect to {path}"), gradient)));
    all.extend(named_weights(model));
    restore(model, &before);
    all
}

/// Losses and outputs of three training steps, and the weights after them. Restores the weights.
pub(crate) fn training(executor: &dyn Executor, model: &Model, optimizer: &Optimizer, options: &PlanOptions) -> Named {
    let before = weights(model);
    let plan = Plan::train(model, optimizer.clone(), Loss::categorical_crossentropy(), BATCH, 5, options).unwrap();
    let inputs = batches(model.inputs(), BATCH, 10);
    let (inputs, targets) = (inputs.iter().collect::<Vec<_>>(), one_hot(BATCH, model.output_shape()[0]));
    let labelled = LabelledBatch::new(&inputs, &targets);
    let (mut session, state) = (executor.prepare(plan).unwrap(), OptimizerState::default());
    let mut all = Named::new();
    for step in 0..3 {
        let output = session.train_step(&labelled, 0.05, &state).unwrap();
        all.push((format!("loss {step}"), vec![output.loss as f32]));
        all.push((format!("output {step}"), output.output.into_data()));
    }
    session.synchronize(&state).unwrap();
    all.extend(named_weights(model));
    restore(model, &before);
    all
}

pub(crate) fn compare_gradients(model: &Model, request: &GradientRequest, place: &str) {
    let expected = gradients(&ReferenceExecutor, model, request, &PlanOptions::default());
    let cpu = CpuExecutor::new(Some(2)).unwrap();
    for (name, options) in variants() {
        check(&gradients(&cpu, model, request, &options), &expected, TOLERANCE, &format!("{place}, {name}"));
    }
}

pub(crate) fn compare_training(model: &Model, optimizer: &Optimizer, place: &str) {
    let expected = training(&ReferenceExecutor, model, optimizer, &PlanOptions::default());
    let cpu = CpuExecutor::new(Some(2)).unwrap();
    for (name, options) in variants() {
        check(&training(&cpu, model, optimizer, &options), &expected, TRAINING_TOLERANCE, &format!("{place}, {name}"));
    }
}

pub(crate) fn sgd() -> Optimizer {
    Sgd::new(0.05).momentum(0.9).into()
}

/// Epsilon of the adaptive optimizers. With a small epsilon, a gradient that is pure rounding error would change a weight by the
/// full learning rate.
pub(crate) const EPSILON: f64 = 1e-2;

pub(crate) fn optimizers() -> [Optimizer; 3] {
    let rms_prop = RmsProp { epsilon: EPSILON, ..RmsProp::new(0.05).momentum(0.5).centered(true) };
    [sgd(), Adam::new(0.05).epsilon(EPSILON).into(), rms_prop.into()]
}

/// The names of up to two layers of the model or its nested models, which `seed` chooses.
pub(crate) fn inner_layers(model: &Model, seed: usize) -> Vec<String> {
    let program = Program::of(model, false, 0).unwrap();
    let names: Vec<String> = program.steps.iter().map(|step| step.layer.clone()).collect();
    let known = names.iter().filter(|name| program.layer_output(name).is_ok()).collect::<Vec<_>>();
    let picked = [seed, seed / 2 + 1].map(|place| known.get(place % known.len().max(1)));
    picked.into_iter().flatten().map(|name| (*name).clone()).collect()
}
