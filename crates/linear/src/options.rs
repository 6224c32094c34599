//! [`Options`]: what the caller decides about training.

use crate::error::{LinearError, Result};

/// How much the samples of each class count.
///
/// ```
/// use engraft_linear::{ClassWeights, Options};
/// let mut options = Options::default();
/// assert_eq!(options.class_weights, ClassWeights::None);
/// options.class_weights = ClassWeights::Balanced;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassWeights {
    /// Each sample counts the same.
    #[default]
    None,
    /// Each class counts the same: a sample of a class with `n` of `N` samples counts `N / (classes * n)`, as in scikit-learn.
    ///
    /// With several labels a sample, the samples with a label and those without it count the same for this label.
    Balanced,
}

/// What the caller decides; [`fit`](crate::fit()) chooses the rest from the data.
///
/// ```
/// let mut options = engraft_linear::Options::default();
/// assert_eq!((options.strengths.len(), options.inner_folds), (15, 5));
/// options.seed = 42;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How much the samples of each class count [default: the same].
    pub class_weights: ClassWeights,
    /// Seed of the inner folds [default: 0].
    pub seed: u64,
    /// Inner folds that choose the strength and the temperature [default: 5].
    pub inner_folds: usize,
    /// The group of each sample: samples of a group are held out together in the inner folds, like scikit-learn's `groups` [default:
    /// each sample is a group]. The folds of [`cross_validate`](crate::cross_validate()) come from the caller:
    /// [`Folds::stratified_groups`](crate::Folds::stratified_groups) makes them of the same groups.
    pub groups: Option<Vec<usize>>,
    /// Strengths of the penalty to choose from, relative to a common one [default: 15 from 100 down to 0.003, geometric].
    ///
    /// The penalty of strength `g` is `λ/2 ‖W‖²` beside the mean log loss on standardized features, with
    /// `λ = g * 0.1 * dim / 1280`. The best strength of real photos lies between 0.1 and 1 as a rule.
    pub strengths: Vec<f64>,
}

impl Default for Options {
    fn default() -> Self {
        let ratio = (STRONGEST / WEAKEST).powf(1.0 / (STRENGTHS - 1) as f64);
        let strengths = (0..STRENGTHS as i32).map(|step| STRONGEST * ratio.powi(-step)).collect();
        Self { class_weights: ClassWeights::None, seed: 0, inner_folds: 5, groups: None, strengths }
    }
}

const STRENGTHS: usize = 15;
const STRONGEST: f64 = 100.0;
const WEAKEST: f64 = 0.003;

impl Options {
    /// The penalty λ of a strength.
    pub(crate) fn penalty(strength: f64, dim: usize) -> f64 {
        strength * 0.1 * dim as f64 / 1280.0
    }

    /// The groups of these samples, of `all` samples.
    ///
    /// # Errors
    /// There isn't a group for each of `all` samples.
    pub(crate) fn groups_of(&self, samples: &[usize], all: usize) -> Result<Vec<usize>> {
        match &self.groups {
            None => Ok(samples.to_vec()),
            Some(groups) if groups.len() == all => Ok(samples.iter().map(|&sample| groups[sample]).collect()),
            Some(groups) => Err(LinearError::Size { place: "options, groups", expected: all, received: groups.len() }),
        }
    }

    /// Checks ranges, and returns the strengths from strong to weak: each solution is a good start for the next weaker one.
    pub(crate) fn path(&self) -> Result<Vec<f64>> {
        let range = |place, expected, received| LinearError::Range { place, expected, received };
        if self.inner_folds < 2 {
            return Err(range("options, inner_folds", "at least 2", self.inner_folds as f64));
        }
        if self.strengths.is_empty() {
            return Err(range("options, number of strengths", "at least 1", 0.0));
        }
        if let Some(&strength) = self.strengths.iter().find(|strength| !(1e-9..=1e9).contains(*strength)) {
            return Err(range("options, strengths", "a number from 1e-9 to 1e9", strength));
        }
        let mut path = self.strengths.clone();
        path.sort_by(|a, b| b.total_cmp(a));
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_path_goes_from_100_to_0_003() {
        let path = Options::default().path().unwrap();
        assert_eq!(path[0], 100.0);
        assert!((path[14] / 0.003 - 1.0).abs() < 1e-12, "{}", path[14]);
        assert!(path.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let with = |strengths: &[f64], inner_folds| Options {
            strengths: strengths.to_vec(),
            inner_folds,
            ..Options::default()
        };
        assert_eq!(with(&[1.0, 10.0], 2).path(), Ok(vec![10.0, 1.0]));
        for (options, place) in [
            (with(&[], 5), "options, number of strengths"),
            (with(&[1.0, f64::NAN], 5), "options, strengths"),
            (with(&[0.0], 5), "options, strengths"),
            (with(&[1.0], 1), "options, inner_folds"),
        ] {
            let error = options.path().unwrap_err();
            assert!(matches!(error, LinearError::Range { place: found, .. } if found == place), "{error}");
        }
    }
}
