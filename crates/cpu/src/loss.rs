//! The loss of a batch, its gradient, the penalties of regularizers, and the output activation that the plan split off.

use engraft_kernels::{
    Activation, activate, binary_cross_entropy_from_probabilities, cross_entropy_from_probabilities, l1_l2_penalty,
    orthogonal_penalty, sigmoid_cross_entropy, softmax, softmax_cross_entropy,
};
use engraft_nn::{Loss, LossKind, OrthogonalMode, OutputActivation, Program, Regularizer, Result};
use engraft_plan::LabelledBatch;

/// Mean loss of a batch, without penalties. `values` are the program's output, in rows of `width`.
///
/// If `gradient` is given, writes the gradient with respect to `values` into it. The gradient is that of the mean over `total`
/// samples, which are the samples of all replicas. The returned loss is the mean over this batch alone.
///
/// If the plan split off an output activation, `values` are logits. Keras computes the loss from logits in a compiled step, too:
/// a probability that has rounded to 0 or 1 would have no gradient, however wrong the prediction is.
pub(crate) fn mean_loss(
    loss: &Loss,
    output_activation: OutputActivation,
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
    let from_logits = loss.is_from_logits() || output_activation != OutputActivation::None;
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

/// Sparse categorical cross-entropy from probabilities, as Keras' TensorFlow backend computes it.
///
/// Keras clips the probabilities and uses their logarithms as logits. The gradient is zero where a probability is clipped.
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

/// The sum of the penalties of all trainable weights with a regularizer.
pub(crate) fn penalty(program: &Program) -> f64 {
    let params = program.weights();
    let regularized = params.iter().filter(|p| p.trainable).filter_map(|p| Some((p, p.weight.regularizer()?)));
    regularized
        .map(|(param, regularizer)| match (regularizer, param.weight.shape()) {
            (Regularizer::Orthogonal { factor, mode }, &[rows, columns]) => {
                let by_columns = *mode == OrthogonalMode::Columns;
                f64::from(*factor) * orthogonal_penalty(&param.weight.values(), [rows, columns], by_columns)
            }
            _ => {
                let (l1, l2) = regularizer.factors();
                l1_l2_penalty(&param.weight.values(), l1, l2)
            }
        })
        .sum()
}

/// Applies the output activation that the plan split off to the program's last value, in place.
pub(crate) fn apply_output_activation(output_activation: OutputActivation, width: usize, values: &mut [f32]) {
    match output_activation {
        OutputActivation::None => {}
        OutputActivation::Softmax => softmax(width, values),
        OutputActivation::Sigmoid => activate(Activation::Sigmoid, values),
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
            let value =
                mean_loss(&loss, OutputActivation::None, width, outputs.data(), &batch, rows, Some(&mut gradient))
                    .unwrap();
            let expected = f64::from(array("value").unwrap().data()[0]);
            // The tolerance of 1e-5 allows for logarithms and sums that are rounded to f32.
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
