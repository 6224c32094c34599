//! The loss of a batch, and its gradient.

use engraft_kernels::{
    Activation, activate, binary_cross_entropy_from_probabilities, cross_entropy_from_probabilities, l1_l2_penalty,
    sigmoid_cross_entropy, softmax, softmax_cross_entropy,
};
use engraft_nn::{Head, Loss, LossKind, Program, Result};
use engraft_plan::LabelledBatch;

/// Mean loss of a batch whose last value is `values`, rows of `width`. Writes the gradient where asked: of the mean over `total`
/// samples, of which these may be a part.
///
/// As Keras does in a compiled step, the loss is taken from the input of a last softmax or sigmoid, the head: then no
/// probability can round to 0 and hide an error.
pub(crate) fn mean_loss(
    loss: &Loss,
    head: Head,
    width: usize,
    values: &[f32],
    batch: &LabelledBatch<'_>,
    total: usize,
    gradient: Option<&mut [f32]>,
) -> Result<f64> {
    let rows = values.len() / width;
    let targets = loss.dense_targets(batch.targets.data(), rows, width)?;
    let mut losses = vec![0.0; rows];
    let mut gradient = gradient;
    let from_logits = loss.is_from_logits() || head != Head::None;
    let compute = match (loss.kind(), from_logits) {
        (LossKind::BinaryCrossentropy, true) => sigmoid_cross_entropy,
        (LossKind::BinaryCrossentropy, false) => binary_cross_entropy_from_probabilities,
        (LossKind::SparseCategoricalCrossentropy, false) => sparse_cross_entropy_from_probabilities,
        (_, true) => softmax_cross_entropy,
        (_, false) => cross_entropy_from_probabilities,
    };
    compute(width, values, &targets, &mut losses, gradient.as_deref_mut());
    let weight = |row: usize| batch.sample_weights.map_or(1.0, |weights| weights[row]);
    if let Some(gradient) = gradient {
        for (row, gradient) in gradient.chunks_exact_mut(width).enumerate() {
            let share = weight(row) / total as f32;
            gradient.iter_mut().for_each(|g| *g *= share);
        }
    }
    let sum: f64 = losses.iter().enumerate().map(|(row, loss)| f64::from(loss * weight(row))).sum();
    Ok(sum / rows.max(1) as f64)
}

/// Sparse categorical cross-entropy from probabilities. Keras clips them and takes their logarithms for logits; the
/// gradient is zero where the clip holds.
fn sparse_cross_entropy_from_probabilities(
    classes: usize,
    probabilities: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    /// Keras' `backend.epsilon()`.
    const EPSILON: f32 = 1e-7;
    let logits: Vec<f32> = probabilities.iter().map(|p| p.clamp(EPSILON, 1.0 - EPSILON).ln()).collect();
    match gradient {
        None => softmax_cross_entropy(classes, &logits, targets, losses, None),
        Some(gradient) => {
            softmax_cross_entropy(classes, &logits, targets, losses, Some(&mut *gradient));
            for (gradient, p) in gradient.iter_mut().zip(probabilities) {
                *gradient = if (EPSILON..=1.0 - EPSILON).contains(p) { *gradient / p } else { 0.0 };
            }
        }
    }
}

/// The penalties of all regularised weights that are trainable.
pub(crate) fn penalty(program: &Program) -> f64 {
    let params = program.weights();
    let regularised = params.iter().filter(|p| p.trainable).filter_map(|p| Some((p, p.weight.regularizer()?)));
    regularised
        .map(|(param, regularizer)| {
            let (l1, l2) = regularizer.factors();
            l1_l2_penalty(&param.weight.values(), l1, l2)
        })
        .sum()
}

/// Applies the head to the program's last value, in place.
pub(crate) fn apply_head(head: Head, width: usize, values: &mut [f32]) {
    match head {
        Head::None => {}
        Head::Softmax => softmax(width, values),
        Head::Sigmoid => activate(Activation::Sigmoid, values),
    }
}

#[cfg(test)]
mod tests {
    use engraft_golden::relative_error;

    use super::*;

    #[test]
    fn values_and_gradients_of_keras() {
        let cases = engraft_golden::cases("losses");
        assert!(cases.len() >= 30, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let array = |key: &str| case.get(key).as_str().map(|name| arrays.get(name));
            let loss = Loss::from_keras(case.get("loss")).unwrap();
            let (outputs, targets) = (array("y_pred").unwrap(), array("y_true").unwrap());
            let batch = LabelledBatch {
                inputs: &[],
                targets,
                sample_weights: array("sample_weight").map(|weights| weights.data()),
            };
            let width = outputs.shape().last().copied().unwrap();
            let rows = outputs.data().len() / width;
            let mut gradient = vec![f32::NAN; outputs.data().len()];
            let value = mean_loss(&loss, Head::None, width, outputs.data(), &batch, rows, Some(&mut gradient)).unwrap();
            let expected = f64::from(array("value").unwrap().data()[0]);
            // Logarithms and sums in f32.
            assert!(
                (value - expected).abs() <= 1e-5 * expected.abs().max(1e-3),
                "{}: {value} for {expected}",
                case.name()
            );
            let error = relative_error(&gradient, array("gradient").unwrap().data());
            assert!(error <= 1e-5, "{}: gradient off by {error}", case.name());
        }
    }
}
