//! Loss and accuracy of a model, the scores of labels, and a comparison of those in bf16 with those in f32.

use engraft::linear::LabelScore;
use engraft::prelude::*;
use engraft::train::Evaluation;
use serde_json::{Value, json};

/// Loss and accuracy on the photos of one class, or of all classes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) images: usize,
}

impl Score {
    pub(crate) fn of(found: &Evaluation) -> Self {
        let accuracy = found.get(Metric::Accuracy.name()).unwrap_or_default();
        Self { loss: found.loss, accuracy, images: found.samples }
    }
}

/// The score of a label; null where there is nothing to count.
pub(crate) fn label_to_json(score: &LabelScore) -> Value {
    let LabelScore { precision, recall, f1, support, .. } = score;
    json!({"precision": precision, "recall": recall, "f1": f1, "images": support})
}

/// Text that compares accuracy and loss in bf16 with the score `in_f32`.
pub(crate) fn change(accuracy: f64, loss: f64, in_f32: Score) -> String {
    format!(
        "in bf16; in f32 accuracy {:.1} %, loss {:.4}: bf16 changes accuracy by {:+.1} points, loss by {:+.4}",
        100.0 * in_f32.accuracy,
        in_f32.loss,
        100.0 * (accuracy - in_f32.accuracy),
        loss - in_f32.loss,
    )
}
