//! Opens files of Keras whose weights aren't float32, or whose inputs have an open size, and compares predictions with Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use engraft::formats::keras::{self, LoadOptions, SaveOptions, legacy};
use engraft::layers::from_config;
use engraft::prelude::*;
use engraft::recipe::Partition;
use engraft::{OpenShapes, Result, Trainability};
use engraft_golden::{Case, relative_error};
use serde_json::Value;

/// The largest error allowed, relative to the largest value.
const TOLERANCE: f32 = 1e-5;

fn load(path: &Path) -> Model {
    keras::load_with(path, &LoadOptions::new().image_size([8, 8])).unwrap().model
}

fn config(path: &Path) -> Value {
    match keras::read_extra(path, "config.json") {
        Ok(Some(config)) => serde_json::from_slice(&config).unwrap(),
        _ => serde_json::from_slice(&keras::read_extra(path, "model_config").unwrap().unwrap()).unwrap(),
    }
}

/// The option of each layer in a config.
fn options(config: &Value, option: &str) -> Vec<Value> {
    let layers = config.pointer("/config/layers").and_then(Value::as_array).unwrap();
    layers.iter().map(|layer| layer["config"][option].clone()).collect()
}

fn error(case: &Case, model: &Model) -> Result<f32> {
    let arrays = case.arrays();
    let [x, y] = ["x", "y"].map(|name| arrays.get(case.get(name).as_str().unwrap()));
    Ok(relative_error(model.predict(x, 2)?.data(), y.data()))
}

#[test]
fn predictions_are_those_of_keras_before_and_after_saving() {
    let cases = engraft_golden::cases("stored");
    assert!(cases.len() >= 10, "{}", cases.len());
    let folder = tempfile::tempdir().unwrap();
    for case in &cases {
        for file in case.names("files") {
            let model = load(&case.path(file));
            let [archive, hdf5] = ["m.keras", "m.h5"].map(|name| folder.path().join(name));
            keras::save(&model, &archive, &SaveOptions::default()).unwrap();
            legacy::save(&model, &hdf5, &SaveOptions::default()).unwrap();
            for (model, which) in [(&model, "as Keras wrote it"), (&load(&archive), ".keras"), (&load(&hdf5), ".h5")] {
                let error = error(case, model).unwrap();
                assert!(error < TOLERANCE, "{file}, {which}: {error}");
            }
        }
    }
}

#[test]
fn dtype_policies_and_lora_are_written_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.keras");
    for case in engraft_golden::cases("stored") {
        let source = case.path(case.names("files")[0]);
        keras::save(&load(&source), &path, &SaveOptions::default()).unwrap();
        let (before, after) = (config(&source), config(&path));
        for option in ["lora_rank", "lora_alpha", "batch_shape"] {
            assert_eq!(options(&before, option), options(&after, option), "{}", case.name());
        }
        let (mut before, after) = (options(&before, "dtype"), options(&after, "dtype"));
        // The id of a policy that several layers share says nothing about the policy.
        before.iter_mut().filter_map(Value::as_object_mut).for_each(|policy| {
            policy.remove("shared_object_id");
        });
        match case.name() {
            // The weights are floats in the new file.
            "int8" | "int8_attention" => {
                assert!(before != after && !format!("{after:?}").contains("int8"), "{after:?}")
            }
            name => assert_eq!(before, after, "{name}"),
        }
    }
}

#[test]
fn weights_alone_are_dequantized_too() {
    let cases = engraft_golden::cases("stored");
    for case in cases.iter().filter(|case| ["int8", "int8_attention", "bfloat16"].contains(&case.name())) {
        let path = case.path(case.names("files")[0]);
        let model = load(&path);
        let expected: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
        model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        keras::load_weights(&path, &model).unwrap();
        let values: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
        assert_eq!(values, expected, "{}", case.name());
    }
}

#[test]
fn a_size_is_chosen_recorded_or_told() {
    let cases = engraft_golden::cases("stored");
    let case = cases.iter().find(|case| case.name() == "open_size").unwrap();
    for file in case.names("files") {
        let path = case.path(file);
        let archive = keras::load(&path).unwrap();
        assert_eq!(archive.model.input_shape(), &[224, 224, 3]);
        assert!(archive.warnings[0].contains("input `photo` takes images of any size"), "{:?}", archive.warnings);
        let small = keras::load_with(&path, &LoadOptions::new().image_size([24, 36])).unwrap();
        assert!(small.warnings.is_empty(), "{:?}", small.warnings);
        let x = Tensor::zeros([1, 24, 36, 3]);
        assert_eq!(small.model.predict(&x, 1).unwrap().shape(), &[1, 3]);
        assert!(small.model.summary().to_string().contains("(None, None, None, 4)"), "{}", small.model.summary());

        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join(file);
        match file.ends_with(".h5") {
            true => legacy::save(&small.model, &saved, &SaveOptions::default()).unwrap(),
            false => keras::save(&small.model, &saved, &SaveOptions::default()).unwrap(),
        }
        let again = keras::load(&saved).unwrap();
        assert_eq!((again.model.input_shape(), again.warnings.len()), (&vec![24, 36, 3], 0));
        let text = config(&saved).to_string();
        assert!(text.contains("[null,null,null,3]") && !text.contains("24,36"), "{text}");
    }
}

#[test]
fn a_base_of_open_size_shows_its_open_shapes() {
    let cases = engraft_golden::cases("stored");
    let case = cases.iter().find(|case| case.name() == "open_base").unwrap();
    let archive = keras::load(&case.path("open_base.keras")).unwrap();
    assert!(archive.warnings.is_empty(), "the outer model has one size: {:?}", archive.warnings);
    let model = archive.model;
    let base = model.get_layer("base").unwrap();
    let shapes = OpenShapes::of(&model);
    assert_eq!(shapes.of_layer(&base), Some(vec![Some(3), Some(3), Some(4)]), "its first call");
    assert_eq!(shapes.of_layer(&base.layers()[0]), Some(vec![None, None, Some(4)]));
    assert_eq!(model.weights().len(), 4);
}

#[test]
fn a_base_of_open_size_is_cut_at_the_size_that_it_is_called_on() {
    let open = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
    let open = from_config("InputLayer", open.as_object().unwrap().clone()).unwrap();
    let x = Input::of(&open, vec![64, 64, 3]).unwrap();
    let low = Conv2D::new(2, 3).named("low");
    low.set_trainable(false);
    let base = Model::new(&x, &Conv2D::new(4, 3).call(&low.call(&x).unwrap()).unwrap()).unwrap();
    let x = Input::new([8, 8, 3]);
    let y = Dense::new(2).call(&Flatten::new().call(&base.call(&x).unwrap()).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    let parts = Partition::of(&model, &Trainability::of(&model)).unwrap().unwrap();
    assert_eq!((parts.lower.output_shape(), parts.upper.input_shape()), (&vec![6, 6, 2], &vec![6, 6, 2]));
    assert_eq!(parts.upper.output_shape(), &[2]);
}
