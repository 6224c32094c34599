//! Quality of predicted probabilities: accuracy, log loss, expected calibration error, Brier score. The temperature that calibrates
//! them.

use crate::error::{LinearError, Result};
use crate::labels::Labels;
use crate::options::ClassWeights;
use crate::targets::Targets;
use crate::temperature::{self, Scored};

/// Probabilities are clipped to this distance from 0 and 1, so that one sure wrong answer doesn't make a log loss infinite.
const CLIP: f64 = 1e-7;

/// Share of samples whose most probable class is right; with several labels, share of labels on the right side of 0.5.
///
/// Of equally probable classes, the first is the answer. `probabilities` is `[samples, classes]`, row-major.
///
/// # Errors
/// The number of probabilities isn't `samples * classes`.
///
/// ```
/// use engraft_linear::{Labels, calibration::accuracy};
/// let labels = Labels::single(&[0, 1, 1], 2)?;
/// assert_eq!(accuracy(&[0.7, 0.3, 0.2, 0.8, 0.6, 0.4], &labels)?, 2.0 / 3.0);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn accuracy(probabilities: &[f32], labels: &Labels) -> Result<f64> {
    check(probabilities, labels)?;
    Ok(share_of_right_answers(probabilities, labels, 0.5))
}

/// As [`accuracy`], for scores of any kind: with several labels, a score of more than `threshold` is a yes.
pub(crate) fn share_of_right_answers<T: Copy + PartialOrd>(scores: &[T], labels: &Labels, threshold: T) -> f64 {
    let classes = labels.classes();
    let right = |(sample, row): (usize, &[T])| match labels.class_of(sample) {
        Some(class) => usize::from(largest(row) == class),
        None => {
            row.iter().enumerate().filter(|&(label, &score)| (score > threshold) == labels.has(sample, label)).count()
        }
    };
    let answers = if labels.is_multi() { scores.len() } else { labels.samples() };
    scores.chunks_exact(classes).enumerate().map(right).sum::<usize>() as f64 / answers.max(1) as f64
}

/// Index of the largest value; the first of equals.
pub(crate) fn largest<T: Copy + PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// Mean negative logarithm of the probability of the right class; with several labels, mean binary cross-entropy over samples and
/// labels, as Keras' `binary_crossentropy`. Probabilities are clipped to 1e-7.
///
/// # Errors
/// The number of probabilities isn't `samples * classes`.
///
/// ```
/// use engraft_linear::{Labels, calibration::log_loss};
/// let labels = Labels::single(&[0, 1], 2)?;
/// assert!((log_loss(&[0.5, 0.5, 0.75, 0.25], &labels)? - (2.0f64.ln() + 4.0f64.ln()) / 2.0).abs() < 1e-9);
/// assert!((log_loss(&[0.0, 1.0, 0.0, 1.0], &labels)? - 1e7f64.ln() / 2.0).abs() < 1e-6);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn log_loss(probabilities: &[f32], labels: &Labels) -> Result<f64> {
    let loss = |probability: f64| -probability.clamp(CLIP, 1.0 - CLIP).ln();
    mean(
        probabilities,
        labels,
        |row, class| loss(row[class].into()),
        |probability, has| loss(if has { probability } else { 1.0 - probability }),
    )
}

/// Mean binary cross-entropy of probabilities that bits are true, as Keras' `binary_crossentropy`. Probabilities are clipped to
/// 1e-7. It is the [`log_loss`] of several labels, also where no sample has one of the labels; 0 without probabilities.
///
/// # Errors
/// The numbers of probabilities and bits differ.
///
/// ```
/// use engraft_linear::calibration::binary_log_loss;
/// let loss = binary_log_loss(&[0.5, 0.25], &[true, false])?;
/// assert!((loss - (2.0f64.ln() + (4.0f64 / 3.0).ln()) / 2.0).abs() < 1e-9);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn binary_log_loss(probabilities: &[f32], truth: &[bool]) -> Result<f64> {
    if probabilities.len() != truth.len() {
        let (expected, received) = (truth.len(), probabilities.len());
        return Err(LinearError::Size { place: "probabilities", expected, received });
    }
    let loss = |(&probability, &truth): (&f32, &bool)| {
        let right = if truth { f64::from(probability) } else { 1.0 - f64::from(probability) };
        -right.clamp(CLIP, 1.0 - CLIP).ln()
    };
    Ok(probabilities.iter().zip(truth).map(loss).sum::<f64>() / truth.len().max(1) as f64)
}

/// Mean squared distance of the probabilities from 1 for the right class and 0 for the others (Brier 1950), summed over classes;
/// with several labels, mean over samples and labels.
///
/// # Errors
/// The number of probabilities isn't `samples * classes`.
///
/// ```
/// use engraft_linear::{Labels, calibration::brier};
/// let labels = Labels::single(&[0, 1], 2)?;
/// assert_eq!(brier(&[1.0, 0.0, 0.5, 0.5], &labels)?, 0.25);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn brier(probabilities: &[f32], labels: &Labels) -> Result<f64> {
    let square = |probability: f64, has: bool| (probability - f64::from(u8::from(has))).powi(2);
    let row = |row: &[f32], class: usize| row.iter().enumerate().map(|(at, &p)| square(p.into(), at == class)).sum();
    mean(probabilities, labels, row, square)
}

/// The mean of `of_row` over samples with one class, or of `of_label` over samples and labels.
fn mean(
    probabilities: &[f32],
    labels: &Labels,
    of_row: impl Fn(&[f32], usize) -> f64,
    of_label: impl Fn(f64, bool) -> f64,
) -> Result<f64> {
    check(probabilities, labels)?;
    let sum_of_row = |(sample, row): (usize, &[f32])| match labels.class_of(sample) {
        Some(class) => of_row(row, class),
        None => row
            .iter()
            .enumerate()
            .map(|(label, &probability)| of_label(probability.into(), labels.has(sample, label)))
            .sum(),
    };
    let sum: f64 = probabilities.chunks_exact(labels.classes()).enumerate().map(sum_of_row).sum();
    Ok(sum / if labels.is_multi() { probabilities.len() } else { labels.samples() } as f64)
}

/// Expected calibration error: mean distance of confidence and accuracy over bins of equal count (Nguyen and O'Connor 2015, arXiv
/// 1508.05154).
///
/// The confidence is the largest probability of a sample. With several labels, it is the probability of each label, and the
/// accuracy is the share of samples that have it.
///
/// # Errors
/// The number of probabilities isn't `samples * classes`, or `bins` is 0.
///
/// ```
/// use engraft_linear::{Labels, calibration::expected_calibration_error};
/// // Confidence 0.8 twice, right once.
/// let labels = Labels::single(&[0, 1], 2)?;
/// let error = expected_calibration_error(&[0.8, 0.2, 0.8, 0.2], &labels, 1)?;
/// assert!((error - 0.3).abs() < 1e-6);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn expected_calibration_error(probabilities: &[f32], labels: &Labels, bins: usize) -> Result<f64> {
    check(probabilities, labels)?;
    let answer = |(sample, row): (usize, &[f32])| -> Vec<(f32, bool)> {
        match labels.class_of(sample) {
            Some(class) => {
                let best = largest(row);
                vec![(row[best], best == class)]
            }
            None => {
                row.iter().enumerate().map(|(label, &probability)| (probability, labels.has(sample, label))).collect()
            }
        }
    };
    let (confidences, right): (Vec<f32>, Vec<bool>) =
        probabilities.chunks_exact(labels.classes()).enumerate().flat_map(answer).unzip();
    calibration_error(&confidences, &right, bins)
}

/// Expected calibration error of answers from anywhere, for example of several data sets together.
///
/// # Errors
/// The lengths differ, or `bins` is 0.
///
/// ```
/// use engraft_linear::calibration::calibration_error;
/// let error = calibration_error(&[0.6, 0.9, 0.6, 0.9], &[false, true, true, true], 2)?;
/// assert!((error - 0.1).abs() < 1e-6);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn calibration_error(confidences: &[f32], right: &[bool], bins: usize) -> Result<f64> {
    if right.len() != confidences.len() {
        return Err(LinearError::Size { place: "answers", expected: confidences.len(), received: right.len() });
    }
    if bins == 0 {
        return Err(LinearError::Range { place: "bins", expected: "at least 1", received: 0.0 });
    }
    let mut order: Vec<usize> = (0..right.len()).collect();
    order.sort_by(|&a, &b| confidences[a].total_cmp(&confidences[b]));
    let edge = |bin: usize| bin * order.len() / bins;
    let gap = |bin: usize| {
        let difference = |&at: &usize| f64::from(confidences[at]) - f64::from(u8::from(right[at]));
        order[edge(bin)..edge(bin + 1)].iter().map(difference).sum::<f64>().abs()
    };
    Ok((0..bins).map(gap).sum::<f64>() / order.len().max(1) as f64)
}

/// The factor of logits that calibrates them, and the log loss with it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Calibrated {
    /// The factor of the logits: 1 / temperature in the terms of Guo et al.
    pub temperature: f64,
    /// Mean log loss with it, against slightly smoothed labels, so that a few right answers don't ask for an infinite factor.
    pub log_loss: f64,
}

/// The factor of held-out logits that minimises their log loss (Guo et al. 2017, arXiv 1706.04599).
///
/// `logits` is `[samples, classes]`, row-major. Logarithms of the probabilities of a softmax will do as well.
///
/// # Errors
/// The number of logits isn't `samples * classes`.
///
/// ```
/// use engraft_linear::{Labels, calibration::calibrate};
/// // Logits of 4 are right in three of four samples, which is a probability of 0.75 and a logit of 1.1.
/// let labels = Labels::single(&[0, 0, 0, 1].repeat(100), 2)?;
/// let found = calibrate(&[4.0, 0.0].repeat(400), &labels)?;
/// assert!((4.0 * found.temperature - 3.0f64.ln()).abs() < 0.03);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn calibrate(logits: &[f32], labels: &Labels) -> Result<Calibrated> {
    check(logits, labels)?;
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let rows: Vec<usize> = (0..labels.samples()).collect();
    let targets = Targets::of(labels, &rows, ClassWeights::None);
    let weights = vec![1.0; logits.len()];
    let found = temperature::fit(&Scored { logits: &logits, weights: &weights, targets: &targets });
    Ok(found.map_or(Calibrated { temperature: 1.0, log_loss: 0.0 }, |found| Calibrated {
        temperature: found.scale,
        log_loss: found.log_loss,
    }))
}

/// An error if the number of probabilities isn't that of samples times classes.
pub(crate) fn check(probabilities: &[f32], labels: &Labels) -> Result<()> {
    let (expected, received) = (labels.samples() * labels.classes(), probabilities.len());
    if received == expected { Ok(()) } else { Err(LinearError::Size { place: "probabilities", expected, received }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_ir::random::Rng;

    #[test]
    fn answers_as_sure_as_they_are_right_have_no_error() {
        let mut rng = Rng::new(3);
        let confidences: Vec<f32> = (0..20_000).map(|_| rng.uniform(0.5, 1.0)).collect();
        let calibrated: Vec<bool> = confidences.iter().map(|&confidence| rng.unit() < f64::from(confidence)).collect();
        assert!(calibration_error(&confidences, &calibrated, 10).unwrap() < 0.015);
        let sure: Vec<f32> = confidences.iter().map(|confidence| (confidence + 0.1).min(1.0)).collect();
        assert!(calibration_error(&sure, &calibrated, 10).unwrap() > 0.08);
    }

    #[test]
    fn bins_have_equal_counts() {
        // Ten answers in three bins: 3, 3 and 4 answers.
        let confidences: Vec<f32> = (0..10).map(|at| at as f32 / 10.0).collect();
        let right: Vec<bool> = (0..10).map(|at| at >= 6).collect();
        let expected = (0.3 + 1.2 + (4.0 - 3.0)) / 10.0;
        assert!((calibration_error(&confidences, &right, 3).unwrap() - expected).abs() < 1e-6);
        assert_eq!(calibration_error(&[], &[], 3), Ok(0.0));
        assert!(calibration_error(&[0.5], &[], 3).is_err() && calibration_error(&[], &[], 0).is_err());
    }

    #[test]
    fn several_labels_are_scored_each() {
        let labels = Labels::multi(&[true, false, true, true], 2).unwrap();
        let probabilities = [0.9, 0.2, 0.4, 0.8];
        let expected = -(0.9f64.ln() + 0.8f64.ln() + 0.4f64.ln() + 0.8f64.ln()) / 4.0;
        assert!((log_loss(&probabilities, &labels).unwrap() - expected).abs() < 1e-6);
        assert!((brier(&probabilities, &labels).unwrap() - (0.01 + 0.04 + 0.36 + 0.04) / 4.0).abs() < 1e-6);
        assert_eq!(binary_log_loss(&probabilities, &[true, false, true, true]), log_loss(&probabilities, &labels));
        assert_eq!(accuracy(&probabilities, &labels).unwrap(), 0.75);
        let error = expected_calibration_error(&probabilities, &labels, 1).unwrap();
        assert!((error - (2.3f64 - 3.0).abs() / 4.0).abs() < 1e-6, "{error}");
    }

    #[test]
    fn another_number_of_probabilities_is_refused() {
        let labels = Labels::single(&[0, 1], 2).unwrap();
        let error = LinearError::Size { place: "probabilities", expected: 4, received: 3 };
        assert_eq!(accuracy(&[0.1; 3], &labels), Err(error.clone()));
        assert_eq!(log_loss(&[0.1; 3], &labels), Err(error.clone()));
        assert_eq!(expected_calibration_error(&[0.1; 3], &labels, 10), Err(error));
    }
}
