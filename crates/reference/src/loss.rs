//! Cross-entropy losses by Keras' definitions (`keras.losses`).

use std::ops::RangeInclusive;

use engraft_ir::Activation;
use engraft_nn::{Loss, LossKind, OutputActivation, Result};
use engraft_plan::{LabelledBatch, checks};

use crate::array::Array;
use crate::ops::{activate, softmax};

/// Keras' `backend.epsilon()`: probabilities are clipped to this distance from 0 and 1.
const EPSILON: f32 = 1e-7;
/// The bounds of clipped probabilities, rounded to f32 as in Keras: the upper bound is 1.2e-7 below 1, which shows in the loss.
const PROBABILITIES: RangeInclusive<f64> = EPSILON as f64..=(1.0 - EPSILON) as f64;

/// The loss of a batch and its gradient.
pub(crate) struct BatchLoss {
    /// The mean of the losses of this batch's samples, each loss multiplied by its sample weight.
    pub(crate) mean: f64,
    /// The gradient of the mean loss over the samples of all replicas, with respect to the program's output.
    pub(crate) gradient: Array,
}

/// Computes the loss of a batch from the program's output `values`. `total` is the number of samples of all replicas.
///
/// If the plan has split off a last softmax or sigmoid (`output_activation`), `values` are logits, and the loss is computed from
/// logits, as Keras does in a compiled step: a probability that has rounded to 0 would have no gradient.
pub(crate) fn batch_loss(
    loss: &Loss,
    output_activation: OutputActivation,
    values: &Array,
    batch: &LabelledBatch<'_>,
    total: usize,
) -> Result<BatchLoss> {
    let [rows, width] = values.sizes()?;
    checks::sample_weights(batch, rows)?;
    let targets = loss.dense_targets(batch.targets.data(), rows, width)?;
    let targets = Array::from_f32([rows, width], &targets);
    let from_logits = loss.is_from_logits() || output_activation != OutputActivation::None;
    let row_loss = match (loss.kind(), from_logits) {
        (LossKind::BinaryCrossentropy, true) => sigmoid_cross_entropy,
        (LossKind::BinaryCrossentropy, false) => binary_cross_entropy,
        (_, true) => softmax_cross_entropy,
        (LossKind::CategoricalCrossentropy, false) => cross_entropy,
        (LossKind::SparseCategoricalCrossentropy, false) => sparse_cross_entropy,
    };
    let (mut sum, mut gradient) = (0.0, Vec::with_capacity(rows * width));
    for (row, (x, targets)) in values.data().chunks(width).zip(targets.data().chunks(width)).enumerate() {
        let weight = batch.sample_weights.map_or(1.0, |weights| f64::from(weights[row]));
        let (loss, slopes) = row_loss(x, targets);
        sum += weight * loss;
        gradient.extend(slopes.iter().map(|slope| weight * slope / total as f64));
    }
    Ok(BatchLoss { mean: sum / rows.max(1) as f64, gradient: Array::new([rows, width], gradient) })
}

/// Applies the split-off last activation to the program's output, which gives the model's output.
pub(crate) fn apply_output_activation(output_activation: OutputActivation, values: &Array) -> Array {
    match output_activation {
        OutputActivation::None => values.clone(),
        OutputActivation::Softmax => softmax(values),
        OutputActivation::Sigmoid => values.map(|x| activate(Activation::Sigmoid, x)),
    }
}

/// The loss of one row of logits, `-sum(target * ln(softmax(x)))`, and its gradient.
///
/// The gradient is `softmax(x) - target`, as in TensorFlow, which is exact only for targets that sum to 1.
fn softmax_cross_entropy(x: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
    let greatest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - greatest).exp()).sum();
    let loss = x.iter().zip(targets).map(|(x, target)| target * (sum.ln() - (x - greatest))).sum();
    let slope = |(x, target): (&f64, &f64)| (x - greatest).exp() / sum - target;
    (loss, x.iter().zip(targets).map(slope).collect())
}

/// The mean of `-target * ln(p) - (1 - target) * ln(1 - p)` with `p = sigmoid(x)`, in a form that can't overflow, and its
/// gradient.
fn sigmoid_cross_entropy(x: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
    let count = x.len() as f64;
    let loss = |(&x, target): (&f64, &f64)| activate(Activation::Softplus, x) - x * target;
    let slope = |(&x, target): (&f64, &f64)| (activate(Activation::Sigmoid, x) - target) / count;
    let pairs = || x.iter().zip(targets);
    (pairs().map(loss).sum::<f64>() / count, pairs().map(slope).collect())
}

/// The loss `-sum(target * ln(q))`, where `q` are the probabilities divided by their sum and clipped, and its gradient.
fn cross_entropy(probabilities: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
    let sum: f64 = probabilities.iter().sum();
    let shares: Vec<f64> = probabilities.iter().map(|p| p / sum).collect();
    let pairs = || shares.iter().zip(targets);
    let loss = -pairs().map(|(share, target)| target * clip(*share).ln()).sum::<f64>();
    let slopes: Vec<f64> = pairs().map(|(share, target)| -target * clip_slope(*share) / clip(*share)).collect();
    // d share_i / d p_j = ([i = j] - share_i) / sum
    let through_sum: f64 = slopes.iter().zip(&shares).map(|(slope, share)| slope * share).sum();
    (loss, slopes.iter().map(|slope| (slope - through_sum) / sum).collect())
}

/// The softmax cross-entropy of `ln(clip(p))` as logits, and its gradient, as Keras' sparse loss computes it from probabilities.
fn sparse_cross_entropy(probabilities: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
    let logits: Vec<f64> = probabilities.iter().map(|&p| clip(p).ln()).collect();
    let (loss, slopes) = softmax_cross_entropy(&logits, targets);
    (loss, slopes.iter().zip(probabilities).map(|(slope, &p)| slope * clip_slope(p) / clip(p)).collect())
}

/// The mean of `-target * ln(p) - (1 - target) * ln(1 - p)` over clipped probabilities `p`, and its gradient.
fn binary_cross_entropy(probabilities: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
    let count = probabilities.len() as f64;
    let loss = |(&p, target): (&f64, &f64)| -target * clip(p).ln() - (1.0 - target) * (1.0 - clip(p)).ln();
    let slope =
        |(&p, target): (&f64, &f64)| clip_slope(p) * ((1.0 - target) / (1.0 - clip(p)) - target / clip(p)) / count;
    let pairs = || probabilities.iter().zip(targets);
    (pairs().map(loss).sum::<f64>() / count, pairs().map(slope).collect())
}

fn clip(p: f64) -> f64 {
    p.clamp(*PROBABILITIES.start(), *PROBABILITIES.end())
}

/// The derivative of [`clip`]: 1 within the bounds, 0 outside.
fn clip_slope(p: f64) -> f64 {
    f64::from(PROBABILITIES.contains(&p))
}

#[cfg(test)]
mod tests {
    use engraft_golden::relative_error;
    use engraft_nn::Tensor;

    use super::*;
    use crate::testing::{STEP, random};

    #[test]
    fn values_and_gradients_of_keras() {
        let cases = engraft_golden::cases("losses");
        assert!(cases.len() >= 30, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let array = |key: &str| case.get(key).as_str().map(|name| arrays.get(name));
            let loss = Loss::from_keras(case.get("loss")).unwrap();
            let (outputs, targets) = (array("y_pred").unwrap(), array("y_true").unwrap());
            let sample_weights = array("sample_weight").map(|weights| weights.data());
            let batch = LabelledBatch::new(&[], targets).sample_weights(sample_weights);
            let values = Array::from_f32(outputs.shape(), outputs.data()).as_rows();
            let found = batch_loss(&loss, OutputActivation::None, &values, &batch, values.shape()[0]).unwrap();
            let expected = f64::from(array("value").unwrap().data()[0]);
            // The tolerance allows for Keras' logarithms and sums, which are in f32.
            let allowed = 1e-5 * expected.abs().max(1e-3);
            assert!((found.mean - expected).abs() <= allowed, "{}: {} for {expected}", case.name(), found.mean);
            let error = relative_error(&found.gradient.to_f32(), array("gradient").unwrap().data());
            assert!(error <= 1e-5, "{}: gradient off by {error}", case.name());
        }
    }

    #[test]
    fn gradients_are_those_of_the_mean_over_all_replicas() {
        let weights = [0.5, 2.0, 1.0];
        for (loss, output_activation, classes) in [
            (Loss::categorical_crossentropy().label_smoothing(0.1), OutputActivation::Softmax, false),
            (Loss::categorical_crossentropy(), OutputActivation::None, false),
            (Loss::sparse_categorical_crossentropy().from_logits(true), OutputActivation::None, true),
            (Loss::sparse_categorical_crossentropy(), OutputActivation::None, true),
            (Loss::binary_crossentropy(), OutputActivation::Sigmoid, false),
            (Loss::binary_crossentropy().label_smoothing(0.2), OutputActivation::None, false),
        ] {
            let targets = match classes {
                true => Tensor::new([3, 1], vec![1.0, 0.0, 3.0]).unwrap(),
                false => softmax(&random(&[3, 4], 7)).to_tensor().unwrap(),
            };
            let batch = LabelledBatch::new(&[], &targets).sample_weights(Some(&weights));
            // Values between 0.1 and 0.9 are valid probabilities as well as logits.
            let values = random(&[3, 4], 8).map(|x| 0.1 + 0.8 / (1.0 + x.exp()));
            let evaluate = |values: &Array| batch_loss(&loss, output_activation, values, &batch, 6).unwrap();
            for i in 0..values.data().len() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved.data_mut()[i] += step;
                    evaluate(&moved).mean
                };
                // `mean` is over the three samples of this batch. `gradient` is for the mean over all six of the replicas.
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP) * 3.0 / 6.0;
                let gradient = evaluate(&values).gradient.data()[i];
                assert!((gradient - difference).abs() < 1e-8, "{loss:?}: {gradient}, differences say {difference}");
            }
        }
    }
}
