//! What the default recipe of `engraft train` prints: what it will do, what it chose and why, the score, what to do next.

use std::path::Path;

use engraft::data::{Photo, PhotoFolder};
use engraft::linear::CrossValidation;
use engraft::recipe::{FineTuning, ProbeReport, Recipe};
use serde_json::{Value, json};

use crate::cache::size;
use crate::output::{count, thousands, titled};
use crate::photos::{by_class, skipped_note};
use crate::train::Args;
use crate::train::overview::weights_name;

/// The lines before training.
pub(super) fn overview(args: &Args, folder: &PhotoFolder, held_out: &[Photo], recipes: &[Recipe]) -> Vec<String> {
    let by_class: Vec<String> = by_class(folder).iter().map(|(class, photos)| format!("{class} {photos}")).collect();
    let photos = count(folder.photos.len() + held_out.len(), "photo");
    let mut lines =
        vec![titled("Photos", format!("{photos} of {} classes{}", folder.classes.len(), skipped_note(folder)))];
    lines.push(match held_out.len() {
        0 => titled("", by_class.join(", ")),
        held_out => {
            titled("", format!("{} for training ({}), {held_out} held out", folder.photos.len(), by_class.join(", ")))
        }
    });
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

/// The threshold of "unknown" and its price; none where no answer was right.
fn unknown(report: &ProbeReport) -> Option<String> {
    let (unknown, photos) = (&report.unknown, report.score.fold_of_sample.len() as f64);
    let right = (report.score.accuracy * photos).round();
    let wrong = photos - right;
    unknown.threshold.is_finite().then(|| {
        let reason = match unknown.weight {
            0.0 => "an unsure answer is",
            _ => "photos between the classes or far from all of them are",
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
pub(super) fn to_json(report: &ProbeReport) -> Value {
    let (score, fit, unknown) = (&report.score, &report.fit, &report.unknown);
    let mut json = json!({
        "recipe": "linear probe",
        "backbone": report.recipe.backbone,
        "image_size": report.recipe.image_size,
        "photos": report.folder.photos.len(),
        "classes": report.folder.classes,
        "skipped": report.folder.skipped.len(),
        "features": report.features,
        "penalty": fit.penalty,
        "temperature": fit.temperature,
        "score": {
            "folds": score.fold_accuracies.len(),
            "accuracy": score.accuracy,
            "interval": [score.interval.0, score.interval.1],
            "fold_accuracies": score.fold_accuracies,
            "log_loss": score.log_loss,
            "calibration_error": score.calibration_error,
        },
        "unknown": { "right_lost": unknown.right_lost, "wrong_caught": unknown.wrong_caught },
    });
    json["fine_tuning"] = match report.fine_tuning {
        FineTuning::OverBudget { needed, budget } => {
            json!({ "kept": false, "tried": false, "needs": needed, "budget": budget })
        }
        FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, folds_kept, kept } => json!({
            "kept": kept,
            "tried": true,
            "epochs": epochs,
            "linear_log_loss": linear_log_loss,
            "tuned_log_loss": tuned_log_loss,
            "folds_kept": folds_kept,
        }),
        _ => json!({ "kept": false, "tried": false }),
    };
    if let Some(held_out) = &report.held_out {
        json["held_out"] = json!({
            "photos": held_out.photos,
            "accuracy": held_out.accuracy,
            "interval": [held_out.interval.0, held_out.interval.1],
            "log_loss": held_out.log_loss,
        });
    }
    json
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
    match report.fine_tuning {
        FineTuning::OverBudget { needed, budget } => {
            let (needed, budget) = (needed.ceil(), number(budget));
            format!("not tried: 100 steps in each fold cost {needed}x the features, the budget is {budget}x (--budget)")
        }
        FineTuning::OverMemory { needed } => {
            format!(
                "not tried: the values below the last block take {}, more than half of the memory",
                size(needed as u64)
            )
        }
        FineTuning::Stopped => "stopped; the saved model is the linear classifier".to_owned(),
        FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, folds_kept, kept } => {
            let verdict = if kept { "kept" } else { "tried and not kept" };
            let epochs = count(epochs, "epoch");
            let folds = report.score.fold_accuracies.len();
            format!(
                "{verdict}: {epochs} of the last block change the log loss on held-out photos from {linear_log_loss:.3} to {tuned_log_loss:.3}; kept in {folds_kept} of {folds} folds (--budget)"
            )
        }
        _ => "left out (--budget 10x)".to_owned(),
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
    let mut lines = vec![
        titled("Score", measured(score)),
        titled("", format!("{folds}-fold: each photo was classified by a head trained without its fold (--folds)")),
    ];
    if let Some(held_out) = &report.held_out {
        let (low, high) = held_out.interval;
        lines.push(titled(
            "Held out",
            format!(
                "accuracy {:.1} % (95 % interval {:.1} to {:.1} %), log loss {:.3} on {}",
                100.0 * held_out.accuracy,
                100.0 * low,
                100.0 * high,
                held_out.log_loss,
                count(held_out.photos, "photo")
            ),
        ));
    } else if args.validation_split.is_none() {
        lines.push(titled("", "the saved model is trained on all photos (--validation-split 0.2 holds some out)"));
    }
    lines
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
