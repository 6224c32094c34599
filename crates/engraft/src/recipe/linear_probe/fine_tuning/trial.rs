//! A trial of fine-tuning: whether it lowers the log loss on photos that are held out of it.

use engraft_linear::calibration::{Calibrated, calibrate};
use engraft_linear::{Folds, Labels, LinearModel};

use super::super::candidate::failed;
use super::Context;
use super::checkpoints::average;
use super::tuner::Tuner;
use crate::random::mix;
use crate::{ErrorKind, Result};

/// One of so many parts of the photos is held out of a trial.
pub(super) const PARTS: usize = 5;

/// The snapshots that are averaged.
const BEST: usize = 3;

/// Photos to train on, and photos that decide.
pub(super) struct Parts {
    pub(super) training: Vec<usize>,
    pub(super) validation: Vec<usize>,
}

/// The outcome of a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    /// Log loss of the linear head.
    pub(super) linear_log_loss: f64,
    /// Log loss of the average of the best snapshots.
    pub(super) tuned_log_loss: f64,
    /// Standard error of the difference between these losses.
    pub(super) standard_error: f64,
    /// The best temperature of that average, as a factor of the logits.
    pub(super) temperature: f64,
    /// The numbers of the best snapshots.
    pub(super) snapshots: Vec<usize>,
}

impl Trial {
    /// The outcome where nothing could be trained.
    pub(super) const WORSE: Self = Self {
        linear_log_loss: f64::INFINITY,
        tuned_log_loss: f64::INFINITY,
        standard_error: 0.0,
        temperature: 1.0,
        snapshots: Vec::new(),
    };

    /// Whether fine-tuning lowered the log loss by more than its standard error. Less may be chance, and on few photos it often is.
    pub(super) fn is_better(&self) -> bool {
        self.tuned_log_loss < self.linear_log_loss - self.standard_error
    }
}

/// Holds out one of [`PARTS`] parts of the photos `rows`; `None` if there are too few. Copies of a photo are in one part.
///
/// Photos of a class that would have none left to train on stay in the training part: no head could know it.
pub(super) fn split(labels: &Labels, rows: &[usize], context: &Context<'_>, number: u64) -> Result<Option<Parts>> {
    let groups: Vec<usize> = rows.iter().map(|&row| context.groups[row]).collect();
    if groups.iter().all(|group| *group == groups[0]) {
        return Ok(None);
    }
    let seed = mix(context.options.seed, number);
    let folds = Folds::stratified_groups(&labels.select(rows), &groups, PARTS, seed).map_err(failed)?;
    let (mut training, validation) = folds.split(0);
    let is_trained = |class: usize| training.iter().any(|&row| labels.has(rows[row], class));
    let known: Vec<bool> = (0..labels.classes()).map(is_trained).collect();
    let is_known = |row: &usize| (0..labels.classes()).all(|class| known[class] || !labels.has(rows[*row], class));
    let (validation, unknown): (Vec<usize>, Vec<usize>) = validation.into_iter().partition(is_known);
    training.extend(unknown);
    let of = |part: Vec<usize>| -> Vec<usize> { part.into_iter().map(|row| rows[row]).collect() };
    Ok((validation.len() > 1).then(|| Parts { training: of(training), validation: of(validation) }))
}

/// Fine-tunes from `head`, the linear head of the training photos; `None` if interrupted.
///
/// All losses are those after the best temperature, because a temperature follows in any case. The loss after fine-tuning is
/// measured on each half of the validation photos, with the snapshots that are best on the other half. So the choice of snapshots
/// doesn't make it look better than it is.
pub(super) fn trial(
    tuner: &Tuner<'_>,
    head: &LinearModel,
    parts: &Parts,
    epochs: usize,
    labels: &Labels,
    progress: &mut dyn FnMut(f64),
) -> Result<Option<Trial>> {
    let validation = Validation { tuner, photos: &parts.validation, labels: labels.select(&parts.validation) };
    tuner.restart(head)?;
    let linear = validation.logits()?;
    let snapshots = match tuner.tune(head, &parts.training, epochs, progress) {
        // Training that diverges is no improvement.
        Err(error) if error.kind() == ErrorKind::NonFinite => return Ok(Some(Trial::WORSE)),
        snapshots => snapshots?,
    };
    let Some(snapshots) = snapshots else { return Ok(None) };
    let logits = snapshots.iter().map(|snapshot| tuner.set(snapshot).and_then(|()| validation.logits()));
    let logits = logits.collect::<Result<Vec<_>>>()?;
    let (mut of_linear, mut of_tuned) = (Vec::new(), Vec::new());
    for [half, other] in validation.halves() {
        let best = validation.best(&logits, &other)?;
        tuner.set(&average(&best.iter().map(|&number| &snapshots[number]).collect::<Vec<_>>()))?;
        of_linear.extend(validation.losses(&linear, &half)?);
        of_tuned.extend(validation.losses(&validation.logits()?, &half)?);
    }
    let losses = Compared::of(&of_linear, &of_tuned);
    let all: Vec<usize> = (0..parts.validation.len()).collect();
    let snapshots_of_all = validation.best(&logits, &all)?;
    tuner.set(&average(&snapshots_of_all.iter().map(|&number| &snapshots[number]).collect::<Vec<_>>()))?;
    let temperature = validation.measure(&validation.logits()?, &all)?.temperature;
    let Compared { means: [linear_log_loss, tuned_log_loss], standard_error } = losses;
    Ok(Some(Trial { linear_log_loss, tuned_log_loss, standard_error, temperature, snapshots: snapshots_of_all }))
}

/// The mean losses of two models on the same photos.
struct Compared {
    means: [f64; 2],
    /// Standard error of the difference between the means.
    standard_error: f64,
}

impl Compared {
    /// Compares the losses of each photo, of two photos or more.
    fn of(one: &[f64], other: &[f64]) -> Self {
        let photos = one.len() as f64;
        let means = [one, other].map(|losses| losses.iter().sum::<f64>() / photos);
        let square = |(one, other): (&f64, &f64)| (one - other - (means[0] - means[1])).powi(2);
        let variance = one.iter().zip(other).map(square).sum::<f64>() / (photos - 1.0);
        Self { means, standard_error: (variance / photos).sqrt() }
    }
}

/// The photos that decide.
struct Validation<'a> {
    tuner: &'a Tuner<'a>,
    photos: &'a [usize],
    labels: Labels,
}

impl Validation<'_> {
    /// The logits `[photos, classes]` of the tuner's present weights.
    fn logits(&self) -> Result<Vec<f32>> {
        Ok(self.tuner.probabilities(self.tuner.features(), self.photos)?.into_iter().map(log).collect())
    }

    /// Two halves, each with the other one.
    fn halves(&self) -> [[Vec<usize>; 2]; 2] {
        let half = |parity: usize| (0..self.photos.len()).filter(|photo| photo % 2 == parity).collect();
        [[half(0), half(1)], [half(1), half(0)]]
    }

    /// Log loss and temperature of logits on some of the photos.
    fn measure(&self, logits: &[f32], photos: &[usize]) -> Result<Calibrated> {
        let classes = self.labels.classes();
        let logits: Vec<f32> =
            photos.iter().flat_map(|&photo| &logits[photo * classes..][..classes]).copied().collect();
        calibrate(&logits, &self.labels.select(photos)).map_err(failed)
    }

    /// The log loss of each of some photos, after the best temperature for all of them.
    fn losses(&self, logits: &[f32], photos: &[usize]) -> Result<Vec<f64>> {
        let temperature = self.measure(logits, photos)?.temperature;
        let classes = self.labels.classes();
        let loss = |&photo: &usize| {
            let row = logits[photo * classes..][..classes].iter().map(|&logit| temperature * f64::from(logit));
            let largest = row.clone().fold(f64::MIN, f64::max);
            let all = largest + row.clone().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
            let right = row.enumerate().filter(|&(class, _)| self.labels.has(photo, class)).map(|(_, logit)| logit);
            all - right.sum::<f64>()
        };
        Ok(photos.iter().map(loss).collect())
    }

    /// The numbers of the [`BEST`] snapshots on some of the photos.
    fn best(&self, logits: &[Vec<f32>], photos: &[usize]) -> Result<Vec<usize>> {
        let losses = logits.iter().map(|logits| Ok(self.measure(logits, photos)?.log_loss));
        let losses = losses.collect::<Result<Vec<f64>>>()?;
        let mut numbers: Vec<usize> = (0..losses.len()).collect();
        numbers.sort_by(|&one, &other| losses[one].total_cmp(&losses[other]));
        numbers.truncate(BEST);
        Ok(numbers)
    }
}

/// The logarithm of a probability, which is a logit of the softmax. The least positive number stands for 0.
fn log(probability: f32) -> f32 {
    probability.max(f32::MIN_POSITIVE).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_within_its_standard_error_is_no_gain() {
        let trial = |one: &[f64], other: &[f64]| {
            let Compared { means: [linear_log_loss, tuned_log_loss], standard_error } = Compared::of(one, other);
            Trial { linear_log_loss, tuned_log_loss, standard_error, ..Trial::WORSE }
        };
        // Differences 1 and 0: a mean of 0.5 with a standard error of 0.5.
        let even = trial(&[2.0, 1.0], &[1.0, 1.0]);
        assert_eq!((even.linear_log_loss, even.tuned_log_loss, even.standard_error), (1.5, 1.0, 0.5));
        assert!(!even.is_better());
        // Differences 1, 1, 1 and 0: a mean of 0.75 with a standard error of 0.25.
        assert!(trial(&[2.0; 4], &[1.0, 1.0, 1.0, 2.0]).is_better());
        assert!(!trial(&[1.0; 4], &[2.0; 4]).is_better() && !Trial::WORSE.is_better());
    }
}
