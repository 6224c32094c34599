//! Compares every layer, forward and backward, with golden values of Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_golden::{Case, relative_error};
use engraft_nn::layers::from_config;
use engraft_nn::prelude::*;
use engraft_nn::{Error, OptimizerState, Result};
use engraft_plan::{Executor, GradientRequest, Plan, PlanOptions};
use engraft_reference::ReferenceExecutor;

/// The largest error allowed, relative to the largest value. Keras' f32 results differ from its f64 results by up to 8e-7.
const TOLERANCE: f32 = 2e-6;

/// The folders of golden values with cases of single layers.
const FOLDERS: &[&str] = &["layers", "architecture_layers"];

#[test]
fn layers_agree_with_keras() {
    let mut failures = Vec::new();
    let cases: Vec<Case> = FOLDERS.iter().flat_map(|folder| engraft_golden::cases(folder)).collect();
    assert!(cases.len() > 100, "only {} cases were found", cases.len());
    for case in &cases {
        if let Err(e) = check(case) {
            failures.push(format!("{}: {e}", case.name()));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{failures:#?}", failures.len(), cases.len());
}

fn check(case: &Case) -> Result<()> {
    let arrays = case.arrays();
    let layer = case.get("layer");
    let config = layer["config"].as_object().unwrap().clone();
    let layer = from_config(layer["class_name"].as_str().unwrap(), config)?;
    let inputs: Vec<&Tensor> = case.names("inputs").into_iter().map(|name| arrays.get(name)).collect();
    let symbols: Vec<SymbolicTensor> = inputs.iter().map(|input| Input::new(&input.shape()[1..])).collect();
    let model = Model::new(&symbols, &layer.call(&symbols)?)?;
    let weights = case.names("weights");
    for (weight, name) in layer.weights().iter().zip(&weights) {
        weight.set(arrays.get(name).data().to_vec())?;
    }

    let training = case.get("training").as_bool().unwrap();
    let request = GradientRequest { training, inputs: true, weights: true, ..GradientRequest::default() };
    let plan = Plan::gradients(&model, &request, inputs[0].batch(), &PlanOptions::default())?;
    let mut session = ReferenceExecutor.prepare(plan)?;
    let found = session.gradients(&inputs, &[arrays.get(case.get("upstream").as_str().unwrap())], 0)?;
    session.synchronize(&OptimizerState::default())?;

    compare("y", found.outputs[0].data(), arrays.get("y").data())?;
    assert_eq!(found.outputs[0].shape(), arrays.get("y").shape());
    for (found, name) in found.inputs.iter().zip(case.names("input_gradients")) {
        compare(name, found.data(), arrays.get(name).data())?;
    }
    for (weight, name) in layer.weights().iter().zip(&weights) {
        if let Some(gradient) = case.get("weight_gradients")[name].as_str() {
            compare(gradient, &found.weights[&weight.id()], arrays.get(gradient).data())?;
        }
        let after = case.get("new_weights")[name].as_str().map_or(*name, |new| new);
        compare(after, &weight.values(), arrays.get(after).data())?;
    }
    Ok(())
}

fn compare(what: &str, found: &[f32], expected: &[f32]) -> Result<()> {
    let error = relative_error(found, expected);
    if error <= TOLERANCE { Ok(()) } else { Err(Error::new(what, format_args!("within {TOLERANCE}"), error)) }
}
