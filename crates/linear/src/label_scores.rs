//! [`LabelScores`]: precision, recall and F1 of a classifier that gives a sample several labels.

use crate::error::{LinearError, Result};

/// Quality of the decisions of a multi-label classifier, for each label and over all labels.
///
/// ```
/// use engraft_linear::LabelScores;
/// // Three samples with two labels. The second sample lacks the second label.
/// let truth = [true, false, true, true, false, true];
/// let decisions = [true, false, true, false, false, true];
/// let scores = LabelScores::of(&decisions, &truth, 2)?;
/// assert_eq!((scores.labels[1].precision, scores.labels[1].recall, scores.labels[1].support), (Some(1.0), Some(0.5), 2));
/// assert_eq!((scores.micro_f1, scores.subset_accuracy), (6.0 / 7.0, 2.0 / 3.0));
/// assert_eq!(scores.macro_f1, (1.0 + 2.0 / 3.0) / 2.0);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LabelScores {
    /// The score of each label.
    pub labels: Vec<LabelScore>,
    /// F1 score of all decisions together, so that frequent labels count more; 1 if no sample has or gets a label.
    pub micro_f1: f64,
    /// Mean F1 score of the labels that a sample has, so that each of them counts the same; 1 if there is no such label.
    pub macro_f1: f64,
    /// Share of samples whose labels are all right, the subset accuracy; 0 without samples.
    pub subset_accuracy: f64,
}

/// Quality of the decisions on one label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LabelScore {
    /// Share of the samples that got the label and have it; `None` if no sample got it.
    pub precision: Option<f64>,
    /// Share of the samples with the label that got it; `None` if no sample has it.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall; `None` if no sample has the label.
    pub f1: Option<f64>,
    /// Number of samples that have the label.
    pub support: usize,
}

/// How often a label is right, needless and missing.
#[derive(Clone, Copy, Default)]
struct Counts {
    hits: usize,
    needless: usize,
    missing: usize,
}

impl LabelScores {
    /// Compares `decisions` with `truth`: row-major bits `[samples, labels]` each.
    ///
    /// # Errors
    /// There are no labels, the numbers of bits differ, or they aren't a multiple of `labels`.
    pub fn of(decisions: &[bool], truth: &[bool], labels: usize) -> Result<Self> {
        if labels == 0 {
            return Err(LinearError::TooFewClasses { expected: 1, received: 0 });
        }
        let expected = truth.len() / labels * labels;
        if let Some(&received) = [truth.len(), decisions.len()].iter().find(|&&received| received != expected) {
            return Err(LinearError::Size { place: "decisions", expected, received });
        }
        let rows = || decisions.chunks_exact(labels).zip(truth.chunks_exact(labels));
        let mut counts = vec![Counts::default(); labels];
        for (decided, has) in rows() {
            counts
                .iter_mut()
                .zip(decided.iter().zip(has))
                .for_each(|(counts, (&decided, &has))| counts.add(decided, has));
        }
        let all_right = rows().filter(|(decided, has)| decided == has).count();
        let scores: Vec<LabelScore> = counts.iter().map(Counts::score).collect();
        let f1: Vec<f64> = scores.iter().filter_map(|score| score.f1).collect();
        let total = counts.iter().fold(Counts::default(), Counts::plus);
        Ok(Self {
            micro_f1: total.f1().unwrap_or(1.0),
            macro_f1: if f1.is_empty() { 1.0 } else { f1.iter().sum::<f64>() / f1.len() as f64 },
            subset_accuracy: all_right as f64 / (truth.len() / labels).max(1) as f64,
            labels: scores,
        })
    }
}

impl Counts {
    fn add(&mut self, decided: bool, has: bool) {
        self.hits += usize::from(decided && has);
        self.needless += usize::from(decided && !has);
        self.missing += usize::from(!decided && has);
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            needless: self.needless + other.needless,
            missing: self.missing + other.missing,
        }
    }

    /// `None` if no sample has or gets the label.
    fn f1(&self) -> Option<f64> {
        share(2 * self.hits, self.needless + self.missing)
    }

    fn score(&self) -> LabelScore {
        let support = self.hits + self.missing;
        LabelScore {
            precision: share(self.hits, self.needless),
            recall: share(self.hits, self.missing),
            f1: self.f1().filter(|_| support > 0),
            support,
        }
    }
}

/// The share of `yes` in `yes + no`; `None` where both are 0.
fn share(yes: usize, no: usize) -> Option<f64> {
    (yes + no > 0).then(|| yes as f64 / (yes + no) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `precision_recall_fscore_support` and `f1_score` in scikit-learn 1.9.
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let bits = |rows: [[u8; 3]; 6]| rows.concat().into_iter().map(|bit| bit == 1).collect::<Vec<bool>>();
        let truth = bits([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0]]);
        let decisions = bits([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]]);
        let scores = LabelScores::of(&decisions, &truth, 3).unwrap();
        let expected = [(0.75, 0.75, 0.75, 4), (2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 3), (0.5, 1.0, 2.0 / 3.0, 1)];
        for (score, (precision, recall, f1, support)) in scores.labels.iter().zip(expected) {
            let (precision, recall, f1) = (Some(precision), Some(recall), Some(f1));
            assert_eq!(*score, LabelScore { precision, recall, f1, support });
        }
        assert!((scores.micro_f1 - 0.705_882_352_941_176_4).abs() < 1e-15, "{}", scores.micro_f1);
        assert!((scores.macro_f1 - 0.694_444_444_444_444_4).abs() < 1e-15, "{}", scores.macro_f1);
        assert!((scores.subset_accuracy - 1.0 / 3.0).abs() < 1e-15, "{}", scores.subset_accuracy);
    }

    #[test]
    fn a_label_that_no_sample_has_is_left_out_of_the_mean() {
        let scores = LabelScores::of(&[true, true, false, false], &[true, false, true, false], 2).unwrap();
        assert_eq!(scores.labels[1], LabelScore { precision: Some(0.0), recall: None, f1: None, support: 0 });
        assert_eq!((scores.macro_f1, scores.micro_f1), (2.0 / 3.0, 0.5));
        let nothing = LabelScores::of(&[false; 2], &[false; 2], 2).unwrap();
        assert_eq!((nothing.micro_f1, nothing.macro_f1, nothing.subset_accuracy), (1.0, 1.0, 1.0));
    }

    #[test]
    fn other_numbers_of_bits_are_refused() {
        assert!(LabelScores::of(&[true; 4], &[true; 2], 2).is_err());
        assert!(LabelScores::of(&[true; 3], &[true; 3], 2).is_err());
        assert!(LabelScores::of(&[], &[], 0).is_err());
    }
}
