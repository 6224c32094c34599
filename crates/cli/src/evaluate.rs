//! `engraft evaluate`: loss and accuracy of a model on a folder of photos.

mod classes;
mod labels;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use engraft::data::{Part, PhotoFolder};
use engraft::formats::atomic;
use engraft::ir::Precision;
use engraft::recipe::{Classifier, Outputs as ModelOutputs};
use engraft::runtime::Runtime;
use engraft::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use self::classes::{ClassEvaluation, ClassScore};
use self::labels::LabelEvaluation;
use crate::classify::BATCH;
use crate::compile::{compile_if_needed, no_classes};
use crate::destination::{Content, Destination, Outputs};
use crate::failure::Failure;
use crate::misplaced::{check_model, check_photos};
use crate::open::OpenArgs;
use crate::options::{ForceArg, PhotosArg, PrecisionArg};
use crate::output::{self, line, note};
use crate::photos::{self, add_left_out, add_unlabelled, note_left_out, skipped_note};
use crate::score::{Score, change};
use crate::split_root;

/// Pairs of classes that are listed as confused.
const CONFUSIONS: usize = 10;

const EXAMPLES: &str = "\
Examples:
  engraft evaluate model.keras held-out-photos
  engraft evaluate model.keras held-out-photos --labels labels.csv --json";

/// Measure loss and accuracy on a folder of photos, overall and per class
///
/// Accuracy is the share of photos that the model classifies correctly, with its 95 % interval. Loss also counts how sure it is; lower
/// is better. The calibration error is the mean distance between probabilities and the share of right answers. Precision is the share
/// of the answers with a class that are right; recall the share of the photos of a class that are found; F1 their harmonic mean.
/// "unknown" answers count as what they would be otherwise; a line tells how many there are.
/// A model that gives a photo several labels is measured by precision, recall and F1 of each label at its threshold: micro F1
/// counts all decisions alike, macro F1 is the mean over labels. Photos in class folders have one label each.
///
/// Use photos that the model was not trained on, in folders named after its classes, or with --labels; a warning counts those that it
/// was trained on, if its file records them. If the model file has no class names, the folders or labels in alphabetical order stand
/// for the model's outputs.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    photos: PhotosArg,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Also write the wrong answers to this CSV file, the most confident first: image, class, answer, probability, and the
    /// probability of the right class
    #[arg(long, value_name = "FILE.csv", help_heading = "Output")]
    mistakes: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
    /// Print one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let mut outputs =
        Outputs::new(args.force.force).reads("MODEL", [&args.model]).reads("--labels", &args.photos.labels);
    let mistakes =
        args.mistakes.as_deref().map(|path| outputs.check("--mistakes", path, Content::Mistakes)).transpose()?;
    let chosen = args.precision.of(runtime)?;
    check_model(&args.model, [args.photos.photos.as_path()])?;
    check_photos(&args.photos.photos)?;
    split_root::check_evaluation(&args.photos.photos)?;
    let classifier = args.open.classifier(&args.model)?;
    if matches!(classifier.outputs(), ModelOutputs::Values | ModelOutputs::Features) {
        let features = args.open.features_command(&args.model, &classifier, None);
        return Err(no_classes(&classifier, &features).within(args.model.display()).into());
    }
    compile_if_needed(&classifier).map_err(|error| error.within(args.model.display()))?;
    if classifier.is_multi_label() {
        if mistakes.is_some() {
            return Err(Failure::Usage(
                Error::new("--mistakes", "a model that gives a photo one class", "one that gives several labels")
                    .hint("`engraft predict MODEL FOLDER --csv` has the labels of each photo"),
            ));
        }
        let folder = photos::scan_for(&args.photos, &classifier, runtime);
        let folder = folder.map_err(|failure| advise_labels(args, failure))?;
        note_left_out(&args.photos.photos, &folder.left_out);
        return evaluate_labels(args, classifier, &folder, (runtime, &chosen));
    }
    let folder = photos::list_for(&args.photos, &classifier, runtime)?;
    note_left_out(&args.photos.photos, &folder.left_out);
    evaluate_classes(args, classifier, folder, mistakes.as_ref(), (runtime, &chosen))
}

/// The error of photos that aren't in folders of the model's labels, with the option that tells several labels a photo.
fn advise_labels(args: &Args, failure: Failure) -> Failure {
    match failure {
        Failure::Failed(error)
            if args.photos.labels.is_none()
                && matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::InvalidData) =>
        {
            Failure::Failed(error.hint(
                "the model gives a photo several labels: list them with --labels FILE.csv, a row `path,label` for each",
            ))
        }
        other => other,
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
    let trained_on = trained_on(&classifier, folder);
    warn_of_trained(trained_on, folder);
    let (classifier, in_f32) = match args.precision.get() {
        Precision::F32 => (classifier, None),
        Precision::Bf16 => {
            let classifier = classifier.runtime(in_f32);
            let found = LabelEvaluation::of(&classifier, folder, in_f32)?;
            (classifier, Some(found))
        }
    };
    match args.json {
        true => {
            let mut json = found.to_json(&classifier, folder, in_f32.as_ref());
            add_trained_on(trained_on, &mut json);
            line(json)
        }
        false => line(found.to_text(&classifier, folder, in_f32.as_ref())),
    }
}

/// Measures a model that gives a photo one class, and writes its mistakes.
fn evaluate_classes(
    args: &Args,
    classifier: Classifier,
    mut folder: PhotoFolder,
    mistakes: Option<&Destination>,
    (in_f32, chosen): (&Runtime, &Runtime),
) -> Result<(), Failure> {
    let loss = classifier.model().compiled_or_error()?.loss_or_error()?;
    let evaluate = |classifier: &Classifier, runtime: &Runtime| ClassEvaluation::of(classifier, loss, &folder, runtime);
    let classifier = classifier.runtime(chosen).batch_size(BATCH.min(folder.photos.len()));
    let found = evaluate(&classifier, chosen)?;
    // With bf16, the photos are evaluated in f32 too, to report how much bf16 changes loss and accuracy.
    let (classifier, in_f32) = match args.precision.get() {
        Precision::F32 => (classifier, None),
        Precision::Bf16 => {
            let classifier = classifier.runtime(in_f32);
            let score = evaluate(&classifier, in_f32)?.score();
            (classifier, Some(score))
        }
    };
    photos::report_skipped(&found.unreadable);
    folder.skipped.extend(found.unreadable.iter().cloned());
    if found.score().images == 0 {
        let received = "none that can be read";
        return Err(Error::new(args.photos.photos.display(), "photos", received).hint("see the reasons above").into());
    }
    if let Some(file) = mistakes {
        let csv = found.mistakes(classifier.classes());
        let written = atomic::write(file.path(), |file| std::io::Write::write_all(file, csv.as_bytes()));
        written.map_err(|error| Error::because("--mistakes", &error).with_kind(error.kind()).caused_by(error))?;
    }
    let unreadable: HashSet<&Path> = found.unreadable.iter().map(|file| file.path.as_path()).collect();
    folder.photos.retain(|photo| !unreadable.contains(photo.path.as_path()));
    let trained_on = trained_on(&classifier, &folder);
    warn_of_trained(trained_on, &folder);
    match args.json {
        true => {
            let mut json = to_json(&folder, &found, has_unknown(&classifier), in_f32)?;
            add_trained_on(trained_on, &mut json);
            line(json)
        }
        false => line(to_text(&folder, &found, has_unknown(&classifier), in_f32)?),
    }
}

/// The number of photos that the model was trained on; `None` if its file doesn't record it.
fn trained_on(classifier: &Classifier, folder: &PhotoFolder) -> Option<usize> {
    let record = classifier.metadata()?.split.as_ref()?;
    Some(folder.photos.iter().filter(|photo| record.part(&photo.digest) == Some(Part::Training)).count())
}

/// Warns of photos that the model was trained on: they tell little about others.
fn warn_of_trained(trained_on: Option<usize>, folder: &PhotoFolder) {
    if let Some(trained @ 1..) = trained_on {
        let photos = output::count(folder.photos.len(), "photo");
        note(format_args!(
            "warning: {trained} of {photos} were trained on: the accuracy on them is too good; measure on other photos"
        ));
    }
}

/// Adds the number of photos that the model was trained on to a JSON object.
fn add_trained_on(trained_on: Option<usize>, json: &mut Value) {
    if let Some(trained) = trained_on {
        json["trained_on"] = trained.into();
    }
}

/// Whether the model answers "unknown".
fn has_unknown(classifier: &Classifier) -> bool {
    classifier.metadata().is_some_and(|metadata| metadata.unknown.is_some())
}

fn to_json(
    folder: &PhotoFolder,
    found: &ClassEvaluation,
    unknown: bool,
    in_f32: Option<Score>,
) -> Result<Value, Error> {
    let (Score { loss, accuracy, images }, (low, high)) = (found.score(), found.interval());
    let class = |score: &ClassScore| {
        let ClassScore { precision, recall, f1, images, .. } = score;
        // The accuracy on the photos of a class is its recall.
        json!({"accuracy": recall, "precision": precision, "recall": recall, "f1": f1, "images": images})
    };
    let classes: Map<_, _> = folder.classes.iter().cloned().zip(found.classes().iter().map(class)).collect();
    let mut json = json!({
        "loss": loss,
        "accuracy": accuracy,
        "interval": [low, high],
        "calibration_error": found.calibration_error()?,
        "images": images,
        "skipped": folder.skipped.len(),
        "classes": classes,
        "confusion": found.confusion(),
    });
    if unknown {
        let [right, wrong] = found.unknown();
        json["unknown"] = json!({"right": right.0, "wrong": wrong.0});
    }
    add_left_out(folder, &mut json);
    add_unlabelled(folder, &mut json);
    if let Some(Score { loss, accuracy, .. }) = in_f32 {
        json["f32"] = json!({"loss": loss, "accuracy": accuracy});
    }
    Ok(json)
}

fn to_text(
    folder: &PhotoFolder,
    found: &ClassEvaluation,
    unknown: bool,
    in_f32: Option<Score>,
) -> Result<String, Error> {
    let (Score { loss, accuracy, images }, (low, high)) = (found.score(), found.interval());
    let mut text = format!(
        "accuracy {:.1} % (95 % interval {:.1} to {:.1} %), loss {loss:.4}, calibration error {:.3} on {}{}\n",
        100.0 * accuracy,
        100.0 * low,
        100.0 * high,
        found.calibration_error()?,
        output::count(images, "photo"),
        skipped_note(folder)
    );
    if unknown {
        let [right, wrong] = found.unknown();
        text.push_str(&format!(
            "\"unknown\": {} of the {} right and {} of the {} wrong answers\n",
            right.0, right.1, wrong.0, wrong.1
        ));
    }
    if let Some(in_f32) = in_f32 {
        text.push_str(&change(accuracy, loss, in_f32));
        text.push('\n');
    }
    table(folder, &found.classes(), &mut text);
    confusions(folder, found.confusion(), &mut text);
    Ok(text)
}

/// A row for each class.
fn table(folder: &PhotoFolder, scores: &[ClassScore], text: &mut String) {
    let width = folder.classes.iter().map(|name| name.chars().count()).chain([5]).max().unwrap_or(5);
    text.push_str(&format!("\n  {:width$}  precision   recall       F1   right", "class"));
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    for (name, score) in folder.classes.iter().zip(scores) {
        let [precision, recall, f1] = [score.precision, score.recall, score.f1].map(percent);
        let right = match score.images {
            0 => "no photos".to_owned(),
            images => format!("{} of {images}", score.right),
        };
        text.push_str(&format!("\n  {name:width$}  {precision:>9}  {recall:>7}  {f1:>7}   {right}"));
    }
}

/// The most frequent pairs of a class and a wrong answer.
fn confusions(folder: &PhotoFolder, confusion: &[Vec<usize>], text: &mut String) {
    let pairs = confusion.iter().enumerate().flat_map(|(class, row)| {
        row.iter()
            .enumerate()
            .filter(move |&(answer, &photos)| answer != class && photos > 0)
            .map(move |(answer, &photos)| (photos, class, answer))
    });
    let mut pairs: Vec<(usize, usize, usize)> = pairs.collect();
    // The most frequent first; equal ones in the order of classes.
    pairs.sort_by_key(|&(photos, class, answer)| (std::cmp::Reverse(photos), class, answer));
    if pairs.is_empty() {
        return;
    }
    text.push_str("\n\nconfused most often:");
    for (photos, class, answer) in pairs.into_iter().take(CONFUSIONS) {
        let (class, answer) = (&folder.classes[class], &folder.classes[answer]);
        text.push_str(&format!("\n  {class} taken for {answer}: {}", output::count(photos, "photo")));
    }
}

#[cfg(test)]
mod tests {
    use super::classes::tests::evaluation;
    use super::*;

    fn folder() -> PhotoFolder {
        let classes = ["ant", "beetle", "cat"].map(str::to_owned).to_vec();
        PhotoFolder { classes, ..PhotoFolder::default() }
    }

    #[test]
    fn json_has_all_numbers() {
        let in_f32 = Some(Score { loss: 0.5, accuracy: 0.75, images: 8 });
        let json = to_json(&folder(), &evaluation(), true, in_f32).unwrap();
        assert_eq!((&json["accuracy"], &json["images"], &json["skipped"]), (&0.75.into(), &4.into(), &0.into()));
        assert_eq!(json["confusion"], json!([[2, 1, 0], [0, 1, 0], [0, 0, 0]]));
        let class = json!({"accuracy": 1.0, "precision": 0.5, "recall": 1.0, "f1": 2.0 / 3.0, "images": 1});
        assert_eq!(json["classes"]["beetle"], class);
        let none = json!({"accuracy": null, "precision": null, "recall": null, "f1": null, "images": 0});
        assert_eq!((&json["classes"]["cat"], &json["unknown"]), (&none, &json!({"right": 2, "wrong": 0})));
        assert_eq!(json["f32"], json!({"loss": 0.5, "accuracy": 0.75}));
    }

    #[test]
    fn text_is_a_table_of_classes_and_their_confusions() {
        let expected =
            "accuracy 75.0 % (95 % interval 30.1 to 95.4 %), loss 1.2405, calibration error 0.575 on 4 photos\n
  class   precision   recall       F1   right
  ant       100.0 %   66.7 %   80.0 %   2 of 3
  beetle     50.0 %  100.0 %   66.7 %   1 of 1
  cat             -        -        -   no photos

confused most often:
  ant taken for beetle: 1 photo";
        assert_eq!(to_text(&folder(), &evaluation(), false, None).unwrap(), expected);
        let in_f32 = Some(Score { loss: 0.5, accuracy: 0.75, images: 8 });
        let text = to_text(&folder(), &evaluation(), true, in_f32).unwrap();
        assert_eq!(text.lines().nth(1), Some("\"unknown\": 2 of the 3 right and 0 of the 1 wrong answers"));
        let third =
            "in bf16; in f32 accuracy 75.0 %, loss 0.5000: bf16 changes accuracy by +0.0 points, loss by +0.7405";
        assert_eq!(text.lines().nth(2), Some(third));
    }
}
