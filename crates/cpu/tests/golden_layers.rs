//! Every layer, forward and backward, against Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft_cpu::CpuExecutor;
use engraft_golden::{Case, relative_error};
use engraft_nn::layers::from_config;
use engraft_nn::prelude::*;
use engraft_nn::{Error, Result};
use engraft_plan::{Executor, Plan};
use support::{options, request};

/// The largest error allowed, relative to the largest value. Both sides sum up to 162 products in f32, in different orders.
/// Keras' f32 results differ from its f64 results by up to 8e-7.
const TOLERANCE: f32 = 1e-5;

/// The folders of golden values with cases of this format, one name a line.
const FOLDERS: &[&str] = &["layers", "architecture_layers", "attention", "augmentation", "images", "merging"];

#[test]
fn layers_agree_with_keras() {
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let mut failures = Vec::new();
    let mut cases = 0;
    for folder in FOLDERS {
        for case in engraft_golden::cases(folder) {
            cases += 1;
            if let Err(e) = check(&case, &executor) {
                failures.push(format!("{folder}/{}: {e}", case.name()));
            }
        }
    }
    assert!(cases > 150, "only {cases} cases were found");
    assert!(failures.is_empty(), "{} of {cases} cases:\n{failures:#?}", failures.len());
}

fn check(case: &Case, executor: &CpuExecutor) -> Result<()> {
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
    let batch = inputs[0].batch();
    let mut session = executor.prepare(Plan::gradients(&model, &request(training), batch, &options())?)?;
    let found = session.gradients(&inputs, &[arrays.get(case.get("upstream").as_str().unwrap())], 0)?;

    compare("y", found.outputs[0].data(), arrays.get("y").data())?;
    assert_eq!(found.outputs[0].shape(), arrays.get("y").shape());
    for (found, name) in found.inputs.iter().zip(case.names("input_gradients")) {
        compare(name, found.data(), arrays.get(name).data())?;
    }
    let gradients = || weights.iter().filter_map(|name| case.get("weight_gradients")[name].as_str());
    let largest = gradients().map(|name| magnitude(arrays.get(name).data())).fold(0.0, f32::max);
    for (weight, name) in layer.weights().iter().zip(&weights) {
        if let Some(gradient) = case.get("weight_gradients")[name].as_str() {
            let (found, expected) = (&found.weights[&weight.id()], arrays.get(gradient).data());
            // A softmax doesn't change where all scores grow alike, so the gradient of a key's bias is 0 but for rounding.
            match magnitude(expected) <= TOLERANCE * largest {
                true => compare(gradient, &[largest + magnitude(found)], &[largest])?,
                false => compare(gradient, found, expected)?,
            }
        }
        let after = case.get("new_weights")[name].as_str().map_or(*name, |new| new);
        compare(after, &weight.values(), arrays.get(after).data())?;
    }
    if !training {
        let mut session = executor.prepare(Plan::predict(&model, batch, &options())?)?;
        compare("prediction", session.predict(&inputs)?[0].data(), arrays.get("y").data())?;
    }
    Ok(())
}

fn magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn compare(what: &str, found: &[f32], expected: &[f32]) -> Result<()> {
    let error = relative_error(found, expected);
    if error <= TOLERANCE { Ok(()) } else { Err(Error::new(what, format_args!("within {TOLERANCE}"), error)) }
}
