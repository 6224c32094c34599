//! This version loads the files of engraft 0.1, predicts the same, resumes their training, and saves them again.
//!
//! `tests/compatibility/files/0.1/README.md` describes the files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::File;
use std::path::{Path, PathBuf};

use engraft::Error;
use engraft::formats::inspect::inspect;
use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::npy;
use engraft::formats::safetensors::{self, Naming};
use engraft::interpreter::OnnxModel;
use engraft::prelude::*;
use engraft::recipe::{Backbone, Metadata};
use engraft_golden::relative_error;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Tolerance relative to the largest prediction. Instruction sets with and without fused multiply-add round differently.
const TOLERANCE: f32 = 1e-6;

/// Tolerance relative to the largest prediction after a training step. It is larger because Adam normalizes the magnitude of
/// gradients, which amplifies the rounding of small ones.
const TRAINED_TOLERANCE: f32 = 1e-5;

const BATCH: usize = 6;

/// The unpacked files of `models.zip`, with their index and expected predictions.
struct Files {
    folder: TempDir,
    index: Vec<Value>,
    expected: Vec<(String, Tensor)>,
    images: Tensor,
}

impl Files {
    fn unpack() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compatibility/files/0.1");
        let folder = tempfile::tempdir().unwrap();
        let mut archive = zip::ZipArchive::new(File::open(source.join("models.zip")).unwrap()).unwrap();
        archive.extract(folder.path()).unwrap();
        let index = std::fs::read(source.join("index.json")).unwrap();
        Self {
            index: serde_json::from_slice(&index).unwrap(),
            expected: npy::load_npz(&folder.path().join("expected.npz")).unwrap(),
            images: npy::load(&folder.path().join("images.npy")).unwrap(),
            folder,
        }
    }

    /// Name and index row of each file of this kind; asserts that there are `count`.
    fn of_kind(&self, kind: &str, count: usize) -> Vec<(&str, &Value)> {
        let rows: Vec<_> = self.index.iter().filter(|row| row["kind"] == kind).collect();
        assert_eq!(rows.len(), count, "files of the kind `{kind}`");
        rows.into_iter().map(|row| (row["file"].as_str().unwrap(), row)).collect()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn predict(&self, model: &Model) -> Tensor {
        model.predict(&self.images, BATCH).unwrap()
    }

    fn assert_expected(&self, name: &str, predictions: &Tensor, tolerance: f32) {
        let (_, expected) = self.expected.iter().find(|(expected, _)| expected == name).unwrap();
        assert_eq!(predictions.shape(), expected.shape(), "{name}");
        let error = relative_error(predictions.data(), expected.data());
        assert!(error <= tolerance, "{name}: predictions are off by {error:e} of the largest");
    }

    /// Makes one training step and returns its loss. The images are symmetric, so random flips don't change them.
    fn train(&self, model: &Model) -> f64 {
        let one_hot = |index: usize| f32::from(u8::from(index / 3 % 3 == index % 3));
        let targets = Tensor::new([BATCH, 3], (0..3 * BATCH).map(one_hot).collect()).unwrap();
        model.train_on_batch(&self.images, &targets).unwrap().loss
    }
}

/// Loads a model and asserts that there are no warnings.
fn load(path: &Path) -> Model {
    let archive = keras::load(path).unwrap();
    assert!(archive.warnings.is_empty(), "{}: {:?}", path.display(), archive.warnings);
    archive.model
}

fn metadata() -> Metadata {
    let classes = ["daisy", "rose", "tulip"].map(str::to_owned).to_vec();
    Metadata { backbone: Some(Backbone::Vgg16), seed: Some(7), ..Metadata::new(classes) }
}

/// The compile settings and the optimizer's iterations, in the form of the index.
fn compiled(model: &Model) -> Value {
    let compiled = model.compiled();
    let Some(compiled) = compiled.as_ref() else { return Value::Null };
    json!({
        "optimizer": compiled.optimizer.to_keras()["class_name"],
        "learning_rate": compiled.optimizer.learning_rate(),
        "weight_decay": compiled.optimizer.weight_decay(),
        "slots": compiled.optimizer.slots(),
        "iterations": compiled.state.iterations(),
        "loss": compiled.loss.name(),
        "metrics": compiled.metrics.iter().map(|metric| metric.name()).collect::<Vec<_>>(),
        "trainable": model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>(),
    })
}

#[test]
fn whole_models_keep_predictions_metadata_and_compile_settings() {
    let files = Files::unpack();
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
    let files = Files::unpack();
    let trained: Vec<_> = files.of_kind("model", 9).into_iter().filter(|(_, row)| !row["compiled"].is_null()).collect();
    assert_eq!(trained.len(), 6, "files with an optimizer");
    for (file, row) in trained {
        let model = load(&files.path(file));
        let (loss, expected) = (files.train(&model), row["next_loss"].as_f64().unwrap());
        assert!((loss - expected).abs() <= f64::from(TOLERANCE) * expected, "{file}: a loss of {loss}, not {expected}");
        files.assert_expected(&format!("{file} after a step"), &files.predict(&model), TRAINED_TOLERANCE);
        assert_eq!(compiled(&model)["iterations"], 4, "{file}");
    }
}

#[test]
fn whole_models_are_written_again_without_loss() {
    let files = Files::unpack();
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
    let files = Files::unpack();
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
    let files = Files::unpack();
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
    let files = Files::unpack();
    for row in &files.index {
        let file = row["file"].as_str().unwrap();
        let contents = inspect(&files.path(file)).unwrap();
        assert!(contents.problems.is_empty(), "{file}: {:?}", contents.problems);
        assert!(contents.parameters() > 0, "{file} holds weights");
    }
}
