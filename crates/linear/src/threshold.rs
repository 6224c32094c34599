//! Decision thresholds: the minimum probability of a known answer, and the minimum probability of each label of a sample.

use crate::calibration::{check, largest};
use crate::error::{LinearError, Result};
use crate::labels::Labels;

/// The rule of "unknown" answers, with the shares of right and wrong answers that it rejects.
///
/// The score of an answer is [`log_odds`] plus `weight` times the cosine of [`ClassMeans`](crate::ClassMeans). An answer is
/// "unknown" if its score is below `threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unknown {
    /// How much the cosine counts; 0 if it doesn't.
    pub weight: f32,
    /// Answers with a score below this are "unknown". Minus infinity without right answers: none is "unknown".
    pub threshold: f32,
    /// Share of the right answers that become "unknown".
    pub right_lost: f64,
    /// Share of the wrong answers that become "unknown".
    pub wrong_caught: f64,
}

impl Unknown {
    /// The score of an answer.
    ///
    /// ```
    /// use engraft_linear::{Labels, threshold::unknown};
    /// let labels = Labels::single(&[0, 1], 2)?;
    /// let found = unknown(&[0.8, 0.2, 0.2, 0.8], None, &labels, 0.95)?;
    /// assert!((found.score(&[0.8, 0.2], 0.3) - 4.0f32.ln()).abs() < 1e-6);
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    pub fn score(&self, probabilities: &[f32], cosine: f32) -> f32 {
        log_odds(probabilities) + self.weight * cosine
    }
}

/// The logarithm of the largest probability over the sum of the others.
///
/// ```
/// use engraft_linear::threshold::log_odds;
/// assert!((log_odds(&[0.1, 0.75, 0.15]) - 3.0f32.ln()).abs() < 1e-6);
/// assert!(log_odds(&[1.0, 0.0]).is_finite());
/// ```
pub fn log_odds(probabilities: &[f32]) -> f32 {
    let best = largest(probabilities);
    let sum_of = |keep: &dyn Fn(usize) -> bool| -> f64 {
        probabilities.iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, &p)| f64::from(p)).sum()
    };
    // 1 - p would be 0 for an answer of which f32 can't be more sure, and the sum of the others may be.
    let others = sum_of(&|at| at != best).max(f64::from(f32::MIN_POSITIVE));
    (sum_of(&|at| at == best).max(f64::from(f32::MIN_POSITIVE)).ln() - others.ln()) as f32
}

/// The largest threshold that keeps the share `keep` of the right answers, for example 0.99.
///
/// `probabilities` is `[samples, classes]`, row-major; take those of [`cross_validate`](crate::cross_validate()), since probabilities of
/// training samples are too high. `cosines` are those of [`ClassMeans`](crate::ClassMeans) without the sample's fold; `None` to go by
/// the probabilities alone. The weight gives log-odds and cosine the same standard deviation over the right answers.
///
/// # Errors
/// Samples have several labels, the number of probabilities isn't `samples * classes`, that of cosines isn't `samples`, or `keep`
/// isn't between 0 and 1.
///
/// ```
/// use engraft_linear::{Labels, threshold::unknown};
/// let labels = Labels::single(&[0, 1, 1], 2)?;
/// // Right with 0.9 and 0.8, wrong with 0.6.
/// let found = unknown(&[0.9, 0.1, 0.2, 0.8, 0.6, 0.4], None, &labels, 0.95)?;
/// assert!((found.threshold - 4.0f32.ln()).abs() < 1e-6);
/// assert_eq!((found.right_lost, found.wrong_caught), (0.0, 1.0));
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn unknown(probabilities: &[f32], cosines: Option<&[f32]>, labels: &Labels, keep: f64) -> Result<Unknown> {
    check(probabilities, labels)?;
    if labels.is_multi() {
        return Err(LinearError::Kind {
            place: "threshold of \"unknown\"",
            expected: "labels with one class a sample",
        });
    }
    if let Some(cosines) = cosines.filter(|cosines| cosines.len() != labels.samples()) {
        return Err(LinearError::Size { place: "cosines", expected: labels.samples(), received: cosines.len() });
    }
    if !(0.0..=1.0).contains(&keep) {
        return Err(LinearError::Range { place: "keep", expected: "a share from 0 to 1", received: keep });
    }
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for (sample, row) in probabilities.chunks_exact(labels.classes()).enumerate() {
        let answer = (log_odds(row), cosines.map_or(0.0, |cosines| cosines[sample]));
        if labels.has(sample, largest(row)) { right.push(answer) } else { wrong.push(answer) }
    }
    let weight = weight(&right);
    let scores = |answers: &[(f32, f32)]| -> Vec<f32> {
        answers.iter().map(|(log_odds, cosine)| log_odds + weight * cosine).collect()
    };
    let (mut right, wrong) = (scores(&right), scores(&wrong));
    right.sort_by(|a, b| b.total_cmp(a));
    // Rounding must not ask for one answer more than the share.
    let kept = (keep * right.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    let threshold = right.get(kept - 1).copied().unwrap_or(f32::NEG_INFINITY);
    let share_below =
        |scores: &[f32]| scores.iter().filter(|&&score| score < threshold).count() as f64 / scores.len().max(1) as f64;
    Ok(Unknown { weight, threshold, right_lost: share_below(&right), wrong_caught: share_below(&wrong) })
}

/// The ratio of the standard deviations of log-odds and cosine; 0 where the cosine is always the same.
fn weight(answers: &[(f32, f32)]) -> f32 {
    let deviation = |of: &dyn Fn(&(f32, f32)) -> f32| {
        let values: Vec<f64> = answers.iter().map(|answer| f64::from(of(answer))).collect();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
    };
    let (log_odds, cosine) = (deviation(&|answer| answer.0), deviation(&|answer| answer.1));
    if cosine > f64::from(f32::EPSILON) { (log_odds / cosine) as f32 } else { 0.0 }
}

/// The decision threshold of one label, chosen for the largest F1 score.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LabelThreshold {
    /// A sample has the label if its probability is at least this.
    pub threshold: f32,
    /// The F1 score with this threshold; `None` for a label that no sample has.
    pub f1: Option<f64>,
}

/// The threshold of each label with the largest F1 score: the harmonic mean of precision and recall.
///
/// `probabilities` is `[samples, labels]`, row-major; take those of [`cross_validate`](crate::cross_validate()). A threshold lies midway
/// between the probabilities that it separates. It is 0.5 for a label that no sample has.
///
/// # Errors
/// Samples have one class each, or the number of probabilities isn't `samples * labels`.
///
/// ```
/// use engraft_linear::{Labels, threshold::per_label};
/// let labels = Labels::multi(&[true, true, false], 1)?;
/// let found = per_label(&[0.9, 0.4, 0.2], &labels)?;
/// assert!((found[0].threshold - 0.3).abs() < 1e-6 && found[0].f1 == Some(1.0));
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn per_label(probabilities: &[f32], labels: &Labels) -> Result<Vec<LabelThreshold>> {
    check(probabilities, labels)?;
    if !labels.is_multi() {
        return Err(LinearError::Kind { place: "thresholds of labels", expected: "several labels a sample" });
    }
    let answers = |label: usize| {
        let of_sample = |sample: usize| (probabilities[sample * labels.classes() + label], labels.has(sample, label));
        (0..labels.samples()).map(of_sample).collect::<Vec<_>>()
    };
    Ok((0..labels.classes()).map(|label| best_f1(answers(label))).collect())
}

/// Decides on the labels of each sample by thresholds that are [chosen](per_label) on the samples of all other folds.
///
/// So the labels of a sample have no part in the thresholds that decide on it, and a score of the decisions isn't better for the
/// choice. `probabilities` and `fold_of_sample` are those of a [`CrossValidation`](crate::CrossValidation). The decisions are
/// row-major bits `[samples, labels]`.
///
/// # Errors
/// Those of [`per_label`], or the number of folds' samples isn't that of `labels`.
///
/// ```
/// use engraft_linear::{Labels, threshold::out_of_fold};
/// let labels = Labels::multi(&[true, true, false, true, true, false], 1)?;
/// // In each fold, a threshold between 0.2 and 0.4 separates the samples with the label from the others.
/// let decisions = out_of_fold(&[0.9, 0.4, 0.2, 0.4, 0.9, 0.2], &labels, &[0, 0, 0, 1, 1, 1])?;
/// assert_eq!(decisions, [true, true, false, true, true, false]);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn out_of_fold(probabilities: &[f32], labels: &Labels, fold_of_sample: &[usize]) -> Result<Vec<bool>> {
    check(probabilities, labels)?;
    labels.check_samples(fold_of_sample.len())?;
    let mut decisions = vec![false; probabilities.len()];
    let folds = fold_of_sample.iter().max().map_or(0, |last| last + 1);
    let row = |sample: usize| sample * labels.classes()..(sample + 1) * labels.classes();
    for fold in 0..folds {
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..labels.samples()).partition(|&sample| fold_of_sample[sample] == fold);
        let others: Vec<f32> = outside.iter().flat_map(|&sample| &probabilities[row(sample)]).copied().collect();
        let thresholds = per_label(&others, &labels.select(&outside))?;
        for sample in inside {
            let of_sample = decisions[row(sample)].iter_mut().zip(&probabilities[row(sample)]);
            of_sample.zip(&thresholds).for_each(|((yes, p), label)| *yes = *p >= label.threshold);
        }
    }
    Ok(decisions)
}

fn best_f1(mut answers: Vec<(f32, bool)>) -> LabelThreshold {
    answers.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = answers.iter().filter(|answer| answer.1).count();
    let mut best = LabelThreshold { threshold: 0.5, f1: None };
    let mut hits = 0;
    for (at, &(probability, has)) in answers.iter().enumerate() {
        hits += usize::from(has);
        let below = answers.get(at + 1).map_or(0.0, |next| next.0);
        let splits_equals = at + 1 < answers.len() && below == probability;
        let f1 = (2 * hits) as f64 / (at + 1 + positives) as f64;
        if positives > 0 && !splits_equals && best.f1.is_none_or(|best| f1 > best) {
            best = LabelThreshold { threshold: midpoint(below, probability), f1: Some(f1) };
        }
    }
    best
}

/// Between two numbers, and above the lower one even where they are neighbours.
fn midpoint(low: f32, high: f32) -> f32 {
    let middle = 0.5 * (low + high);
    if middle > low { middle } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_ir::random::Rng;

    #[test]
    fn the_share_of_right_answers_is_kept() {
        let mut rng = Rng::new(1);
        let classes: Vec<usize> = (0..400).map(|sample| sample % 2).collect();
        let labels = Labels::single(&classes, 2).unwrap();
        let row = |&class: &usize| {
            let p = rng.uniform(0.2, 1.0);
            if class == 0 { [p, 1.0 - p] } else { [1.0 - p, p] }
        };
        let probabilities: Vec<f32> = classes.iter().flat_map(row).collect();
        for keep in [0.0, 0.5, 0.9, 0.95, 1.0] {
            let found = unknown(&probabilities, None, &labels, keep).unwrap();
            assert!(found.right_lost <= 1.0 - keep + 1e-12, "{found:?}");
            assert!(found.right_lost + 0.01 > 1.0 - keep, "the largest such threshold: {found:?}");
            assert!(found.wrong_caught >= found.right_lost);
        }
        assert!(
            unknown(&probabilities, None, &labels, f64::NAN).is_err()
                && unknown(&probabilities, None, &labels, 1.1).is_err()
        );
    }

    #[test]
    fn without_right_answers_nothing_is_unknown() {
        let labels = Labels::single(&[0, 1], 2).unwrap();
        let found = unknown(&[0.1, 0.9, 0.9, 0.1], None, &labels, 0.95).unwrap();
        let expected = Unknown { weight: 0.0, threshold: f32::NEG_INFINITY, right_lost: 0.0, wrong_caught: 0.0 };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_cosine_counts_as_much_as_the_log_odds() {
        let labels = Labels::single(&[0, 0, 0, 0, 1], 2).unwrap();
        // Four right answers; the last one is wrong, sure of itself, and far from all classes.
        let probabilities = [0.7, 0.3, 0.8, 0.2, 0.9, 0.1, 0.95, 0.05, 0.9, 0.1];
        let cosines = [0.8, 0.6, 0.7, 0.9, -0.5];
        let alone = unknown(&probabilities, None, &labels, 1.0).unwrap();
        let both = unknown(&probabilities, Some(&cosines), &labels, 1.0).unwrap();
        assert_eq!((alone.wrong_caught, both.wrong_caught, both.right_lost), (0.0, 1.0, 0.0));
        let odds: Vec<f64> = [7.0f64 / 3.0, 4.0, 9.0, 19.0].iter().map(|odds| odds.ln()).collect();
        let deviation = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / 4.0;
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0).sqrt()
        };
        let expected = deviation(&odds) / deviation(&[0.8, 0.6, 0.7, 0.9]);
        assert!((f64::from(both.weight) - expected).abs() < 1e-5, "{} {expected}", both.weight);
        assert_eq!(
            both.threshold,
            (0..4).map(|at| both.score(&probabilities[2 * at..][..2], cosines[at])).fold(f32::INFINITY, f32::min)
        );
        assert!(unknown(&probabilities, Some(&cosines[1..]), &labels, 1.0).is_err());
    }

    #[test]
    fn no_other_threshold_has_a_better_f1() {
        let mut rng = Rng::new(2);
        // Few different probabilities, so that many are equal.
        let probabilities: Vec<f32> = (0..60).map(|_| rng.below(7) as f32 / 6.0).collect();
        let bits: Vec<bool> = probabilities.iter().map(|&p| rng.unit() < 0.2 + 0.5 * f64::from(p)).collect();
        let found = per_label(&probabilities, &Labels::multi(&bits, 1).unwrap()).unwrap()[0];
        let f1 = |threshold: f32| {
            let count = |yes: fn(bool, bool) -> bool| {
                bits.iter().zip(&probabilities).filter(|&(&bit, &p)| yes(bit, p >= threshold)).count()
            };
            2.0 * count(|bit, yes| bit && yes) as f64 / (count(|bit, _| bit) + count(|_, yes| yes)) as f64
        };
        assert_eq!(found.f1, Some(f1(found.threshold)));
        assert!((0..100).all(|step| f1(step as f32 / 100.0) <= f1(found.threshold)));
    }

    #[test]
    fn a_label_without_samples_has_one_half() {
        let labels = Labels::multi(&[true, false, true, true], 2).unwrap().select(&[0]);
        let found = per_label(&[0.9, 0.8], &labels).unwrap();
        assert_eq!(found[1], LabelThreshold { threshold: 0.5, f1: None });
        assert!(per_label(&[0.9, 0.8, 0.7, 0.6], &Labels::single(&[0, 1], 2).unwrap()).is_err());
    }

    #[test]
    fn the_labels_of_a_sample_do_not_move_the_threshold_that_decides_on_it() {
        let probabilities = [0.9, 0.6, 0.3, 0.8, 0.5, 0.1];
        let folds = [0, 0, 0, 1, 1, 1];
        let decisions = |bits: &[bool]| out_of_fold(&probabilities, &Labels::multi(bits, 1).unwrap(), &folds).unwrap();
        // Fold 0 is decided by a threshold between 0.8 and 0.5, fold 1 by one between 0.9 and 0.6.
        assert_eq!(decisions(&[true, false, false, true, false, false]), [true, false, false, true, false, false]);
        // Other labels in fold 0 change fold 1 only.
        assert_eq!(decisions(&[true, true, true, true, false, false]), [true, false, false, true, true, false]);
        assert!(out_of_fold(&probabilities, &Labels::multi(&[true; 6], 1).unwrap(), &[0, 1]).is_err());
    }

    #[test]
    fn neighbours_are_separated() {
        let high = f32::from_bits(0.5f32.to_bits() + 1);
        assert_eq!(midpoint(0.5, high), high);
    }
}
