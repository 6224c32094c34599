//! This version loads the files of engraft 0.1, predicts the same, resumes their training, and saves them again.
//!
//! `tests/compatibility/files/0.1/README.md` describes the files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod stored_files;

use std::path::Path;

use engraft::Error;
use engraft::formats::inspect::inspect;
use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::safetensors::{self, Naming};
use engraft::interpreter::OnnxModel;
use engraft::prelude::*;
use engraft::recipe::{Backbone, Metadata};
use serde_json::{Value, json};
use stored_files::{StoredFiles, TOLERANCE, load};

fn metadata() -> Metadata {
    let classes = ["daisy", "rose", "tulip"].map(str::to_owned).to_vec();
    Metadata { backbone: Some(Backbone::VGG16), seed: Some(7), ..Metadata::new(classes) }
}

/// The compile settings and the optimizer's iterations, in the form of the index.
fn compiled(model: &Model) -> Value {
    let compiled = model.compiled();
    let Some(compiled) = compiled.as_ref() else { return Value::Null };
    let optimizer = compiled.optimizer_or_error().unwrap();
    json!({
        "optimizer": optimizer.to_keras()["class_name"],
        "learning_rate": optimizer.learning_rate(),
        "weight_decay": optimizer.weight_decay(),
        "slots": optimizer.slots(),
        "iterations": compiled.state.iterations(),
        "loss": compiled.loss_or_error().unwrap().name(),
        "metrics": compiled.metrics.iter().map(|metric| metric.name()).collect::<Vec<_>>(),
        "trainable": model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>(),
    })
}

#[test]
fn whole_models_keep_predictions_metadata_and_compile_settings() {
    let files = StoredFiles::unpack("0.1");
    for (file, row) in files.of_kind("model", 9) {
        let model = load(&files.path(file));
        files.assert_expected(file, &files.predict(&model), TOLERANCE);
        assert_eq!(compiled(&model), row["compiled"], "{file}");
        let expected = (row["metadata"] == true).then(metadata);
        assert_eq!(Metadata::read(&files.path(file)).unwrap(), expected, "{file}");
    }
}

#[test]
fn training_continues_from_the_optimizer_state() {
    let files = StoredFiles::unpack("0.1");
    let trained: Vec<_> = files.of_kind("model", 9).into_iter().filter(|(_, row)| !row["compiled"].is_null()).collect();
    assert_eq!(trained.len(), 6, "files with an optimizer");
    for (file, row) in trained {
        let model = load(&files.path(file));
        files.assert_next_step(file, row, &model);
        assert_eq!(compiled(&model)["iterations"], 4, "{file}");
    }
}

#[test]
fn whole_models_are_written_again_without_loss() {
    let files = StoredFiles::unpack("0.1");
    for (file, _) in files.of_kind("model", 9) {
        let first = load(&files.path(file));
        let predictions = files.predict(&first);
        let extras = [metadata().entry()];
        let options = SaveOptions { optimizer_state: true, extras: &extras, ..SaveOptions::default() };
        let [archive, hdf5] = ["again.keras", "again.h5"].map(|name| files.path(name));
        keras::save(&first, &archive, &options).unwrap();
        legacy::save(&first, &hdf5, &options).unwrap();
        let again = [archive, hdf5].map(|path| {
            let model = load(&path);
            assert_eq!(files.predict(&model), predictions, "{file} in {}", path.display());
            assert_eq!(compiled(&model), compiled(&first), "{file} in {}", path.display());
            assert_eq!(Metadata::read(&path).unwrap(), Some(metadata()), "{file} in {}", path.display());
            model
        });
        // The next step depends on every moment of the optimizer.
        if first.compiled().is_some() {
            let loss = files.train(&first);
            let predictions = files.predict(&first);
            for model in again {
                assert_eq!(files.train(&model), loss, "{file}");
                assert_eq!(files.predict(&model), predictions, "{file}");
            }
        }
    }
}

#[test]
fn weights_go_into_the_model_that_they_are_of() {
    let files = StoredFiles::unpack("0.1");
    for (file, row) in files.of_kind("weights", 5) {
        let model = load(&files.path(row["of"].as_str().unwrap()));
        // Clears the expected values, so that the test notices a weight that isn't set.
        model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        read_weights(&files.path(file), &model).unwrap();
        files.assert_expected(file, &files.predict(&model), TOLERANCE);
    }
}

/// Loads weights with the function for the file's format.
fn read_weights(path: &Path, model: &Model) -> Result<(), Error> {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name {
        "adam.weights.h5" => keras::load_weights(path, model),
        "adam_layers.h5" => legacy::load_weights(path, &model.layers()),
        "torchvision.safetensors" => safetensors::load_weights(path, &model.layers(), Naming::Torchvision).map(drop),
        _ => safetensors::load_weights(path, &model.layers(), Naming::Keras).map(drop),
    }
}

#[test]
fn graphs_predict_and_name_their_classes() {
    let files = StoredFiles::unpack("0.1");
    for (file, _) in files.of_kind("graph", 3) {
        let graph = OnnxModel::load(&files.path(file)).unwrap();
        let outputs = graph.run(&[&files.images]).unwrap();
        files.assert_expected(file, &outputs[0], TOLERANCE);
        let classes: Vec<String> = serde_json::from_str(&graph.metadata()["class_names"]).unwrap();
        assert_eq!(classes, metadata().classes, "{file}");
    }
}

#[test]
fn every_file_can_be_inspected() {
    let files = StoredFiles::unpack("0.1");
    for row in &files.index {
        let file = row["file"].as_str().unwrap();
        let contents = inspect(&files.path(file)).unwrap();
        assert!(contents.problems.is_empty(), "{file}: {:?}", contents.problems);
        assert!(contents.parameters() > 0, "{file} holds weights");
    }
}
