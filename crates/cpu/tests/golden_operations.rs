//! Every operation on tensors, forward and backward, against Keras

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft_cpu::CpuExecutor;
use engraft_golden::{Case, relative_error};
use engraft_nn::layers::operation_from_call;
use engraft_nn::prelude::*;
use engraft_nn::{Error, Result};
use engraft_plan::{Executor, Plan};
use engraft_reference::ReferenceExecutor;
use serde_json::{Map, Value};
use support::{options, request};

/// The largest error allowed, relative to the largest value. Keras' f32 results of these cases have errors of up to 3e-6.
const TOLERANCE: f32 = 1e-5;

#[test]
fn operations_agree_with_keras() {
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let mut failures = Vec::new();
    let cases = engraft_golden::cases("operations");
    assert!(cases.len() > 250, "only {} cases were found", cases.len());
    for case in &cases {
        if let Err(error) = check(case, &executor) {
            failures.push(format!("{}: {error}", case.name()));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{failures:#?}", failures.len(), cases.len());
}

/// The model of one operation.
fn model(case: &Case) -> Result<Model> {
    let arrays = case.arrays();
    let operation = case.get("operation");
    let object = |key: &str| operation[key].as_object().cloned().unwrap_or_else(Map::new);
    let arguments = operation["args"].as_array().unwrap().clone();
    let class_name = operation["class_name"].as_str().unwrap();
    let layer = operation_from_call(class_name, object("config"), arguments, object("kwargs"))?;
    assert_eq!(operation["module"], Value::from(layer.def().module()));
    let inputs = case.names("inputs");
    let symbols: Vec<SymbolicTensor> = inputs.iter().map(|name| Input::new(&arrays.get(name).shape()[1..])).collect();
    Model::new(&symbols[..], &layer.call(&symbols[..])?)
}

fn check(case: &Case, executor: &CpuExecutor) -> Result<()> {
    let arrays = case.arrays();
    let model = model(case)?;
    let inputs: Vec<&Tensor> = case.names("inputs").into_iter().map(|name| arrays.get(name)).collect();
    let upstream = arrays.get(case.get("upstream").as_str().unwrap());
    let batch = inputs[0].batch();
    let reference = ReferenceExecutor;
    let mut sessions = [
        executor.prepare(Plan::gradients(&model, &request(false), batch, &options())?)?,
        reference.prepare(Plan::gradients(&model, &request(false), batch, &reference.plan_options())?)?,
    ];
    for session in &mut sessions {
        let found = session.gradients(&inputs, &[upstream], 0)?;
        assert_eq!(found.outputs[0].shape(), arrays.get("y").shape(), "{}", case.name());
        compare("y", found.outputs[0].data(), arrays.get("y").data())?;
        for (found, name) in found.inputs.iter().zip(case.names("input_gradients")) {
            compare(name, found.data(), arrays.get(name).data())?;
        }
    }
    let mut session = executor.prepare(Plan::predict(&model, batch, &options())?)?;
    compare("prediction", session.predict(&inputs)?[0].data(), arrays.get("y").data())
}

fn compare(what: &str, found: &[f32], expected: &[f32]) -> Result<()> {
    let error = relative_error(found, expected);
    if error <= TOLERANCE { Ok(()) } else { Err(Error::new(what, format_args!("within {TOLERANCE}"), error)) }
}
