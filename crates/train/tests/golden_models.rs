//! Model files written by Keras give the same predictions here as in Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_golden::{Case, relative_error};
use engraft_nn::Model;
use engraft_train::Train;

/// Predictions differ because f32 sums have another order. The weights are the same, bit for bit.
const TOLERANCE: f32 = 1e-5;

/// For losses of several steps, over which the differences of sums add up.
const LOSS_TOLERANCE: f32 = 1e-4;

fn check(case: &Case, model: &Model, what: &str) {
    let arrays = case.arrays();
    let x = arrays.get(case.get("x").as_str().unwrap());
    // A model of several outputs is checked one output at a time.
    let names = case.get("y").as_str().map_or_else(|| case.names("y"), |name| vec![name]);
    assert_eq!(model.outputs().len(), names.len(), "{} {what}", case.name());
    for (output, name) in model.outputs().iter().zip(names) {
        let found = Model::new(model.inputs(), output).unwrap().predict(x, 32).unwrap();
        let error = relative_error(found.data(), arrays.get(name).data());
        assert!(error <= TOLERANCE, "{} {name} {what}: off by {error}", case.name());
    }
    assert_eq!(model.count_params() as u64, case.get("parameters").as_u64().unwrap(), "{}", case.name());
    let trainable: usize = model.trainable_weights().iter().map(|weight| weight.count()).sum();
    assert_eq!(trainable as u64, case.get("trainable_parameters").as_u64().unwrap(), "{} {what}", case.name());
}

/// The folders with model files of Keras 3.
const FOLDERS: &[&str] = &["models", "attention_models"];

#[test]
fn files_of_keras_predict_the_same_before_and_after_saving() {
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<Case> = FOLDERS.iter().flat_map(|folder| engraft_golden::cases(folder)).collect();
    let mut checked = 0;
    for case in &cases {
        let model = keras::load_model(&case.path(case.get("file").as_str().unwrap())).unwrap();
        if let Some(weights) = case.get("weights_file").as_str() {
            model.weights().iter().for_each(|weight| weight.set(vec![0.0; weight.count()]).unwrap());
            keras::load_weights(&case.path(weights), &model).unwrap();
        }
        check(case, &model, "as loaded");
        let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
        let paths = ["again.keras", "again.h5"].map(|name| folder.path().join(name));
        keras::save(&model, &paths[0], &options).unwrap();
        legacy::save(&model, &paths[1], &options).unwrap();
        for path in &paths {
            check(case, &keras::load_model(path).unwrap(), &format!("saved and loaded again as {}", path.display()));
        }
        checked += 1;
    }
    assert!(checked >= 46, "only {checked} files");
}

#[test]
fn files_of_keras_2_predict_the_same_and_their_training_goes_on() {
    let cases = engraft_golden::cases("keras2");
    let mut continued = 0;
    for case in &cases {
        let file = |key: &str| case.path(case.get(key).as_str().unwrap());
        let archive = keras::load(&file("file")).unwrap();
        assert_eq!((archive.warnings, archive.keras_version.as_deref()), (vec![], Some("2.21.0")), "{}", case.name());
        let model = archive.model;
        check(case, &model, "as loaded");
        let iterations = model.compiled().as_ref().map(|compiled| compiled.state.iterations());
        assert_eq!(iterations, Some(2), "{}", case.name());
        if case.get("losses").is_string() {
            continues_training(case, &model);
            continued += 1;
        }

        let clear = || model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        clear();
        legacy::load_weights(&file("weights_file"), &model.layers()).unwrap();
        check(case, &model, "with weights by order");
        clear();
        legacy::load_weights_by_name(&file("weights_file"), &model.layers()).unwrap();
        check(case, &model, "with weights by name");
    }
    assert_eq!((cases.len(), continued), (5, 4));
}

/// Continues training from Keras' checkpoint: the losses are those of Keras. From the second step on they depend on the optimizer
/// state in the file.
fn continues_training(case: &Case, model: &Model) {
    let arrays = case.arrays();
    for expected in arrays.get("losses").data() {
        let found = model.train_on_batch(arrays.get("x"), arrays.get("labels")).unwrap().loss as f32;
        assert!((found - expected).abs() <= LOSS_TOLERANCE, "{}: a loss of {found}, not {expected}", case.name());
    }
}

#[test]
fn a_model_of_two_outputs_says_so_when_asked_for_one() {
    let cases = engraft_golden::cases("models");
    let case = cases.iter().find(|case| case.name() == "two_outputs").unwrap();
    let model = keras::load_model(&case.path("two_outputs.keras")).unwrap();
    let error = model.predict(case.arrays().get("x"), 3).unwrap_err().to_string();
    assert!(error.starts_with("predict: expected a model with one output, received 2"), "{error}");
}
