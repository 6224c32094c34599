//! `engraft evaluate`: how well a model does on photos it has not seen.

use std::path::PathBuf;

use engraft::data::{Photo, PhotoDataset, PhotoFolder};
use engraft::prelude::*;
use engraft::recipe::Classifier;
use engraft::train::Train;
use engraft::{Compiled, Error};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::options::PhotosArg;
use crate::output::{self, line};
use crate::photos::{self, skipped_note};
use crate::predict::warn;
use crate::targets::Targets;
use crate::train::settings;

/// Photos at a time.
const BATCH: usize = 32;

/// Measure loss and accuracy on a folder of photos
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A `.keras` file or a whole-model `.h5`
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    photos: PhotosArg,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What was found of one class, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    loss: f64,
    accuracy: f64,
    images: usize,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let classifier = Classifier::load(&args.model)?;
    warn(&classifier);
    let folder = photos::scan_for(&args.photos.photos, &classifier)?;
    let scores = scores(&classifier, &folder)?;
    match args.json {
        true => line(to_json(&folder, &scores)),
        false => line(to_text(&folder, &scores)),
    }
}

/// The score of each class, of those without photos an empty one.
fn scores(classifier: &Classifier, folder: &PhotoFolder) -> Result<Vec<Score>, Error> {
    let model = classifier.model();
    settings::compile_if_needed(model)?;
    let loss = with_accuracy(model.compiled().as_mut());
    let score = |class: usize| {
        let photos: Vec<Photo> = folder.photos.iter().filter(|photo| photo.class == class).cloned().collect();
        let images = photos.len();
        if images == 0 {
            return Ok(Score::default());
        }
        let photos = PhotoDataset::new(photos, classifier.classes().len(), classifier.image_size())?;
        let found = model.evaluate(&Targets::new(photos, model, &loss), BATCH.min(images))?;
        Ok(Score { loss: found.loss, accuracy: found.get(Metric::Accuracy.name()).unwrap_or_default(), images })
    };
    (0..folder.classes.len()).map(score).collect()
}

/// Adds accuracy to what is measured; gives the loss.
fn with_accuracy(compiled: Option<&mut Compiled>) -> Loss {
    let Some(compiled) = compiled else { return Loss::categorical_crossentropy() };
    if !compiled.metrics.contains(&Metric::Accuracy) {
        compiled.metrics.push(Metric::Accuracy);
    }
    compiled.loss
}

/// The mean over all photos.
fn total(scores: &[Score]) -> Score {
    let images = scores.iter().map(|score| score.images).sum();
    let mean = |part: fn(&Score) -> f64| {
        scores.iter().map(|score| part(score) * score.images as f64).sum::<f64>() / (images as f64).max(1.0)
    };
    Score { loss: mean(|score| score.loss), accuracy: mean(|score| score.accuracy), images }
}

fn to_json(folder: &PhotoFolder, scores: &[Score]) -> Value {
    let Score { loss, accuracy, images } = total(scores);
    let class = |score: &Score| match score.images {
        0 => json!({"accuracy": null, "images": 0}),
        images => json!({"accuracy": score.accuracy, "images": images}),
    };
    let classes: Map<_, _> =
        folder.classes.iter().zip(scores).map(|(name, score)| (name.clone(), class(score))).collect();
    json!({"loss": loss, "accuracy": accuracy, "images": images, "skipped": folder.skipped.len(), "classes": classes})
}

fn to_text(folder: &PhotoFolder, scores: &[Score]) -> String {
    let Score { loss, accuracy, images } = total(scores);
    let photos = output::count(images, "photo");
    let mut text = format!("accuracy {:.1} %, loss {loss:.4} on {photos}{}\n", 100.0 * accuracy, skipped_note(folder));
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
        (PhotoFolder { classes, photos: Vec::new(), skipped: Vec::new() }, scores)
    }

    #[test]
    fn photos_count_alike_whatever_their_class() {
        let (folder, scores) = found();
        let expected = json!({"loss": 0.25, "accuracy": 0.875, "images": 8, "skipped": 0, "classes": {
            "ant": {"accuracy": 0.5, "images": 2},
            "beetle": {"accuracy": 1.0, "images": 6},
            "cat": {"accuracy": null, "images": 0},
        }});
        assert_eq!(to_json(&folder, &scores), expected);
    }

    #[test]
    fn text_is_a_table_of_classes() {
        let (folder, scores) = found();
        let expected = "accuracy 87.5 %, loss 0.2500 on 8 photos\n
  ant      50.0 %  1 of 2
  beetle  100.0 %  6 of 6
  cat     no photos";
        assert_eq!(to_text(&folder, &scores), expected);
    }
}
