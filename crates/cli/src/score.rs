//! Loss and accuracy on photos, and what computing in bf16 changes in them.

use engraft::prelude::*;
use engraft::train::Evaluation;

/// What was found of one class, or of all.
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

/// What bf16 has changed.
pub(crate) fn change(accuracy: f64, loss: f64, in_f32: Score) -> String {
    format!(
        "in bf16; in f32 accuracy {:.1} %, loss {:.4}: bf16 changes accuracy by {:+.1} points, loss by {:+.4}",
        100.0 * in_f32.accuracy,
        in_f32.loss,
        100.0 * (accuracy - in_f32.accuracy),
        loss - in_f32.loss,
    )
}
