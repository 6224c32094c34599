//! `cargo xtask demo`: the main job on real photos, by the program a user has.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{cargo, output_of, step};
use crate::{TaskError, assets};

/// How both runs are trained: the same in everything but the first weights. The head learns fast at first and then, the
/// base frozen all along, with a tenth of the rate: 262 photos alone leave it where the last few batches pushed it.
const TRAINING: &[&str] = &[
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
    // The photos held out lie in a folder of their own.
    "--validation-split",
    "0",
];

/// What must come out on photos held out.
const LEAST_ACCURACY: f64 = 0.80;

/// And how far above the same training from random weights: what ImageNet is worth.
const LEAST_GAIN: f64 = 0.25;

/// Trains VGG16 on food photos, from ImageNet and from random weights, and compares them on photos held out.
///
/// # Errors
/// The first step that fails, or accuracies below what transfer learning gives.
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

fn engraft_build() -> Command {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "engraft-cli"]);
    command
}

struct Demo {
    root: PathBuf,
    /// Where models are left, so that they can be looked at.
    models: PathBuf,
}

impl Demo {
    /// The built program; weights are found where the assets lie, and checked as any user's are.
    fn engraft(&self) -> Command {
        let mut command = cargo();
        command.args(["run", "--quiet", "--release", "-p", "engraft-cli", "--"]).current_dir(&self.root);
        command.env("ENGRAFT_CACHE", self.root.join("assets/keras"));
        command
    }

    /// Accuracy on the photos held out after training from these first weights.
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

/// The accuracy in what `evaluate --json` prints.
fn accuracy(json: &str) -> Result<f64, TaskError> {
    let found: Value = serde_json::from_str(json).map_err(|error| TaskError::at("evaluate --json", error))?;
    found["accuracy"].as_f64().ok_or_else(|| TaskError::at("evaluate --json", format!("no accuracy in {json}")))
}

fn report(imagenet: f64, random: f64) -> String {
    format!(
        "\nOn food photos that neither has seen:\n  {:5.1} %  from the ImageNet weights\n  {:5.1} %  from random weights\n  {:5.1}    points of difference",
        100.0 * imagenet,
        100.0 * random,
        100.0 * (imagenet - random)
    )
}

fn verdict(imagenet: f64, random: f64) -> Result<(), TaskError> {
    let below = |what: &str, least: f64, received: f64| {
        let (least, received) = (100.0 * least, 100.0 * received);
        Err(TaskError::Failed(format!("{what}: expected at least {least:.1}, received {received:.1}")))
    };
    if imagenet < LEAST_ACCURACY {
        return below("accuracy from the ImageNet weights, in %", LEAST_ACCURACY, imagenet);
    }
    if imagenet - random < LEAST_GAIN {
        return below("gain over random weights, in points", LEAST_GAIN, imagenet - random);
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
