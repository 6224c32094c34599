//! Exported ONNX files predict the same as their models, in onnxruntime and in engraft's interpreter, and pass `onnx.checker`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod comparison;

use comparison::OnnxComparison;
use engraft::formats::onnx::OnnxOptions;
use engraft::formats::{FloatType, keras};
use engraft::ir::Op;
use engraft::layers::from_config;
use engraft::plan::Plan;
use engraft::prelude::*;
use engraft::{Interpolation, Program};

use engraft_golden::Case;

/// For another order of f32 sums.
const TOLERANCE: f32 = 1e-5;

#[test]
fn every_layer_of_the_golden_values() {
    let mut comparison = OnnxComparison::new();
    let cases = ["layers", "architecture_layers"].map(engraft_golden::cases);
    for case in cases.iter().flatten().filter(|case| !case.get("training").as_bool().unwrap()) {
        let model = layer_model(case);
        // ONNX has no operator for these operations.
        let program = Program::of(&model, false, 0).unwrap();
        if program.steps.iter().any(|step| matches!(step.op, Op::Sparsemax | Op::AdaptivePool2d { .. })) {
            continue;
        }
        let arrays = case.arrays();
        let inputs: Vec<&Tensor> = case.names("inputs").into_iter().map(|name| arrays.get(name)).collect();
        comparison.case(case.name(), &model, &OnnxOptions::default(), TOLERANCE).run(&inputs, &[arrays.get("y")]);
    }
    assert!(comparison.len() > 200, "only {} layers", comparison.len());
    comparison.check();
}

/// A model of a golden case's layer, with the case's weights.
fn layer_model(case: &Case) -> Model {
    let layer = case.get("layer");
    let layer = from_config(layer["class_name"].as_str().unwrap(), layer["config"].as_object().unwrap().clone());
    let arrays = case.arrays();
    let symbols: Vec<SymbolicTensor> =
        case.names("inputs").into_iter().map(|name| Input::new(&arrays.get(name).shape()[1..])).collect();
    let output = layer.unwrap().call(&symbols).unwrap();
    for (weight, name) in output.layer().weights().iter().zip(case.names("weights")) {
        weight.set(arrays.get(name).data().to_vec()).unwrap();
    }
    Model::new(&symbols, &output).unwrap()
}

#[test]
fn every_model_of_the_golden_values() {
    let mut comparison = OnnxComparison::new();
    for case in engraft_golden::cases("models") {
        let file = case.get("file").as_str().unwrap();
        if !file.ends_with(".keras") || !case.get("weights_file").is_null() {
            continue;
        }
        let model = keras::load_model(&case.path(file)).unwrap();
        let arrays = case.arrays();
        let outputs = case.get("y").as_str().map_or_else(|| case.names("y"), |name| vec![name]);
        let (x, y): (_, Vec<&Tensor>) = (arrays.get("x"), outputs.into_iter().map(|name| arrays.get(name)).collect());
        comparison.case(case.name(), &model, &OnnxOptions::default(), TOLERANCE).run(&[x], &y);
        // f16 has 11 significant bits: the relative rounding error of a weight is at most 2^-11, about 5e-4.
        let options = OnnxOptions { float_type: FloatType::F16, ..OnnxOptions::default() };
        comparison.case(&format!("{}_f16", case.name()), &model, &options, 2e-3).run(&[x], &y);
    }
    assert!(comparison.len() >= 20, "only {} models", comparison.len());
    comparison.check();
}

/// Shared and nested layers, branches and several outputs, at odd sizes. An exporter could give two nodes the same name, or
/// transpose a value twice.
#[test]
fn nested_shared_and_several() {
    let mut comparison = OnnxComparison::new();
    let x = Input::named("x", [7, 5, 3]);
    let shared = Conv2D::new(3, 2).padding(Padding::Same).strides(1).activation(ActivationFn::Silu).named("shared");
    let inner = Input::new([7, 5, 3]);
    let nested = Model::named("nested", &inner, &shared.call(&inner).unwrap()).unwrap();
    let once = nested.call(&x).unwrap();
    let twice = nested.call(&shared.call(&once).unwrap()).unwrap();
    let y = Add::new().call([&x, &once, &twice]).unwrap();
    let pooled = AveragePooling2D::new([3, 2]).strides(2).padding(Padding::Same).call(&y).unwrap();
    let resized = Resizing::new(5, 9).call(&pooled).unwrap();
    let features = GlobalMaxPooling2D::new().call(&resized).unwrap();
    let top = Dense::new(2).activation(Sigmoid).named("top").call(&features).unwrap();
    let model = Model::new(&x, [&top, &pooled, &x, &top, &resized]).unwrap();
    let mut case = comparison.case("several", &model, &OnnxOptions::default(), TOLERANCE);
    for batch in [1, 5] {
        let pixels = (0..batch * 7 * 5 * 3).map(|i| (i * 37 % 256) as f32 / 64.0).collect();
        let x = Tensor::new([batch, 7, 5, 3], pixels).unwrap();
        let mut session = Runtime::shared()
            .unwrap()
            .session(batch, |batch, options| Plan::predict(&model, batch, options))
            .unwrap()
            .0;
        let expected = session.predict(&[&x]).unwrap();
        case.run(&[&x], &expected.iter().collect::<Vec<_>>());
    }
    comparison.check();
}

/// Enlarging and shrinking between odd and even sizes, which would reveal an error of one pixel.
#[test]
fn resizing_to_many_sizes() {
    let mut comparison = OnnxComparison::new();
    for interpolation in [Interpolation::Bilinear, Interpolation::Nearest] {
        for (from, to) in [(6, 9), (9, 6), (7, 3), (3, 7), (10, 4), (5, 64), (64, 5), (13, 29), (150, 64)] {
            let x = Input::new([from, to, 2]);
            let y = Resizing::new(to, from).interpolation(interpolation).call(&x).unwrap();
            let model = Model::new(&x, &y).unwrap();
            let pixels = (0..from * to * 2).map(|i| (i * 37 % 256) as f32).collect();
            let x = Tensor::new([1, from, to, 2], pixels).unwrap();
            let y = model.predict(&x, 1).unwrap();
            let name = format!("{interpolation:?}_{from}_{to}");
            comparison.case(&name, &model, &OnnxOptions::default(), TOLERANCE).run(&[&x], &[&y]);
        }
    }
    comparison.check();
}
