//! Weights of samples and labels that make classes count the same.

use crate::labels::Labels;
use crate::options::ClassWeights;

/// The weight of each sample, with mean 1. Labels of several a sample are weighted by [`of_labels`] instead.
pub(crate) fn of_samples(labels: &Labels, class_weights: ClassWeights) -> Vec<f64> {
    if class_weights == ClassWeights::None || labels.is_multi() {
        return vec![1.0; labels.samples()];
    }
    let weights = class_weights.of_classes(&labels.counts());
    (0..labels.samples()).map(|sample| labels.class_of(sample).map_or(1.0, |class| weights[class])).collect()
}

impl ClassWeights {
    /// The weight of each class, from the number of samples of each. The mean over all samples is 1.
    ///
    /// A class without samples has weight 1, and the others share the total: a training part can lack a class.
    ///
    /// ```
    /// use engraft_linear::ClassWeights;
    /// assert_eq!(ClassWeights::Balanced.of_classes(&[30, 10]), [40.0 / (2.0 * 30.0), 40.0 / (2.0 * 10.0)]);
    /// assert_eq!(ClassWeights::None.of_classes(&[30, 10]), [1.0, 1.0]);
    /// ```
    pub fn of_classes(self, counts: &[usize]) -> Vec<f64> {
        let present = counts.iter().filter(|&&count| count > 0).count();
        let samples: usize = counts.iter().sum();
        let weight = |&count: &usize| match (self, count) {
            (Self::None, _) | (_, 0) => 1.0,
            (Self::Balanced, count) => samples as f64 / (present * count) as f64,
        };
        counts.iter().map(weight).collect()
    }
}

/// The weights of a sample for one label: where it has the label, and where it lacks it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LabelWeights {
    pub(crate) positive: f64,
    pub(crate) negative: f64,
}

/// The weights of each label; 1 where samples have one class.
pub(crate) fn of_labels(labels: &Labels, class_weights: ClassWeights) -> Vec<LabelWeights> {
    let samples = labels.samples();
    let balanced = class_weights == ClassWeights::Balanced && labels.is_multi();
    let weights = |positives: usize| match balanced && (1..samples).contains(&positives) {
        true => LabelWeights {
            positive: samples as f64 / (2 * positives) as f64,
            negative: samples as f64 / (2 * (samples - positives)) as f64,
        },
        false => LabelWeights { positive: 1.0, negative: 1.0 },
    };
    labels.counts().into_iter().map(weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_classes_have_the_same_total() {
        let labels = Labels::single(&[0, 0, 0, 1], 2).unwrap();
        assert_eq!(of_samples(&labels, ClassWeights::Balanced), [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 2.0]);
        assert_eq!(of_samples(&labels, ClassWeights::None), [1.0; 4]);
        assert_eq!(of_samples(&labels.select(&[0, 1]), ClassWeights::Balanced), [1.0; 2], "one class is left");
    }

    #[test]
    fn a_balanced_label_counts_the_same_with_and_without() {
        let labels = Labels::multi(&[true, true, false, true, false, true, false, true], 2).unwrap();
        let weights = of_labels(&labels, ClassWeights::Balanced);
        assert_eq!(weights[0], LabelWeights { positive: 2.0, negative: 2.0 / 3.0 });
        assert_eq!(weights[1], LabelWeights { positive: 1.0, negative: 1.0 }, "all samples have it");
        assert_eq!(of_samples(&labels, ClassWeights::Balanced), [1.0; 4]);
    }
}
