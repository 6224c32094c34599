//! [`Oracle`]: the Python process with Keras.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use engraft_nn::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A running `oracle.py`. It is started again when it dies: TensorFlow crashes on some models.
pub(crate) struct Oracle {
    python: PathBuf,
    channels_first: bool,
    process: Process,
}

struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The oracle's reply to a request.
pub(crate) enum Reply<T> {
    Answer(T),
    /// Why there is no answer: Keras can't make or compute the model.
    Failed(String),
}

/// A model that the oracle made.
#[derive(Debug, Deserialize)]
pub(crate) struct Made {
    /// The file of the model.
    pub(crate) file: PathBuf,
    /// Whether its training is compared, too.
    pub(crate) trained: bool,
    /// Keras' summary, 200 characters wide, with nested layers and their flags.
    pub(crate) summary: String,
    /// The largest difference allowed, for each array.
    pub(crate) tolerances: BTreeMap<String, f32>,
    /// The names of all weights, in Keras' order.
    pub(crate) weights: Vec<String>,
    /// The number of trainable weights.
    pub(crate) trainable: usize,
    /// The loss of the training step.
    pub(crate) loss: String,
    /// The summary of a network of `keras.applications` without its top, with average pooling.
    pub(crate) without_top: Option<String>,
    /// Why Keras can't open the file itself. The model is compared with the one that was saved then.
    pub(crate) unopened: Option<String>,
}

/// How a file that engraft wrote compares with the model that the oracle made last.
#[derive(Debug, Deserialize)]
pub(crate) struct Loaded {
    /// Warnings that Keras doesn't give for its own file.
    pub(crate) warnings: Vec<String>,
    pub(crate) same_weights: bool,
    pub(crate) same_trainable: bool,
    /// The largest difference of the predictions.
    pub(crate) difference: f32,
}

impl Oracle {
    pub(crate) fn start(python: &Path, channels_first: bool) -> Result<Self> {
        Ok(Self { python: python.to_owned(), channels_first, process: Process::start(python, channels_first)? })
    }

    /// Makes model number `index` of `seed`; its files are written to `folder`.
    pub(crate) fn make(&mut self, seed: u64, index: usize, folder: &Path) -> Result<Reply<Made>> {
        self.ask(&json!({"make": index, "seed": seed, "folder": folder}))
    }

    /// The names of the networks of `keras.applications`.
    pub(crate) fn networks(&mut self) -> Result<Vec<String>> {
        match self.ask(&json!({"networks": true}))? {
            Reply::Answer(names) => Ok(names),
            Reply::Failed(reason) => Err(Error::because("oracle.py", reason)),
        }
    }

    /// Makes a network of `keras.applications` and saves it as `file`; what it predicts is written to `folder`.
    pub(crate) fn network(&mut self, name: &str, file: &Path, folder: &Path) -> Result<Reply<Made>> {
        self.ask(&json!({"network": name, "file": file, "folder": folder}))
    }

    /// Loads a file and compares it with the model made last.
    pub(crate) fn load(&mut self, file: &Path) -> Result<Reply<Loaded>> {
        self.ask(&json!({"load": file}))
    }

    /// Loads a `.weights.h5` into the model made last; whether it has the same weights then.
    pub(crate) fn load_weights(&mut self, file: &Path) -> Result<Reply<bool>> {
        self.ask(&json!({"load_weights": file}))
    }

    /// Runs an ONNX file; the largest difference from what Keras predicts.
    pub(crate) fn onnx(&mut self, file: &Path) -> Result<Reply<f32>> {
        self.ask(&json!({"onnx": file}))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<Reply<T>> {
        let Some(answer) = self.process.ask(request) else {
            self.process = Process::start(&self.python, self.channels_first)?;
            return Ok(Reply::Failed("TensorFlow crashed".into()));
        };
        if let Some(reason) = answer.get("unusable").or(answer.get("error")).and_then(Value::as_str) {
            return Ok(Reply::Failed(reason.to_owned()));
        }
        serde_json::from_value(answer).map(Reply::Answer).map_err(|error| Error::from_source("oracle.py", error))
    }
}

impl Process {
    fn start(python: &Path, channels_first: bool) -> Result<Self> {
        let failed = |error| Error::from_source(python.display(), error);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle.py");
        let mut command = Command::new(python);
        command.arg(script).args(channels_first.then_some("--channels-first"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::because("oracle.py", "it has no standard input or output"));
        };
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// The answer to a request; `None` if the process has died.
    fn ask(&mut self, request: &Value) -> Option<Value> {
        writeln!(self.requests, "{request}").ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whether it was still running makes no difference.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
