//! [`check`]: one model, computed here and compared with the oracle.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use engraft_cpu::CpuExecutor;
use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_formats::npy;
use engraft_nn::prelude::*;
use engraft_nn::{Result, Weight};
use engraft_plan::{Executor, GradientRequest, Plan};
use engraft_train::Train;

use crate::oracle::{Made, Oracle, Reply};

/// The learning rate of the training step, as in `oracle.py`.
const RATE: f64 = 0.1;

/// A result that isn't Keras'.
#[derive(Debug)]
pub(crate) struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The arrays that the oracle computed, and the differences found so far.
pub(crate) struct Comparison<'a> {
    made: &'a Made,
    arrays: HashMap<String, Tensor>,
    differences: Vec<Difference>,
    /// The largest difference of the predictions.
    pub(crate) distance: f32,
}

/// Opens the model that the oracle made, computes what the oracle computed, and writes the model to `folder` for Keras to load.
///
/// # Errors
/// The model can't be opened, computed or written. The kind of the error tells whether it is refused by name.
pub(crate) fn check(made: &Made, folder: &Path, oracle: &mut Oracle) -> Result<Vec<Difference>> {
    let mut comparison = Comparison::new(made, folder)?;
    let model = keras::load_model(&made.file)?;
    comparison.description(&model);
    comparison.predictions(&model)?;
    comparison.file(&model, folder, oracle)?;
    if made.trained {
        comparison.gradients(&model)?;
        comparison.step(&model)?;
    }
    Ok(comparison.into_differences())
}

impl<'a> Comparison<'a> {
    /// A comparison with what the oracle made, with its files in `folder`.
    pub(crate) fn new(made: &'a Made, folder: &Path) -> Result<Self> {
        let arrays = npy::load_npz(&folder.join("arrays.npz"))?.into_iter().collect();
        Ok(Self { made, arrays, differences: Vec::new(), distance: 0.0 })
    }

    /// The differences found.
    pub(crate) fn into_differences(self) -> Vec<Difference> {
        self.differences
    }

    pub(crate) fn differs(&mut self, what: impl fmt::Display) {
        self.differences.push(Difference(what.to_string()));
    }

    /// Compares a result with an array of the oracle, which leaves out empty arrays.
    fn array(&mut self, name: &str, found: &[f32]) {
        let (Some(expected), Some(&tolerance)) = (self.arrays.get(name), self.made.tolerances.get(name)) else {
            if !found.is_empty() {
                self.differs(format_args!("{name}: {} numbers, and none of Keras to compare with", found.len()));
            }
            return;
        };
        if expected.data().len() != found.len() {
            let expected = expected.data().len();
            return self.differs(format_args!("{name}: {} numbers instead of {expected}", found.len()));
        }
        let differences = found.iter().zip(expected.data()).map(|(a, b)| (a - b).abs());
        let difference =
            differences.fold(0.0, |largest: f32, d| if d.is_nan() { f32::INFINITY } else { largest.max(d) });
        if name == "y" {
            self.distance = self.distance.max(difference);
        }
        let within = difference <= tolerance;
        if !within {
            self.differs(format_args!("{name}: differs by {difference:.1e}, at most {tolerance:.1e} was expected"));
        }
    }

    /// The largest number of an array.
    pub(crate) fn largest(&self, name: &str) -> f32 {
        self.arrays.get(name).map_or(0.0, |array| array.data().iter().fold(0.0, |largest, x| largest.max(x.abs())))
    }

    pub(crate) fn inputs(&self) -> Vec<&Tensor> {
        (0..).map_while(|i| self.arrays.get(&format!("x{i}"))).collect()
    }

    pub(crate) fn summary(&mut self, model: &Model, expected: &str) {
        let summary = model.summary().line_length(200).expand_nested(true).show_trainable(true).to_string();
        if summary.trim_end() != expected.trim_end() {
            let lines = summary.lines().zip(expected.lines());
            let line = lines
                .filter(|(found, expected)| found != expected)
                .map(|(found, expected)| format!("{found:?} instead of {expected:?}"));
            let line = line.take(1).next().unwrap_or_else(|| "its length".into());
            self.differs(format_args!("summary: {line}"));
        }
    }

    /// The summary and the order of the weights.
    pub(crate) fn description(&mut self, model: &Model) {
        let made = self.made;
        self.summary(model, &made.summary);
        // A weight of a layer inside an attention has the name of that layer before its own.
        let name = |weight: &Weight| weight.name().rsplit('/').next().unwrap_or_default().to_owned();
        let names: Vec<String> = model.weights().iter().map(name).collect();
        if names != self.made.weights {
            self.differs(format_args!("weights: {names:?} instead of {:?}", self.made.weights));
        }
        let trainable = model.trainable_weights().len();
        if trainable != self.made.trainable {
            self.differs(format_args!("{trainable} trainable weights instead of {}", self.made.trainable));
        }
    }

    pub(crate) fn predictions(&mut self, model: &Model) -> Result<()> {
        let executor = CpuExecutor::new(Some(1))?;
        let inputs = self.inputs();
        let mut session = executor.prepare(Plan::predict(model, inputs[0].batch(), &executor.plan_options())?)?;
        let found = session.predict(&inputs)?;
        self.array("y", found[0].data());
        Ok(())
    }

    fn gradients(&mut self, model: &Model) -> Result<()> {
        let Some(upstream) = self.arrays.get("upstream") else {
            self.differs("upstream: the oracle has no such array, so no gradient is compared");
            return Ok(());
        };
        let before = values(model);
        let executor = CpuExecutor::new(Some(1))?;
        let inputs = self.inputs();
        let request = GradientRequest { training: true, inputs: true, weights: true, ..GradientRequest::default() };
        let plan = Plan::gradients(model, &request, inputs[0].batch(), &executor.plan_options())?;
        let found = executor.prepare(plan)?.gradients(&inputs, &[upstream], 0)?;
        restore(model, before)?;
        for (i, gradient) in found.inputs.iter().enumerate() {
            self.array(&format!("dx{i}"), gradient.data());
        }
        for (i, weight) in model.trainable_weights().iter().enumerate() {
            match found.weights.get(&weight.id()) {
                Some(gradient) => self.array(&format!("dw{i}"), gradient),
                None => self.array(&format!("dw{i}"), &vec![0.0; weight.count()]),
            }
        }
        Ok(())
    }

    /// One step of SGD, for models of one input.
    fn step(&mut self, model: &Model) -> Result<()> {
        // Keras takes no step where nothing is trainable.
        if self.made.trainable == 0 {
            return Ok(());
        }
        let Some(target) = self.arrays.get("target") else {
            self.differs("target: the oracle has no such array, so no training step is compared");
            return Ok(());
        };
        let inputs = self.inputs();
        let [x] = inputs[..] else { return Ok(()) };
        let loss = match self.made.loss.as_str() {
            "softmax" => Loss::categorical_crossentropy(),
            "sigmoid" => Loss::binary_crossentropy(),
            _ => Loss::categorical_crossentropy().from_logits(true),
        };
        model.compile(Sgd::new(RATE), loss, [])?;
        model.train_on_batch(x, target)?;
        for (i, weight) in model.weights().iter().enumerate() {
            let after = weight.values().clone();
            self.array(&format!("after{i}"), &after);
        }
        Ok(())
    }

    /// Writes the model. Keras loads it, or engraft where Keras can't.
    pub(crate) fn file(&mut self, model: &Model, folder: &Path, oracle: &mut Oracle) -> Result<()> {
        let h5 = self.made.file.extension().is_some_and(|extension| extension == "h5");
        let file = folder.join(if h5 { "written.h5" } else { "written.keras" });
        if h5 {
            legacy::save(model, &file, &SaveOptions::default())?;
        } else {
            keras::save(model, &file, &SaveOptions::default())?;
        }
        if self.made.unopened.is_some() {
            return self.predictions(&keras::load_model(&file)?);
        }
        match oracle.load(&file)? {
            Reply::Failed(reason) => self.differs(format_args!("Keras doesn't load what was written: {reason}")),
            Reply::Answer(loaded) => {
                if !loaded.same_weights || !loaded.same_trainable {
                    self.differs("Keras reads other weights from what was written");
                }
                if loaded.difference.is_nan() || loaded.difference > 0.0 {
                    self.differs(format_args!(
                        "Keras predicts otherwise from what was written: by {:.1e}",
                        loaded.difference
                    ));
                }
                for warning in loaded.warnings {
                    self.differs(format_args!("Keras warns of what was written: {warning}"));
                }
            }
        }
        Ok(())
    }
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

fn restore(model: &Model, values: Vec<Vec<f32>>) -> Result<()> {
    model.weights().iter().zip(values).try_for_each(|(weight, values)| weight.set(values))
}
