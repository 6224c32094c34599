//! Exports models with their expected outputs, and runs the ONNX files in engraft's interpreter and in onnxruntime.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use engraft::formats::onnx::{self, OnnxOptions};
use engraft::interpreter::OnnxModel;
use engraft::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of ONNX files and arrays for `check.py`.
pub(crate) struct OnnxComparison {
    folder: TempDir,
    cases: Vec<Value>,
    runs: usize,
}

/// An exported model, to which runs can be added.
pub(crate) struct ExportedModel<'a> {
    name: String,
    written: OnnxModel,
    tolerance: f32,
    folder: PathBuf,
    case: &'a mut Value,
    runs: &'a mut usize,
}

impl OnnxComparison {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cases: Vec::new(), runs: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    /// Exports a model. Outputs may differ by `tolerance` times the largest magnitude, or times 1 if that is larger.
    pub(crate) fn case(
        &mut self,
        name: &str,
        model: &Model,
        options: &OnnxOptions<'_>,
        tolerance: f32,
    ) -> ExportedModel<'_> {
        let file = format!("{name}.onnx");
        let path = self.folder.path().join(&file);
        onnx::save(model, &path, options).unwrap();
        self.cases.push(json!({"model": file, "tolerance": tolerance, "runs": []}));
        let folder = self.folder.path().to_owned();
        let (written, case) = (OnnxModel::load(&path).unwrap(), self.cases.last_mut().unwrap());
        ExportedModel { name: name.to_owned(), written, tolerance, folder, case, runs: &mut self.runs }
    }

    /// Runs all cases in onnxruntime.
    pub(crate) fn check(self) {
        let Some(python) = std::env::var_os("ENGRAFT_PEER_PYTHON") else {
            eprintln!("SKIPPED: ENGRAFT_PEER_PYTHON isn't set; `cargo xtask peers` installs the other programs");
            return;
        };
        std::fs::write(self.folder.path().join("cases.json"), json!(self.cases).to_string()).unwrap();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnxruntime/check.py");
        let output =
            Command::new(python).arg(program).arg(self.folder.path()).stderr(Stdio::inherit()).output().unwrap();
        let agreed = String::from_utf8(output.stdout).unwrap();
        assert_eq!((agreed.trim(), output.status.success()), (self.runs.to_string().as_str(), true));
    }
}

impl ExportedModel<'_> {
    /// Adds the expected outputs for `inputs`, and checks them in engraft's interpreter.
    pub(crate) fn run(&mut self, inputs: &[&Tensor], outputs: &[&Tensor]) {
        let found = self.written.run(inputs).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert_eq!(found.len(), outputs.len(), "{}", self.name);
        for (found, expected) in found.iter().zip(outputs) {
            assert_eq!(found.shape(), expected.shape(), "{}", self.name);
            let largest = expected.data().iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            let pairs = found.data().iter().zip(expected.data());
            // Not `f32::max`, which ignores NaN.
            let difference =
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |most, next| if next <= most { most } else { next });
            assert!(difference <= self.tolerance * largest, "{}: off by {}", self.name, difference / largest);
        }
        *self.runs += 1;
        let run = *self.runs;
        let arrays = |kind: &str, tensors: &[&Tensor]| -> Vec<Value> {
            let write = |(index, tensor): (usize, &&Tensor)| {
                let file = format!("{run}_{kind}_{index}.f32");
                let bytes: Vec<u8> = tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect();
                std::fs::write(self.folder.join(&file), bytes).unwrap();
                json!({"file": file, "shape": tensor.shape()})
            };
            tensors.iter().enumerate().map(write).collect()
        };
        let run = json!({"inputs": arrays("x", inputs), "outputs": arrays("y", outputs)});
        self.case["runs"].as_array_mut().unwrap().push(run);
    }
}
