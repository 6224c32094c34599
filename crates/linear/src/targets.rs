//! [`Targets`]: labels and weights of a training part in the order of its rows; [`Activity`]: which classes a subset can teach.

use crate::balance::{self, LabelWeights};
use crate::labels::Labels;
use crate::options::ClassWeights;
use crate::subset::Subset;

/// What the rows of a training part should be classified as, and how much they count.
pub(crate) struct Targets {
    /// In the order of the rows.
    pub(crate) labels: Labels,
    /// The weight of each row, with mean 1.
    pub(crate) weights: Vec<f64>,
    /// The weights of each label.
    pub(crate) label_weights: Vec<LabelWeights>,
}

impl Targets {
    /// The targets of the samples `rows`, weighted among themselves.
    pub(crate) fn of(labels: &Labels, rows: &[usize], class_weights: ClassWeights) -> Self {
        let labels = labels.select(rows);
        let weights = balance::of_samples(&labels, class_weights);
        let label_weights = balance::of_labels(&labels, class_weights);
        Self { labels, weights, label_weights }
    }

    /// The number of classes.
    pub(crate) fn classes(&self) -> usize {
        self.labels.classes()
    }

    /// The sum of the weights of some rows.
    pub(crate) fn total_weight(&self, subset: &Subset) -> f64 {
        subset.positions().map(|row| self.weights[row]).sum()
    }

    /// The sample weight of a row in the loss of one class or label.
    pub(crate) fn weight(&self, row: usize, class: usize) -> f64 {
        let LabelWeights { positive, negative } = self.label_weights[class];
        self.weights[row] * if self.labels.has(row, class) { positive } else { negative }
    }
}

/// The classes that some rows can teach, and the logit of the others.
///
/// A class without samples has a best bias of minus infinity. Where rows lack a class, it takes no part in training, and gets the
/// logit of half a sample among all. The same holds for a label that all rows have, with the opposite sign.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Activity(Vec<Option<f64>>);

impl Activity {
    /// The activity of the classes in `subset`.
    pub(crate) fn of(targets: &Targets, subset: &Subset) -> Self {
        let rows = subset.len();
        let mut counts = vec![0; targets.classes()];
        for row in subset.positions() {
            match targets.labels.class_of(row) {
                Some(class) => counts[class] += 1,
                None => {
                    (0..counts.len()).for_each(|class| counts[class] += usize::from(targets.labels.has(row, class)))
                }
            }
        }
        let rare = (0.5 / (rows as f64 + 0.5)).ln();
        let logit = |count: usize| match count {
            0 => Some(rare),
            count if count == rows && targets.labels.is_multi() => Some(-rare),
            _ => None,
        };
        Self(counts.into_iter().map(logit).collect())
    }

    /// Whether the rows can teach `class`.
    pub(crate) fn is_active(&self, class: usize) -> bool {
        self.0[class].is_none()
    }

    /// Sets the logits of the classes that have no part in training. Each row has a logit for each class.
    pub(crate) fn fill(&self, logits: &mut [f64]) {
        for row in logits.chunks_exact_mut(self.0.len()) {
            row.iter_mut().zip(&self.0).for_each(|(logit, constant)| *logit = constant.unwrap_or(*logit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_without_samples_is_inactive_and_rare() {
        let labels = Labels::single(&[0, 1, 2, 0], 3).unwrap();
        let targets = Targets::of(&labels, &[3, 2, 1, 0], ClassWeights::None);
        let activity = Activity::of(&targets, &Subset::without(4, &(1..2)));
        assert_eq!([0, 1, 2].map(|class| activity.is_active(class)), [true, true, false]);
        let mut logits = [5.0; 6];
        activity.fill(&mut logits);
        assert_eq!(logits, [5.0, 5.0, (1.0f64 / 7.0).ln(), 5.0, 5.0, (1.0f64 / 7.0).ln()]);
    }

    #[test]
    fn a_label_of_all_samples_is_inactive_and_sure() {
        let labels = Labels::multi(&[true, false, true, true], 2).unwrap();
        let targets = Targets::of(&labels, &[0, 1], ClassWeights::None);
        let mut logits = [0.0; 2];
        Activity::of(&targets, &Subset::of(0..2)).fill(&mut logits);
        assert_eq!(logits, [5.0f64.ln(), 0.0]);
    }

    #[test]
    fn balanced_weights_are_those_of_the_part() {
        let labels = Labels::single(&[0, 1, 1, 1], 2).unwrap();
        let targets = Targets::of(&labels, &[3, 0], ClassWeights::Balanced);
        assert_eq!((targets.weights.as_slice(), targets.total_weight(&Subset::of(0..2))), (&[1.0, 1.0][..], 2.0));
        assert_eq!(targets.weight(1, 0), 1.0);
    }
}
