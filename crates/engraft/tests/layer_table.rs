//! `docs/layers.md`: every layer class of Keras, and what engraft does with it. The table is made from the code.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engraft::cpu::CpuExecutor;
use engraft::formats::keras::{SaveOptions, legacy};
use engraft::formats::{keras, onnx};
use engraft::layers::{from_config, known_classes, why_left_out};
use engraft::plan::{Executor, GradientRequest, Plan};
use engraft::prelude::*;
use engraft_golden::Case;

/// The folders of golden values whose cases are layers.
const FOLDERS: &[&str] = &["layers", "architecture_layers", "attention", "augmentation", "images", "merging"];

/// Set to write the table instead of comparing it.
const UPDATE: &str = "ENGRAFT_UPDATE_DOCS";

const HEAD: &str = "\
# Layers

Every layer class that Keras 3.15 exports. A test makes this table from the golden values of each class
(`crates/engraft/tests/layer_table.rs`; `ENGRAFT_UPDATE_DOCS=1 cargo test --package engraft --test layer_table` writes it).

- **Forward**: it predicts. `crates/cpu/tests/golden_layers.rs` compares outputs and gradients of every golden case with Keras'.
- **Backward**: layers below it can be trained, and its own weights.
- **Files**: it is written to `.keras` and `.h5`, and its options and weights are the same when it is read from there.
- **ONNX**: it is exported.

A number is that of golden cases that can, where some of a class can't: an option that isn't supported.

| class | forward | backward | files | ONNX | |
|---|---|---|---|---|---|
";

/// How many cases of a class there are, and how many of these can be done.
#[derive(Default)]
struct Row {
    cases: usize,
    forward: usize,
    backward: usize,
    files: usize,
    onnx: usize,
}

impl Row {
    fn add(&mut self, case: &Case, folder: &Path) {
        let model = model(case);
        let options = CpuExecutor::new(Some(1)).unwrap().plan_options();
        let request = GradientRequest { training: true, inputs: true, weights: true, ..GradientRequest::default() };
        self.cases += 1;
        self.forward += usize::from(Plan::predict(&model, 2, &options).is_ok());
        self.backward += usize::from(Plan::gradients(&model, &request, 2, &options).is_ok());
        let files = files_hold(&model, folder);
        if let Err(difference) = &files {
            eprintln!("{}: {difference}", case.name());
        }
        self.files += usize::from(files.is_ok());
        self.onnx += usize::from(onnx::save(&model, &folder.join("model.onnx"), &onnx::OnnxOptions::default()).is_ok());
    }

    fn cells(&self) -> String {
        let cell = |count: usize| match count {
            0 => "no".to_owned(),
            all if all == self.cases => "yes".to_owned(),
            some => format!("{some} of {}", self.cases),
        };
        [self.forward, self.backward, self.files, self.onnx].map(cell).join(" | ")
    }
}

/// Writes the model to `.keras` and `.h5` and reads both; the error says what isn't the same then.
fn files_hold(model: &Model, folder: &Path) -> std::result::Result<(), String> {
    for name in ["model.keras", "model.h5"] {
        let file = folder.join(name);
        let saved = match name.ends_with(".h5") {
            true => legacy::save(model, &file, &SaveOptions::default()),
            false => keras::save_model(model, &file),
        };
        let read = saved.and_then(|()| keras::load_model(&file)).map_err(|error| format!("{name}: {error}"))?;
        let configs = |model: &Model| -> Vec<_> {
            model.layers().iter().map(|layer| (layer.name().to_owned(), layer.def().config())).collect()
        };
        if configs(&read) != configs(model) {
            return Err(format!("{name}: {:?} instead of {:?}", configs(&read), configs(model)));
        }
        let values =
            |model: &Model| -> Vec<_> { model.weights().iter().map(|weight| weight.values().clone()).collect() };
        if values(&read) != values(model) {
            return Err(format!("{name}: other weights"));
        }
    }
    Ok(())
}

/// A model of the layer of a golden case alone, with the weights of the case.
fn model(case: &Case) -> Model {
    let arrays = case.arrays();
    let layer = case.get("layer");
    let layer = from_config(layer["class_name"].as_str().unwrap(), layer["config"].as_object().unwrap().clone());
    let shapes = case.names("inputs").into_iter().map(|name| arrays.get(name).shape()[1..].to_vec());
    let inputs: Vec<SymbolicTensor> = shapes.map(Input::new).collect();
    let layer = layer.unwrap();
    let model = Model::new(&inputs, &layer.call(&inputs).unwrap()).unwrap();
    for (weight, name) in layer.weights().iter().zip(case.names("weights")) {
        weight.set(arrays.get(name).data().to_vec()).unwrap();
    }
    model
}

fn table() -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for case in FOLDERS.iter().flat_map(|name| engraft_golden::cases(name)) {
        let class = case.get("layer")["class_name"].as_str().unwrap().to_owned();
        rows.entry(class).or_default().add(&case, folder.path());
    }
    let row = |class: &str| match (rows.get(class), why_left_out(class)) {
        (Some(row), _) => format!("| {class} | {} | |\n", row.cells()),
        (None, Some(why)) => format!("| {class} | no | no | no | no | {why} |\n"),
        _ if class == "InputLayer" => "| InputLayer | yes | yes | yes | yes | |\n".to_owned(),
        (None, None) => format!("| {class} | ? | ? | ? | ? | |\n"),
    };
    let classes = engraft_golden::cases("classes");
    HEAD.to_owned() + &classes.iter().map(|class| row(class.name())).collect::<String>()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/layers.md")
}

#[test]
fn the_table_of_layers_is_that_of_the_code() {
    let table = table();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(docs(), &table).unwrap();
    }
    let written = std::fs::read_to_string(docs()).unwrap_or_default();
    assert!(written == table, "docs/layers.md isn't up to date: set {UPDATE}=1 to write it");
    assert!(!table.contains('?'), "classes without a golden case, and without a reason to leave them out:\n{table}");
}

#[test]
fn every_known_class_has_golden_values_and_none_is_left_out() {
    let cases: Vec<Case> = FOLDERS.iter().flat_map(|name| engraft_golden::cases(name)).collect();
    // An input has no values, and `GroupedQueryAttention` is the same class under its name in an `.h5`. Keras 3 doesn't export
    // `RandomHeight` and `RandomWidth`, which are in files of Keras 2.
    let without = ["InputLayer", "GroupedQueryAttention", "RandomHeight", "RandomWidth"];
    for class in known_classes().filter(|class| !without.contains(class)) {
        assert!(cases.iter().any(|case| case.get("layer")["class_name"] == class), "{class}");
        assert_eq!(why_left_out(class), None, "{class}");
    }
}
