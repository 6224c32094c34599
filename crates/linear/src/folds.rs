//! [`Folds`]: which samples are held out together.

use std::collections::HashMap;

use engraft_ir::random::{Rng, mix};

use crate::error::{LinearError, Result};
use crate::labels::Labels;

/// The fold of each sample. Each fold is held out once while a classifier trains on the others.
///
/// ```
/// use engraft_linear::{Folds, Labels};
/// let labels = Labels::single(&[0, 0, 0, 1, 1, 1], 2)?;
/// let folds = Folds::stratified(&labels, 3, 42)?;
/// // Each fold has one sample of each class.
/// let held_out = |fold| (0..6).filter(|&sample| folds.of_samples()[sample] == fold).collect::<Vec<_>>();
/// for fold in 0..folds.count() {
///     assert_eq!(held_out(fold).iter().map(|&sample| sample / 3).collect::<Vec<_>>(), [0, 1]);
/// }
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folds {
    fold_of_sample: Vec<usize>,
    count: usize,
}

impl Folds {
    /// Folds of the caller, for example such that photos of one object are held out together. Numbers without samples are skipped.
    ///
    /// # Errors
    /// There are fewer than two folds.
    ///
    /// ```
    /// use engraft_linear::Folds;
    /// assert_eq!(Folds::new(vec![7, 3, 7])?.of_samples(), [1, 0, 1]);
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    pub fn new(mut fold_of_sample: Vec<usize>) -> Result<Self> {
        let mut numbers = fold_of_sample.clone();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() < 2 {
            return Err(LinearError::Range { place: "folds", expected: "at least 2", received: numbers.len() as f64 });
        }
        for fold in &mut fold_of_sample {
            *fold = numbers.partition_point(|number| number < fold);
        }
        Ok(Self { fold_of_sample, count: numbers.len() })
    }

    /// `k` folds with about the same number of samples of each class, or as many folds as there are samples if they are fewer.
    ///
    /// The folds depend on the order of the samples and on `seed` alone: sort the samples where their order is chance. Several labels
    /// a sample are balanced greedily, the rarest label first (Sechidis, Tsoumakas and Vlahavas 2011, doi
    /// 10.1007/978-3-642-23808-6_10).
    ///
    /// # Errors
    /// `k` is below 2, or there are fewer than two samples.
    pub fn stratified(labels: &Labels, k: usize, seed: u64) -> Result<Self> {
        let count = k.min(labels.samples());
        if count < 2 {
            return Err(LinearError::Range { place: "folds", expected: "at least 2", received: count as f64 });
        }
        let fold_of_sample = match labels.is_multi() {
            false => dealt(labels, count, seed),
            true => balanced(labels, count, seed),
        };
        Self::new(fold_of_sample)
    }

    /// Folds as [`stratified`](Self::stratified) makes them, but all samples of a group are in one fold: scikit-learn's
    /// `StratifiedGroupKFold`. So no sample is scored by a classifier that saw a copy of it.
    ///
    /// `groups` has a number for each sample. A group counts as one sample of the class of its first sample. There are at most as
    /// many folds as groups.
    ///
    /// # Errors
    /// `k` is below 2, there are fewer than two groups, or not one for each sample.
    ///
    /// ```
    /// use engraft_linear::{Folds, Labels};
    /// let labels = Labels::single(&[0, 0, 0, 1, 1, 1], 2)?;
    /// // The first and the last sample are of the same object.
    /// let folds = Folds::stratified_groups(&labels, &[9, 1, 2, 3, 4, 9], 2, 42)?;
    /// assert_eq!(folds.of_samples()[0], folds.of_samples()[5]);
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    pub fn stratified_groups(labels: &Labels, groups: &[usize], k: usize, seed: u64) -> Result<Self> {
        if groups.len() != labels.samples() {
            let (expected, received) = (labels.samples(), groups.len());
            return Err(LinearError::Size { place: "groups, samples", expected, received });
        }
        let (mut place_of_group, mut first_samples) = (HashMap::new(), Vec::new());
        let mut place = |(sample, &group): (usize, &usize)| {
            *place_of_group.entry(group).or_insert_with(|| {
                first_samples.push(sample);
                first_samples.len() - 1
            })
        };
        let places: Vec<usize> = groups.iter().enumerate().map(&mut place).collect();
        let of_groups = Self::stratified(&labels.select(&first_samples), k, seed)?;
        Self::new(places.into_iter().map(|place| of_groups.fold_of_sample[place]).collect())
    }

    /// The number of folds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The fold of each sample, from 0 to [`count`](Self::count) - 1. Each has a sample.
    pub fn of_samples(&self) -> &[usize] {
        &self.fold_of_sample
    }

    /// The samples of the training part and of the held-out part of one fold, in ascending order.
    ///
    /// ```
    /// let folds = engraft_linear::Folds::new(vec![0, 1, 0, 2])?;
    /// assert_eq!(folds.split(0), (vec![1, 3], vec![0, 2]));
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    pub fn split(&self, fold: usize) -> (Vec<usize>, Vec<usize>) {
        (0..self.fold_of_sample.len()).partition(|&sample| self.fold_of_sample[sample] != fold)
    }
}

/// Shuffles each class, and deals its samples to the folds in turn; the next class goes on where the last ended.
fn dealt(labels: &Labels, count: usize, seed: u64) -> Vec<usize> {
    let mut of_class = vec![Vec::new(); labels.classes()];
    for sample in 0..labels.samples() {
        if let Some(class) = labels.class_of(sample) {
            of_class[class].push(sample);
        }
    }
    let mut folds = vec![0; labels.samples()];
    let mut next = 0;
    for (class, samples) in of_class.iter_mut().enumerate() {
        Rng::new(mix(seed, class as u64)).shuffle(samples);
        for &sample in samples.iter() {
            folds[sample] = next % count;
            next += 1;
        }
    }
    folds
}

/// Iterative stratification: the samples of the rarest remaining label go where this label is wanted most.
fn balanced(labels: &Labels, count: usize, seed: u64) -> Vec<usize> {
    let mut remaining: Vec<usize> = (0..labels.samples()).collect();
    Rng::new(seed).shuffle(&mut remaining);
    let mut folds = vec![0; labels.samples()];
    // How many samples, and how many samples of each label, a fold still wants.
    let mut wanted = vec![labels.samples() as f64 / count as f64; count];
    let share = |total: usize| vec![total as f64 / count as f64; count];
    let mut wanted_of_label: Vec<Vec<f64>> = labels.counts().into_iter().map(share).collect();
    let mut left = labels.counts();
    while !remaining.is_empty() {
        let rarest = (0..labels.classes()).filter(|&label| left[label] > 0).min_by_key(|&label| left[label]);
        let (taken, others) = remaining
            .into_iter()
            .partition::<Vec<_>, _>(|&sample| rarest.is_none_or(|label| labels.has(sample, label)));
        remaining = others;
        for sample in taken {
            let wish = |fold: usize| (rarest.map_or(0.0, |label| wanted_of_label[label][fold]), wanted[fold]);
            // The first of equals, so that the result depends on nothing else.
            let fold = (1..count).fold(0, |best, fold| if wish(fold) > wish(best) { fold } else { best });
            folds[sample] = fold;
            wanted[fold] -= 1.0;
            for label in (0..labels.classes()).filter(|&label| labels.has(sample, label)) {
                wanted_of_label[label][fold] -= 1.0;
                left[label] -= 1;
            }
        }
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(folds: &Folds, of: impl Fn(usize) -> bool) -> Vec<usize> {
        let in_fold =
            |fold| folds.of_samples().iter().enumerate().filter(|&(sample, &f)| f == fold && of(sample)).count();
        (0..folds.count()).map(in_fold).collect()
    }

    fn spread(sizes: &[usize]) -> usize {
        sizes.iter().max().unwrap() - sizes.iter().min().unwrap()
    }

    #[test]
    fn folds_and_classes_in_folds_differ_by_one_sample_at_most() {
        let class_of_sample: Vec<usize> = (0..97).map(|sample| [0, 0, 0, 1, 2, 2][sample * sample % 6]).collect();
        let labels = Labels::single(&class_of_sample, 3).unwrap();
        for k in [2, 3, 5, 10] {
            let folds = Folds::stratified(&labels, k, 9).unwrap();
            assert_eq!(folds.count(), k);
            assert!(spread(&sizes(&folds, |_| true)) <= 1);
            for class in 0..3 {
                assert!(spread(&sizes(&folds, |sample| class_of_sample[sample] == class)) <= 1);
            }
        }
    }

    #[test]
    fn tiny_sets_have_fewer_folds() {
        let pair = Labels::single(&[0, 1], 2).unwrap();
        assert_eq!(Folds::stratified(&pair, 5, 0).unwrap().count(), 2);
        let rare = Labels::single(&[0, 0, 0, 1, 2, 2], 3).unwrap();
        let folds = Folds::stratified(&rare, 5, 0).unwrap();
        assert_eq!((folds.count(), spread(&sizes(&folds, |_| true))), (5, 1));
        assert!(Folds::stratified(&pair, 1, 0).is_err());
        assert!(Folds::new(vec![3, 3]).is_err());
    }

    #[test]
    fn the_seed_alone_decides() {
        let labels = Labels::single(&[0, 1, 1, 0, 1, 0, 0, 1, 1, 0], 2).unwrap();
        let folds = |seed| Folds::stratified(&labels, 5, seed).unwrap();
        assert_eq!(folds(3), folds(3));
        assert_ne!(folds(3), folds(4));
    }

    #[test]
    fn several_labels_are_balanced_over_folds() {
        let mut rng = Rng::new(11);
        let rates = [0.5, 0.2, 0.05, 0.1];
        let mut bits: Vec<bool> = (0..300 * 4).map(|at| rng.unit() < rates[at % 4]).collect();
        bits[..4].fill(true);
        let labels = Labels::multi(&bits, 4).unwrap();
        let folds = Folds::stratified(&labels, 5, 1).unwrap();
        assert!(spread(&sizes(&folds, |_| true)) <= 6, "{:?}", sizes(&folds, |_| true));
        for label in 0..4 {
            let sizes = sizes(&folds, |sample| labels.has(sample, label));
            assert!(spread(&sizes) <= 2, "label {label}: {sizes:?}");
        }
        assert_eq!(folds, Folds::stratified(&labels, 5, 1).unwrap());
    }

    #[test]
    fn groups_of_one_sample_change_nothing() {
        let class_of_sample: Vec<usize> = (0..40).map(|sample| sample % 3).collect();
        let labels = Labels::single(&class_of_sample, 3).unwrap();
        let groups: Vec<usize> = (0..40).map(|sample| 1000 - sample).collect();
        assert_eq!(Folds::stratified_groups(&labels, &groups, 5, 3), Folds::stratified(&labels, 5, 3));
    }

    #[test]
    fn a_group_is_in_one_fold_whatever_its_classes() {
        // Sample n and sample n + 20 are of one group and of two classes. No group starts with class 1.
        let class_of_sample: Vec<usize> = (0..40).map(|sample| [0, 2, 1, 1][2 * (sample / 20) + sample % 2]).collect();
        let labels = Labels::single(&class_of_sample, 3).unwrap();
        let groups: Vec<usize> = (0..40).map(|sample| sample % 20).collect();
        let folds = Folds::stratified_groups(&labels, &groups, 4, 3).unwrap();
        assert_eq!(folds.of_samples()[..20], folds.of_samples()[20..]);
        assert_eq!(sizes(&folds, |_| true), [10; 4]);
        let few = Folds::stratified_groups(&labels, &[7; 40], 4, 3).unwrap_err().to_string();
        assert!(few.contains("folds: expected at least 2, received 1"), "{few}");
        assert!(Folds::stratified_groups(&labels, &groups[1..], 4, 3).is_err());
    }

    #[test]
    fn a_split_holds_each_sample_once() {
        let folds = Folds::new(vec![0, 1, 2, 1, 0]).unwrap();
        assert_eq!(folds.split(1), (vec![0, 2, 4], vec![1, 3]));
    }
}
