//! [`cross_validate`]: how good a classifier is on samples that it has not seen.

use std::ops::Range;

use rayon::prelude::*;

use crate::calibration;
use crate::design::STORED;
use crate::error::{LinearError, Result};
use crate::features::Features;
use crate::folds::Folds;
use crate::interval::wilson;
use crate::labels::Labels;
use crate::model::LinearModel;
use crate::monitor::{Meter, Monitor};
use crate::options::Options;
use crate::training_part::TrainingPart;

/// Out-of-fold predictions and their quality.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrossValidation {
    /// Probabilities `[samples, classes]`, row-major. Those of a sample come from the classifier that was trained without its fold.
    pub probabilities: Vec<f32>,
    /// The fold of each sample.
    pub fold_of_sample: Vec<usize>,
    /// Share of samples whose most probable class is right. With several labels: share of labels on the right side of 0.5.
    pub accuracy: f64,
    /// Accuracy of each fold.
    pub fold_accuracies: Vec<f64>,
    /// Standard deviation of the accuracies of the folds.
    pub accuracy_spread: f64,
    /// 95 % interval of the accuracy (Wilson) from all out-of-fold answers.
    ///
    /// It is approximate: the folds' classifiers share training samples, so their errors aren't independent. With several labels,
    /// it counts samples, not labels, as the labels of one sample aren't independent either.
    pub interval: (f64, f64),
    /// Mean log loss; with several labels, the mean over labels as well. Probabilities are clipped to 1e-7.
    pub log_loss: f64,
    /// Expected calibration error in ten bins of equal count.
    pub calibration_error: f64,
    /// Brier score.
    pub brier: f64,
    /// The classifier that was trained without each fold.
    pub models: Vec<LinearModel>,
    /// What was chosen without each fold.
    pub choices: Vec<FoldChoice>,
    /// Multiply-accumulates spent.
    pub macs: u64,
}

/// What the training part of a fold chose.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FoldChoice {
    /// The chosen strength.
    pub strength: f64,
    /// Its penalty λ.
    pub penalty: f64,
    /// The factor of the logits that calibrates them.
    pub temperature: f64,
    /// Log loss of the inner folds at that strength and temperature, if there were inner folds.
    pub inner_log_loss: Option<f64>,
}

/// Bins of the expected calibration error.
const BINS: usize = 10;

/// Trains a classifier without each fold, as [`fit`](crate::fit()) does, and predicts the samples of the fold.
///
/// Standardization, strength and temperature are chosen among the training samples of the fold, so that the score has no part of
/// its own samples in it. Folds are trained side by side where they are small, one after the other where they are large.
///
/// # Errors
/// Samples of features, labels and folds differ in number, an option is out of range, or the run was stopped.
///
/// ```
/// use engraft_linear::{Features, Folds, Labels, Monitor, Options, cross_validate};
/// let values: Vec<f32> = (0..40).map(|sample| (sample % 2) as f32 + sample as f32 / 100.0).collect();
/// let features = Features::new(&values, 40, 1)?;
/// let labels = Labels::single(&(0..40).map(|sample| sample % 2).collect::<Vec<_>>(), 2)?;
/// let folds = Folds::stratified(&labels, 5, 42)?;
/// let score = cross_validate(features, &labels, &folds, &Options::default(), &Monitor::new())?;
/// assert_eq!((score.accuracy, score.fold_accuracies), (1.0, vec![1.0; 5]));
/// assert!(score.interval.0 > 0.9 && score.log_loss < 0.2);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn cross_validate(
    features: Features<'_>,
    labels: &Labels,
    folds: &Folds,
    options: &Options,
    monitor: &Monitor<'_>,
) -> Result<CrossValidation> {
    labels.check_samples(features.samples())?;
    let received = folds.of_samples().len();
    if received != features.samples() {
        return Err(LinearError::Size { place: "folds, samples", expected: features.samples(), received });
    }
    let splits: Vec<(Vec<usize>, Vec<usize>)> = (0..folds.count()).map(|fold| folds.split(fold)).collect();
    let part = |fold: usize| TrainingPart::new(features, labels, splits[fold].0.clone(), options, fold as u64 + 1);
    let planned = (0..folds.count()).map(|fold| part(fold).map(|part| part.planned())).sum::<Result<u64>>()?;
    let meter = Meter::new(*monitor, planned);
    let run = |fold: usize| -> Result<(Vec<f32>, LinearModel, FoldChoice)> {
        let trained = part(fold)?.train(&meter)?;
        let probabilities = trained.model.probabilities_of(features, &splits[fold].1)?;
        let choice = FoldChoice {
            strength: trained.strength,
            penalty: trained.penalty,
            temperature: trained.temperature,
            inner_log_loss: trained.log_loss,
        };
        Ok((probabilities, trained.model, choice))
    };
    let runs = run_all(0..folds.count(), features, run)?;
    let mut probabilities = vec![0.0; labels.samples() * labels.classes()];
    for ((_, held_out), (of_fold, ..)) in splits.iter().zip(&runs) {
        for (&sample, row) in held_out.iter().zip(of_fold.chunks_exact(labels.classes())) {
            probabilities[sample * labels.classes()..][..labels.classes()].copy_from_slice(row);
        }
    }
    let (models, choices) = runs.into_iter().map(|(_, model, choice)| (model, choice)).unzip();
    report(probabilities, labels, folds, (models, choices), meter.spent())
}

impl CrossValidation {
    /// The score of choosing the best of several classifiers, on other features each: `candidates` have the same labels and folds.
    ///
    /// In each fold, the candidate with the lowest inner log loss is chosen. So the choice is a part of what is scored, and the
    /// score isn't better for it than it will be on new samples.
    ///
    /// ```
    /// use engraft_linear::{CrossValidation, Features, Folds, Labels, Monitor, Options, cross_validate};
    /// let labels = Labels::single(&(0..40).map(|sample| sample % 2).collect::<Vec<_>>(), 2)?;
    /// let folds = Folds::stratified(&labels, 5, 42)?;
    /// let score = |values: &[f32]| {
    ///     cross_validate(Features::new(values, 40, 1)?, &labels, &folds, &Options::default(), &Monitor::new())
    /// };
    /// let good = score(&(0..40).map(|sample| (sample % 2) as f32 + sample as f32 / 100.0).collect::<Vec<_>>())?;
    /// let bad = score(&(0..40).map(|sample| (sample % 7) as f32).collect::<Vec<_>>())?;
    /// assert_eq!(CrossValidation::best_of(&[&bad, &good], &labels)?.probabilities, good.probabilities);
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    ///
    /// # Errors
    /// No candidates, or candidates of other samples or folds.
    pub fn best_of(candidates: &[&Self], labels: &Labels) -> Result<Self> {
        let Some(first) = candidates.first() else {
            return Err(LinearError::Size { place: "candidates", expected: 1, received: 0 });
        };
        if let Some(other) = candidates.iter().find(|other| other.fold_of_sample != first.fold_of_sample) {
            let (expected, received) = (first.fold_of_sample.len(), other.fold_of_sample.len());
            return Err(LinearError::Size { place: "candidates, samples of the same folds", expected, received });
        }
        labels.check_samples(first.fold_of_sample.len())?;
        let best: Vec<&Self> = Self::best_in_folds(candidates).into_iter().map(|best| candidates[best]).collect();
        let row = |(sample, &fold): (usize, &usize)| {
            best[fold].probabilities[sample * labels.classes()..][..labels.classes()].iter().copied()
        };
        let probabilities = first.fold_of_sample.iter().enumerate().flat_map(row).collect();
        let of_fold = |(fold, best): (usize, &&Self)| (best.models[fold].clone(), best.choices[fold]);
        let (models, choices) = best.iter().enumerate().map(of_fold).unzip();
        let macs = candidates.iter().map(|candidate| candidate.macs).sum();
        report(probabilities, labels, &Folds::new(first.fold_of_sample.clone())?, (models, choices), macs)
    }
}

impl CrossValidation {
    /// The index of the candidate with the lowest inner log loss, in each fold of the first candidate.
    ///
    /// ```
    /// use engraft_linear::{CrossValidation, Features, Folds, Labels, Monitor, Options, cross_validate};
    /// let labels = Labels::single(&(0..40).map(|sample| sample % 2).collect::<Vec<_>>(), 2)?;
    /// let folds = Folds::stratified(&labels, 2, 42)?;
    /// let score = |values: &[f32]| {
    ///     cross_validate(Features::new(values, 40, 1)?, &labels, &folds, &Options::default(), &Monitor::new())
    /// };
    /// let good = score(&(0..40).map(|sample| (sample % 2) as f32).collect::<Vec<_>>())?;
    /// let bad = score(&(0..40).map(|sample| (sample % 7) as f32).collect::<Vec<_>>())?;
    /// assert_eq!(CrossValidation::best_in_folds(&[&bad, &good]), [1, 1]);
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    pub fn best_in_folds(candidates: &[&Self]) -> Vec<usize> {
        let loss = |candidate: usize, fold: usize| {
            let choice = candidates[candidate].choices.get(fold);
            choice.and_then(|choice| choice.inner_log_loss).unwrap_or(f64::INFINITY)
        };
        let best = |fold: usize| {
            let by_loss = |&one: &usize, &other: &usize| loss(one, fold).total_cmp(&loss(other, fold));
            (0..candidates.len()).min_by(by_loss).unwrap_or(0)
        };
        (0..candidates.first().map_or(0, |first| first.choices.len())).map(best).collect()
    }

    /// The score of other out-of-fold probabilities of the same samples and folds, `[samples, classes]`, with the same choices.
    ///
    /// ```
    /// use engraft_linear::{Features, Folds, Labels, Monitor, Options, cross_validate};
    /// let labels = Labels::single(&[0, 0, 1, 1], 2)?;
    /// let (features, folds) = (Features::new(&[0.0, 0.1, 1.0, 1.1], 4, 1)?, Folds::new(vec![0, 1, 0, 1])?);
    /// let score = cross_validate(features, &labels, &folds, &Options::default(), &Monitor::new())?;
    /// let wrong = score.with_probabilities([0.2, 0.8, 0.8, 0.2].repeat(2), &labels)?;
    /// assert_eq!((score.accuracy, wrong.accuracy), (1.0, 0.5));
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    ///
    /// # Errors
    /// Another number of probabilities, or labels of other samples.
    pub fn with_probabilities(&self, probabilities: Vec<f32>, labels: &Labels) -> Result<Self> {
        labels.check_samples(self.fold_of_sample.len())?;
        let folds = Folds::new(self.fold_of_sample.clone())?;
        calibration::check(&probabilities, labels)?;
        report(probabilities, labels, &folds, (self.models.clone(), self.choices.clone()), self.macs)
    }
}

/// All folds at once, or one after the other where each of them needs much memory.
fn run_all<T: Send>(
    folds: Range<usize>,
    features: Features<'_>,
    run: impl Fn(usize) -> Result<T> + Send + Sync,
) -> Result<Vec<T>> {
    let side = features.samples().min(features.dim());
    if features.samples().saturating_mul(side) <= STORED {
        folds.into_par_iter().map(run).collect()
    } else {
        folds.map(run).collect()
    }
}

fn report(
    probabilities: Vec<f32>,
    labels: &Labels,
    folds: &Folds,
    (models, choices): (Vec<LinearModel>, Vec<FoldChoice>),
    macs: u64,
) -> Result<CrossValidation> {
    let fold_accuracy = |fold: usize| {
        let (_, held_out) = folds.split(fold);
        let row = |&sample: &usize| &probabilities[sample * labels.classes()..][..labels.classes()];
        let of_fold: Vec<f32> = held_out.iter().flat_map(row).copied().collect();
        calibration::accuracy(&of_fold, &labels.select(&held_out))
    };
    let fold_accuracies = (0..folds.count()).map(fold_accuracy).collect::<Result<Vec<f64>>>()?;
    let accuracy = calibration::accuracy(&probabilities, labels)?;
    Ok(CrossValidation {
        accuracy,
        accuracy_spread: standard_deviation(&fold_accuracies),
        fold_accuracies,
        interval: wilson(accuracy, labels.samples()),
        log_loss: calibration::log_loss(&probabilities, labels)?,
        calibration_error: calibration::expected_calibration_error(&probabilities, labels, BINS)?,
        brier: calibration::brier(&probabilities, labels)?,
        probabilities,
        fold_of_sample: folds.of_samples().to_vec(),
        models,
        choices,
        macs,
    })
}

fn standard_deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt()
}
