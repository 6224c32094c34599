//! [`Labels`]: the class of each sample, or several labels of each sample.

use crate::error::{LinearError, Result, checked_size};

/// The class of each sample, or a bit for each sample and label where a sample can have several.
///
/// ```
/// use engraft_linear::Labels;
/// let classes = Labels::single(&[0, 1, 1], 2)?;
/// assert!(classes.has(2, 1) && !classes.has(2, 0) && !classes.is_multi());
/// // Two samples with three labels: the first sample has two of them.
/// let several = Labels::multi(&[true, false, true, false, true, false], 3)?;
/// assert!(several.has(0, 2) && several.is_multi());
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    kind: Kind,
    classes: usize,
    samples: usize,
}

/// What is known of each sample.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// The class of each sample.
    Single(Vec<usize>),
    /// Row-major `[samples, classes]`.
    Multi(Vec<bool>),
}

impl Labels {
    /// One class for each sample.
    ///
    /// # Errors
    /// There are fewer than two classes, a class isn't below `classes`, or a class has no samples.
    pub fn single(class_of_sample: &[usize], classes: usize) -> Result<Self> {
        if classes < 2 {
            return Err(LinearError::TooFewClasses { expected: 2, received: classes });
        }
        if let Some((sample, &received)) = class_of_sample.iter().enumerate().find(|&(_, &class)| class >= classes) {
            return Err(LinearError::UnknownClass { sample, classes, received });
        }
        let labels = Self { kind: Kind::Single(class_of_sample.to_vec()), classes, samples: class_of_sample.len() };
        labels.with_samples_of_each_class()
    }

    /// Several labels for each sample: row-major bits `[samples, classes]`. A sample may have none.
    ///
    /// # Errors
    /// There are no labels, the number of bits isn't a multiple of `classes`, or no sample has a label.
    pub fn multi(bits: &[bool], classes: usize) -> Result<Self> {
        if classes == 0 {
            return Err(LinearError::TooFewClasses { expected: 1, received: 0 });
        }
        let samples = bits.len() / classes;
        if samples * classes != bits.len() {
            let expected = checked_size("labels", samples + 1, classes)?;
            return Err(LinearError::Size { place: "labels, bits", expected, received: bits.len() });
        }
        Self { kind: Kind::Multi(bits.to_vec()), classes, samples }.with_samples_of_each_class()
    }

    fn with_samples_of_each_class(self) -> Result<Self> {
        match self.counts().iter().position(|&count| count == 0) {
            Some(class) => Err(LinearError::EmptyClass { class }),
            None => Ok(self),
        }
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The number of classes, or of labels.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Whether a sample can have several labels.
    pub fn is_multi(&self) -> bool {
        matches!(self.kind, Kind::Multi(_))
    }

    /// Whether `sample` has the class or label `class`.
    ///
    /// # Panics
    /// `sample` isn't below [`samples`](Self::samples).
    pub fn has(&self, sample: usize, class: usize) -> bool {
        match &self.kind {
            Kind::Single(class_of_sample) => class_of_sample[sample] == class,
            Kind::Multi(bits) => bits[sample * self.classes..][..self.classes].get(class) == Some(&true),
        }
    }

    /// The class of a sample; `None` where a sample can have several labels.
    pub(crate) fn class_of(&self, sample: usize) -> Option<usize> {
        match &self.kind {
            Kind::Single(class_of_sample) => Some(class_of_sample[sample]),
            Kind::Multi(_) => None,
        }
    }

    /// The number of samples of each class.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for sample in 0..self.samples {
            match &self.kind {
                Kind::Single(class_of_sample) => counts[class_of_sample[sample]] += 1,
                Kind::Multi(bits) => {
                    let row = &bits[sample * self.classes..][..self.classes];
                    counts.iter_mut().zip(row).for_each(|(count, &bit)| *count += usize::from(bit));
                }
            }
        }
        counts
    }

    /// The labels of the samples `rows`, in this order. Classes may be without samples.
    ///
    /// ```
    /// let labels = engraft_linear::Labels::single(&[0, 1, 2], 3)?.select(&[2, 0]);
    /// assert!(labels.samples() == 2 && labels.has(0, 2) && labels.has(1, 0));
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    ///
    /// # Panics
    /// A row isn't below [`samples`](Self::samples).
    pub fn select(&self, rows: &[usize]) -> Self {
        let kind = match &self.kind {
            Kind::Single(class_of_sample) => Kind::Single(rows.iter().map(|&row| class_of_sample[row]).collect()),
            Kind::Multi(bits) => {
                Kind::Multi(rows.iter().flat_map(|&row| &bits[row * self.classes..][..self.classes]).copied().collect())
            }
        };
        Self { kind, classes: self.classes, samples: rows.len() }
    }

    /// An error if the number of samples isn't `samples`.
    pub(crate) fn check_samples(&self, samples: usize) -> Result<()> {
        match self.samples == samples {
            true => Ok(()),
            false => Err(LinearError::Size { place: "labels, samples", expected: samples, received: self.samples }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_no_classifier_can_use_are_refused() {
        assert_eq!(Labels::single(&[0, 0], 1), Err(LinearError::TooFewClasses { expected: 2, received: 1 }));
        assert_eq!(Labels::single(&[0, 3], 2), Err(LinearError::UnknownClass { sample: 1, classes: 2, received: 3 }));
        assert_eq!(Labels::single(&[1, 1], 2), Err(LinearError::EmptyClass { class: 0 }));
        assert_eq!(Labels::multi(&[], 0), Err(LinearError::TooFewClasses { expected: 1, received: 0 }));
        assert_eq!(Labels::multi(&[true, true, false, true, false, true], 4).unwrap_err().to_string(), {
            "labels, bits: expected 8, received 6"
        });
        assert_eq!(Labels::multi(&[true, false, true, false], 2), Err(LinearError::EmptyClass { class: 1 }));
    }

    #[test]
    fn a_selection_keeps_the_order_asked_for() {
        let single = Labels::single(&[0, 1, 2], 3).unwrap().select(&[2, 0]);
        assert_eq!((single.class_of(0), single.class_of(1), single.counts()), (Some(2), Some(0), vec![1, 0, 1]));
        let multi = Labels::multi(&[true, false, true, true, false, true], 2).unwrap().select(&[2, 0]);
        assert!(multi.has(0, 1) && !multi.has(0, 0) && multi.has(1, 0));
        assert_eq!((multi.counts(), multi.class_of(0)), (vec![1, 1], None));
    }
}
