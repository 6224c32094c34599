//! What the default recipe of `engraft train` prints: what it will do, what it chose and why, the score, what to do next.

use std::path::Path;

use engraft::data::{Photo, PhotoFolder};
use engraft::linear::{CrossValidation, LabelScores};
use engraft::recipe::{Budget, FineTuning, HeldOutScore, LabelReport, ProbeReport, Recipe};
use serde_json::{Map, Value, json};

use crate::cache::size;
use crate::output::{count, thousands, titled};
use crate::photos::{add_left_out, add_unlabelled, by_class, in_numbers, left_out_line};
use crate::score::label_to_json;
use crate::train::Args;
use crate::train::near_duplicates;
use crate::train::overview::weights_name;

/// Maximum number of labels that are listed.
const MAX_LABELS: usize = 20;

/// The lines before training.
pub(super) fn overview(args: &Args, folder: &PhotoFolder, held_out: &[Photo], recipes: &[Recipe]) -> Vec<String> {
    let mut lines = vec![titled("Photos", in_numbers(folder.photos.len() + held_out.len(), folder))];
    lines.push(match held_out.len() {
        0 => titled("", by_class(folder)),
        held_out => {
            titled("", format!("{} for training ({}), {held_out} held out", folder.photos.len(), by_class(folder)))
        }
    });
    lines.extend(left_out_line(folder));
    lines.push(titled(
        "Recipe",
        "a linear classifier on the features of a frozen network (--epochs N trains by gradient descent)",
    ));
    lines.extend(recipes.iter().map(|recipe| {
        let size = recipe.image_size;
        let weights = weights_name(&args.weights);
        titled("", format!("{} with {weights}, {size} x {size} pixels (--backbone, --image-size)", recipe.backbone))
    }));
    lines
}

/// The lines after training.
pub(super) fn results(args: &Args, report: &ProbeReport, file: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.folder.skipped.is_empty() {
        let (skipped, left) = (count(report.folder.skipped.len(), "file"), report.folder.photos.len());
        lines.push(titled("Skipped", format!("{skipped}; {} left", count(left, "photo"))));
    }
    lines.extend(choices(report));
    lines.push(titled("Fine-tune", fine_tuning(report)));
    lines.extend(score(args, report));
    lines.extend(unknown(report));
    lines.push(titled("Saved", file.display()));
    lines.push(titled("Try", format!("engraft predict {} PHOTO", quoted(file))));
    lines
}

/// The threshold of "unknown" and its price; none where no answer was right, or a photo can have several labels.
fn unknown(report: &ProbeReport) -> Option<String> {
    let (unknown, photos) = (report.unknown.as_ref()?, report.score.fold_of_sample.len() as f64);
    let right = (report.score.accuracy * photos).round();
    let wrong = photos - right;
    unknown.threshold.is_finite().then(|| {
        let reason = match unknown.weight {
            0.0 => "unsure answers are",
            _ => "unsure answers and photos far from all classes are",
        };
        let lost = (unknown.right_lost * right).round();
        let caught = (unknown.wrong_caught * wrong).round();
        titled(
            "Unknown",
            format!("{reason} \"unknown\": {lost} of the {right} right and {caught} of the {wrong} wrong answers"),
        )
    })
}

/// Choices and scores, for scripts. Accuracies and shares are fractions.
pub(super) fn to_json(report: &ProbeReport, file: &Path) -> Value {
    let fit = &report.fit;
    let mut json = json!({
        "recipe": "linear probe",
        "saved": file.to_string_lossy(),
        "backbone": report.recipe.backbone,
        "image_size": report.recipe.image_size,
        "photos": report.folder.photos.len(),
        "classes": report.folder.classes,
        "skipped": report.folder.skipped.len(),
        "features": report.features,
        "penalty": fit.penalty,
        "temperature": fit.temperature,
        "score": score_to_json(report),
    });
    json["near_duplicates"] = near_duplicates::to_json(&report.near_duplicates);
    add_left_out(&report.folder, &mut json);
    add_unlabelled(&report.folder, &mut json);
    if let Some(unknown) = &report.unknown {
        json["unknown"] = json!({ "right_lost": unknown.right_lost, "wrong_caught": unknown.wrong_caught });
    }
    json["fine_tuning"] = fine_tuning_to_json(&report.fine_tuning);
    if let Some(labels) = &report.labels {
        json["thresholds"] = labels.thresholds.clone().into();
    }
    if let Some(held_out) = &report.held_out {
        json["held_out"] = held_out_to_json(held_out, &report.folder.classes);
    }
    json
}

fn fine_tuning_to_json(outcome: &FineTuning) -> Value {
    let not_tried = |reason: &str| json!({ "kept": false, "tried": false, "reason": reason });
    match outcome {
        FineTuning::OverBudget { needed, budget } => {
            let (needed, budget) = (rounded_up(*needed).to_string(), budget.to_string());
            json!({ "kept": false, "tried": false, "reason": "over budget", "needed": needed, "budget": budget })
        }
        FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, standard_error, folds_kept, kept } => json!({
            "kept": kept,
            "tried": true,
            "epochs": epochs,
            "linear_log_loss": linear_log_loss,
            "tuned_log_loss": tuned_log_loss,
            "standard_error": standard_error,
            "folds_kept": folds_kept,
        }),
        FineTuning::OverMemory { needed } => {
            json!({ "kept": false, "tried": false, "reason": "over memory", "needed_bytes": needed })
        }
        FineTuning::Failed { reason } => not_tried(reason),
        FineTuning::Stopped => not_tried("stopped"),
        FineTuning::SeveralLabels => not_tried("several labels"),
        FineTuning::Undivided => not_tried("the network can't be divided"),
        _ => not_tried("budget 0"),
    }
}

/// The score on held-out photos.
fn held_out_to_json(score: &HeldOutScore, classes: &[String]) -> Value {
    match &score.labels {
        None => json!({
            "photos": score.photos,
            "accuracy": score.accuracy,
            "interval": [score.interval.0, score.interval.1],
            "log_loss": score.log_loss,
        }),
        Some(labels) => json!({
            "photos": score.photos,
            "micro_f1": labels.micro_f1,
            "macro_f1": labels.macro_f1,
            "subset_accuracy": labels.subset_accuracy,
            "log_loss": score.log_loss,
            "labels": labels_to_json(labels, classes),
        }),
    }
}

/// The out-of-fold score.
fn score_to_json(report: &ProbeReport) -> Value {
    let score = &report.score;
    match &report.labels {
        None => json!({
            "folds": score.fold_accuracies.len(),
            "accuracy": score.accuracy,
            "interval": [score.interval.0, score.interval.1],
            "fold_accuracies": score.fold_accuracies,
            "log_loss": score.log_loss,
            "calibration_error": score.calibration_error,
        }),
        Some(LabelReport { scores, .. }) => json!({
            "folds": score.fold_accuracies.len(),
            "micro_f1": scores.micro_f1,
            "macro_f1": scores.macro_f1,
            "subset_accuracy": scores.subset_accuracy,
            "log_loss": score.log_loss,
            "calibration_error": score.calibration_error,
            "labels": labels_to_json(scores, &report.folder.classes),
        }),
    }
}

/// The score of each label, by its name.
fn labels_to_json(scores: &LabelScores, classes: &[String]) -> Map<String, Value> {
    classes.iter().cloned().zip(scores.labels.iter().map(label_to_json)).collect()
}

fn choices(report: &ProbeReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.candidates.len() > 1 {
        let each = report.candidates.iter().map(|candidate| {
            format!("{} {:.1} %, log loss {:.3}", candidate.backbone, 100.0 * candidate.accuracy, candidate.log_loss)
        });
        lines.push(titled(
            "Backbone",
            format!("{}, by log loss: {}", report.recipe.backbone, each.collect::<Vec<_>>().join("; ")),
        ));
    }
    let fit = &report.fit;
    let (features, penalty) = (thousands(report.features), number(fit.penalty));
    lines
        .push(titled("Head", format!("{features} features, L2 penalty {penalty}, temperature {:.2}", fit.temperature)));
    lines.push(titled("", "with the least log loss in cross-validation inside the training photos"));
    lines
}

/// What became of fine-tuning, and the option that changes it.
fn fine_tuning(report: &ProbeReport) -> String {
    match &report.fine_tuning {
        FineTuning::OverBudget { needed, budget } => {
            let needed = rounded_up(*needed);
            let cost = match needed {
                Budget::Features(multiple) => format!("cost {multiple} times the features"),
                Budget::Time(time) => format!("take about {} s here", time.as_secs()),
            };
            format!("not tried: 100 steps and their trials {cost}, the budget is {budget} (--budget {needed})")
        }
        FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, standard_error, kept, .. } => {
            let epochs = count(*epochs, "epoch");
            let losses = format!("log loss {linear_log_loss:.3} to {tuned_log_loss:.3}");
            match (kept, tuned_log_loss < linear_log_loss) {
                (true, _) => {
                    format!("kept: {epochs} of the last block improve photos that were held out of it ({losses})")
                }
                (false, true) => format!(
                    "tried for {epochs}: photos held out of it improve no more than by chance \
                     ({losses}, standard error {standard_error:.3}): it isn't kept"
                ),
                (false, false) => {
                    format!("tried for {epochs}: photos held out of it get worse ({losses}): it isn't kept")
                }
            }
        }
        FineTuning::OverMemory { needed } => {
            let needed = size(*needed as u64);
            format!(
                "not tried: the outputs of the frozen layers and copies of the last block take {needed}, more than half of the memory"
            )
        }
        FineTuning::Failed { reason } => format!("failed; the saved model is the linear classifier: {reason}"),
        FineTuning::Stopped => "stopped; the saved model is the linear classifier".to_owned(),
        FineTuning::SeveralLabels => "left out: it is for photos with one class".to_owned(),
        FineTuning::Undivided => "left out: the network can't be divided".to_owned(),
        _ => "left out (--budget 0)".to_owned(),
    }
}

/// A multiple without digits after the point, such that a budget of it is enough.
fn rounded_up(budget: Budget) -> Budget {
    match budget {
        Budget::Features(multiple) => Budget::Features(multiple.ceil()),
        time => time,
    }
}

/// A number with two significant digits or more, as people write it: `12`, `0.14`, `0.00037`.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (1.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}")
}

/// The score, and what it means.
fn score(args: &Args, report: &ProbeReport) -> Vec<String> {
    let score = &report.score;
    let folds = score.fold_accuracies.len();
    let measured = match &report.labels {
        Some(labels) => measured_labels(&labels.scores, score.log_loss),
        None => measured(score),
    };
    let mut lines = vec![
        titled("Score", measured),
        titled("", format!("{folds}-fold: each photo was classified by a head trained without its fold (--folds)")),
    ];
    if let FineTuning::Tried { folds_kept: kept @ 1.., .. } = report.fine_tuning {
        lines.push(titled(
            "",
            format!("in {kept} of {folds} folds fine-tuning was better; the score includes it there"),
        ));
    }
    lines.extend(report.labels.iter().flat_map(|labels| of_each_label(labels, &report.folder.classes)));
    if let Some(held_out) = &report.held_out {
        let (low, high) = held_out.interval;
        let photos = count(held_out.photos, "photo");
        lines.push(titled(
            "Held out",
            match &held_out.labels {
                Some(labels) => format!("{} on {photos}", measured_labels(labels, held_out.log_loss)),
                None => format!(
                    "accuracy {:.1} % (95 % interval {:.1} to {:.1} %), log loss {:.3} on {photos}",
                    100.0 * held_out.accuracy,
                    100.0 * low,
                    100.0 * high,
                    held_out.log_loss,
                ),
            },
        ));
    } else if args.validation_split.is_none() {
        lines.push(titled("", "the saved model is trained on all photos (--validation-split 0.2 holds some out)"));
    }
    lines
}

/// The scores of labels over all photos.
fn measured_labels(scores: &LabelScores, log_loss: f64) -> String {
    format!(
        "micro F1 {:.3}, macro F1 {:.3}, all labels right {:.1} % of photos, log loss {log_loss:.3} per label",
        scores.micro_f1,
        scores.macro_f1,
        100.0 * scores.subset_accuracy,
    )
}

/// Lines on F1 score and threshold of each label; the weakest come first, as they need photos most.
fn of_each_label(report: &LabelReport, classes: &[String]) -> Vec<String> {
    let mut labels: Vec<usize> = (0..classes.len()).collect();
    let f1 = |label: usize| report.scores.labels[label].f1.unwrap_or(0.0);
    labels.sort_by(|&a, &b| f1(a).total_cmp(&f1(b)));
    let shown = labels.iter().take(MAX_LABELS).map(|&label| {
        format!("{} F1 {:.2} from {:.0} % on", classes[label], f1(label), 100.0 * report.thresholds[label])
    });
    let more = match classes.len().saturating_sub(MAX_LABELS) {
        0 => String::new(),
        more => format!(", and {more} better ones"),
    };
    vec![
        titled("", "the labels of each fold were decided by thresholds that the other folds chose"),
        titled("Labels", format!("{}{more}", shown.collect::<Vec<_>>().join(", "))),
    ]
}

fn measured(score: &CrossValidation) -> String {
    let (low, high) = score.interval;
    format!(
        "accuracy {:.1} % (95 % interval {:.1} to {:.1} %), log loss {:.3}, calibration error {:.3}",
        100.0 * score.accuracy,
        100.0 * low,
        100.0 * high,
        score.log_loss,
        score.calibration_error
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_least_two_digits() {
        assert_eq!([12.43, 100.0, 0.1429, 0.000_371, 1.0].map(number), ["12", "100", "0.14", "0.00037", "1.0"]);
    }

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new("pets/m.keras")), "pets/m.keras");
        assert_eq!(quoted(Path::new("my pet's.keras")), r"'my pet'\''s.keras'");
    }
}
