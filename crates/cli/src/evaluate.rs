//! `engraft evaluate`: loss and accuracy of a model on a folder of photos.

mod labels;

use std::path::PathBuf;

use engraft::Error;
use engraft::data::{Photo, PhotoDataset, PhotoFolder};
use engraft::ir::Precision;
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;
use engraft::train::{RunOptions, Targets, Train};
use serde_json::{Map, Value, json};

use self::labels::LabelEvaluation;
use crate::compile::{compile_if_needed, with_accuracy};
use crate::failure::Failure;
use crate::options::{PhotosArg, PrecisionArg};
use crate::output::{self, line};
use crate::photos::{self, add_unlabelled, skipped_note};
use crate::predict::warn;
use crate::score::{Score, change};

/// Batch size of evaluation.
const BATCH: usize = 32;

const EXAMPLES: &str = "\
Examples:
  engraft evaluate model.keras held-out-photos
  engraft evaluate model.keras held-out-photos --labels labels.csv --json";

/// Measure loss and accuracy on a folder of photos, overall and per class
///
/// Accuracy is the share of photos that the model classifies correctly. Loss also counts how sure it is; lower is better.
/// A model that gives a photo several labels is measured by precision, recall and F1 of each label at its threshold: micro F1
/// counts all decisions alike, macro F1 is the mean over labels. Photos in class folders have one label each.
///
/// Use photos that the model was not trained on, in folders named after its classes, or with --labels. If the model file has no
/// class names, the folders or labels in alphabetical order stand for the model's outputs.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    photos: PhotosArg,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Print one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let chosen = args.precision.of(runtime)?;
    let classifier = Classifier::load(&args.model)?;
    warn(&classifier);
    let folder = photos::scan_for(&args.photos, &classifier, runtime)?;
    if classifier.is_multi_label() {
        return evaluate_labels(args, classifier, &folder, (runtime, &chosen));
    }
    let scores = scores(&classifier, &folder, &chosen)?;
    // With bf16, the photos are evaluated in f32 too, to report how much bf16 changes loss and accuracy.
    let in_f32 = match args.precision.get() {
        Precision::F32 => None,
        Precision::Bf16 => Some(total(&self::scores(&classifier, &folder, runtime)?)),
    };
    match args.json {
        true => line(to_json(&folder, &scores, in_f32)),
        false => line(to_text(&folder, &scores, in_f32)),
    }
}

/// Measures a model that gives a photo several labels.
fn evaluate_labels(
    args: &Args,
    classifier: Classifier,
    folder: &PhotoFolder,
    (in_f32, chosen): (&Runtime, &Runtime),
) -> Result<(), Failure> {
    let classifier = classifier.runtime(chosen);
    let found = LabelEvaluation::of(&classifier, folder, chosen)?;
    let (classifier, in_f32) = match args.precision.get() {
        Precision::F32 => (classifier, None),
        Precision::Bf16 => {
            let classifier = classifier.runtime(in_f32);
            let found = LabelEvaluation::of(&classifier, folder, in_f32)?;
            (classifier, Some(found))
        }
    };
    match args.json {
        true => line(found.to_json(&classifier, folder, in_f32.as_ref())),
        false => line(found.to_text(&classifier, folder, in_f32.as_ref())),
    }
}

/// The score of each class. A class without photos has a score of 0 images.
fn scores(classifier: &Classifier, folder: &PhotoFolder, runtime: &Runtime) -> Result<Vec<Score>, Error> {
    let model = classifier.model();
    compile_if_needed(classifier)?;
    let loss = with_accuracy(model)?;
    let score = |class: usize| {
        let photos: Vec<Photo> = folder.photos.iter().filter(|photo| photo.class() == Some(class)).cloned().collect();
        let images = photos.len();
        if images == 0 {
            return Ok(Score::default());
        }
        let photos = PhotoDataset::new(photos, classifier.classes().len(), classifier.image_size())?;
        let options = RunOptions::from(BATCH.min(images)).runtime(runtime);
        let found = model.evaluate(&Targets::new(photos, model, &loss), options)?;
        Ok(Score::of(&found))
    };
    (0..folder.classes.len()).map(score).collect()
}

/// Loss and accuracy of all photos together: the mean over the classes, weighted by their numbers of photos.
fn total(scores: &[Score]) -> Score {
    let images = scores.iter().map(|score| score.images).sum();
    let mean = |part: fn(&Score) -> f64| {
        scores.iter().map(|score| part(score) * score.images as f64).sum::<f64>() / (images as f64).max(1.0)
    };
    Score { loss: mean(|score| score.loss), accuracy: mean(|score| score.accuracy), images }
}

fn to_json(folder: &PhotoFolder, scores: &[Score], in_f32: Option<Score>) -> Value {
    let Score { loss, accuracy, images } = total(scores);
    let class = |score: &Score| match score.images {
        0 => json!({"accuracy": null, "images": 0}),
        images => json!({"accuracy": score.accuracy, "images": images}),
    };
    let classes: Map<_, _> =
        folder.classes.iter().zip(scores).map(|(name, score)| (name.clone(), class(score))).collect();
    let mut json = json!({"loss": loss, "accuracy": accuracy, "images": images, "skipped": folder.skipped.len(), "classes": classes});
    add_unlabelled(folder, &mut json);
    if let Some(Score { loss, accuracy, .. }) = in_f32 {
        json["f32"] = json!({"loss": loss, "accuracy": accuracy});
    }
    json
}

fn to_text(folder: &PhotoFolder, scores: &[Score], in_f32: Option<Score>) -> String {
    let Score { loss, accuracy, images } = total(scores);
    let photos = output::count(images, "photo");
    let mut text = format!("accuracy {:.1} %, loss {loss:.4} on {photos}{}\n", 100.0 * accuracy, skipped_note(folder));
    if let Some(in_f32) = in_f32 {
        text.push_str(&change(accuracy, loss, in_f32));
        text.push('\n');
    }
    let width = folder.classes.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, score) in folder.classes.iter().zip(scores) {
        let right = (score.accuracy * score.images as f64).round();
        let row = match score.images {
            0 => "no photos".to_owned(),
            images => format!("{:5.1} %  {right} of {images}", 100.0 * score.accuracy),
        };
        text.push_str(&format!("\n  {name:width$}  {row}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> (PhotoFolder, Vec<Score>) {
        let classes = ["ant", "beetle", "cat"].map(str::to_owned).to_vec();
        let scores = vec![
            Score { loss: 1.0, accuracy: 0.5, images: 2 },
            Score { loss: 0.0, accuracy: 1.0, images: 6 },
            Score::default(),
        ];
        (PhotoFolder { classes, photos: Vec::new(), skipped: Vec::new(), label_file: None }, scores)
    }

    #[test]
    fn photos_count_alike_whatever_their_class() {
        let (folder, scores) = found();
        let expected = json!({"loss": 0.25, "accuracy": 0.875, "images": 8, "skipped": 0, "classes": {
            "ant": {"accuracy": 0.5, "images": 2},
            "beetle": {"accuracy": 1.0, "images": 6},
            "cat": {"accuracy": null, "images": 0},
        }});
        assert_eq!(to_json(&folder, &scores, None), expected);
        let in_f32 = Some(Score { loss: 0.5, accuracy: 0.75, images: 8 });
        assert_eq!(to_json(&folder, &scores, in_f32)["f32"], json!({"loss": 0.5, "accuracy": 0.75}));
    }

    #[test]
    fn text_is_a_table_of_classes() {
        let (folder, scores) = found();
        let expected = "accuracy 87.5 %, loss 0.2500 on 8 photos\n
  ant      50.0 %  1 of 2
  beetle  100.0 %  6 of 6
  cat     no photos";
        assert_eq!(to_text(&folder, &scores, None), expected);
        let in_f32 = Some(Score { loss: 0.5, accuracy: 0.75, images: 8 });
        let text = to_text(&folder, &scores, in_f32);
        let second =
            "in bf16; in f32 accuracy 75.0 %, loss 0.5000: bf16 changes accuracy by +12.5 points, loss by -0.2500";
        assert_eq!(text.lines().nth(1), Some(second));
    }
}
