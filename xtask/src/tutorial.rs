//! `cargo xtask tutorial`: transfer learning on real photos with the `engraft` program, compared with random weights.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{cargo, output_of, step};
use crate::{TaskError, assets};

/// Options of both training runs; only the initial weights differ.
///
/// The base stays frozen. Of the two phases, the second has a tenth of the learning rate: with only 262 photos and a large
/// rate, the last few batches would dominate the result.
const TRAINING: &[&str] = &[
    "--backbone",
    "vgg16",
    "--pooling",
    "none",
    "--image-size",
    "128",
    "--head",
    "1024",
    "--augment",
    "flip,rotate=0.1,zoom=0.2",
    "--freeze",
    "all",
    "--batch-size",
    "16",
    "--epochs",
    "8",
    "--learning-rate",
    "0.001",
    "--fine-tune-from",
    "flatten",
    "--fine-tune-epochs",
    "4",
    "--fine-tune-learning-rate",
    "0.0001",
    // The held-out photos are in another folder.
    "--validation-split",
    "0",
];

/// Minimum accuracy on the held-out photos with the ImageNet weights.
const MIN_ACCURACY: f64 = 0.80;

/// Minimum difference in accuracy between the ImageNet weights and random weights.
const MIN_GAIN: f64 = 0.25;

/// Trains VGG16 on food photos with the recipe of Keras' tutorials, from ImageNet and from random weights, and compares the accuracies on held-out photos.
///
/// # Errors
/// The first step that fails, or an accuracy below [`MIN_ACCURACY`] or [`MIN_GAIN`].
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    assets::run(root)?;
    step("building engraft", engraft_build().current_dir(root))?;
    let demo = Demo { root: root.to_owned(), models: root.join("assets/demo") };
    std::fs::create_dir_all(&demo.models).map_err(|error| TaskError::at(demo.models.display(), error))?;
    let imagenet = demo.accuracy("imagenet")?;
    let random = demo.accuracy("none")?;
    println!("{}", report(imagenet, random));
    verdict(imagenet, random)
}

pub(crate) fn engraft_build() -> Command {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "engraft-cli"]);
    command
}

struct Demo {
    root: PathBuf,
    /// Folder of the trained models, which are kept for inspection.
    models: PathBuf,
}

impl Demo {
    /// The `engraft` program, with the weights of `assets/`.
    fn engraft(&self) -> Command {
        let mut command = cargo();
        command.args(["run", "--quiet", "--release", "-p", "engraft-cli", "--"]).current_dir(&self.root);
        command.env("ENGRAFT_CACHE", self.root.join("assets/keras"));
        command
    }

    /// Trains with these initial weights and returns the accuracy on the held-out photos.
    fn accuracy(&self, weights: &str) -> Result<f64, TaskError> {
        let model = self.models.join(format!("{weights}.keras"));
        let mut train = self.engraft();
        train.args(["train", "assets/food5-train", "--weights", weights, "-o"]).arg(&model).args(TRAINING);
        step(&format!("training from weights `{weights}`"), &mut train)?;
        let mut evaluate = self.engraft();
        evaluate.arg("evaluate").arg(&model).args(["assets/food5-test", "--json"]);
        accuracy(&output_of(&format!("evaluating weights `{weights}`"), &mut evaluate)?)
    }
}

/// Parses the accuracy in the output of `evaluate --json`.
fn accuracy(json: &str) -> Result<f64, TaskError> {
    let found: Value = serde_json::from_str(json).map_err(|error| TaskError::at("evaluate --json", error))?;
    found["accuracy"].as_f64().ok_or_else(|| TaskError::at("evaluate --json", format!("no accuracy in {json}")))
}

fn report(imagenet: f64, random: f64) -> String {
    format!(
        "\nAccuracy on held-out food photos:\n  {:5.1} %  from the ImageNet weights\n  {:5.1} %  from random weights\n  {:5.1}    points of difference",
        100.0 * imagenet,
        100.0 * random,
        100.0 * (imagenet - random)
    )
}

fn verdict(imagenet: f64, random: f64) -> Result<(), TaskError> {
    let below = |quantity: &str, min: f64, received: f64| {
        let (min, received) = (100.0 * min, 100.0 * received);
        Err(TaskError::Failed(format!("{quantity}: expected at least {min:.1}, received {received:.1}")))
    };
    if imagenet < MIN_ACCURACY {
        return below("accuracy from the ImageNet weights, in %", MIN_ACCURACY, imagenet);
    }
    if imagenet - random < MIN_GAIN {
        return below("gain over random weights, in points", MIN_GAIN, imagenet - random);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_wants_both() {
        assert!(verdict(0.85, 0.5).is_ok());
        let low = verdict(0.79, 0.2).unwrap_err().to_string();
        assert_eq!(low, "accuracy from the ImageNet weights, in %: expected at least 80.0, received 79.0");
        let close = verdict(0.9, 0.7).unwrap_err().to_string();
        assert_eq!(close, "gain over random weights, in points: expected at least 25.0, received 20.0");
    }

    #[test]
    fn the_accuracy_is_read_or_missed() {
        assert_eq!(accuracy(r#"{"loss": 1.0, "accuracy": 0.5}"#).unwrap(), 0.5);
        assert!(accuracy("{}").is_err() && accuracy("").is_err());
    }
}
