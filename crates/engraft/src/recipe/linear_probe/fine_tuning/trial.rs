//! A trial of fine-tuning: whether it lowers the log loss on photos that are held out of it.

use engraft_linear::calibration::{Calibrated, calibrate};
use engraft_linear::{Folds, Labels, LinearModel};

use super::super::candidate::failed;
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
    /// Log loss of the linear head, with its best temperature.
    pub(super) linear_log_loss: f64,
    /// Log loss of the average of the best snapshots, with its best temperature.
    pub(super) tuned_log_loss: f64,
    /// That temperature, as a factor of the logits.
    pub(super) temperature: f64,
    /// The numbers of the best snapshots.
    pub(super) snapshots: Vec<usize>,
}

impl Trial {
    /// Whether fine-tuning lowered the log loss.
    pub(super) fn is_better(&self) -> bool {
        self.tuned_log_loss < self.linear_log_loss
    }
}

/// Holds out one of [`PARTS`] parts of the photos `rows`; `None` if there are too few.
pub(super) fn split(labels: &Labels, rows: &[usize], seed: u64, number: u64) -> Result<Option<Parts>> {
    if rows.len() < 2 {
        return Ok(None);
    }
    let folds = Folds::stratified(&labels.select(rows), PARTS, mix(seed, number)).map_err(failed)?;
    let (training, validation) = folds.split(0);
    let of = |part: Vec<usize>| part.into_iter().map(|row| rows[row]).collect();
    Ok(Some(Parts { training: of(training), validation: of(validation) }))
}

/// Fine-tunes from `head`, the linear head of the training photos; `None` if interrupted.
///
/// Both losses are those after the best temperature, because a temperature follows in any case.
pub(super) fn trial(
    tuner: &Tuner<'_>,
    head: &LinearModel,
    parts: &Parts,
    epochs: usize,
    labels: &Labels,
    progress: &mut dyn FnMut(f64),
) -> Result<Option<Trial>> {
    let validation = labels.select(&parts.validation);
    let measure = || -> Result<Calibrated> {
        let logits: Vec<f32> = tuner.probabilities(tuner.features(), &parts.validation)?.into_iter().map(log).collect();
        calibrate(&logits, &validation).map_err(failed)
    };
    tuner.restart(head)?;
    let linear = measure()?;
    let failed = Trial {
        linear_log_loss: linear.log_loss,
        tuned_log_loss: f64::INFINITY,
        temperature: 1.0,
        snapshots: Vec::new(),
    };
    let snapshots = match tuner.tune(head, &parts.training, epochs, progress) {
        // Training that diverges is no improvement.
        Err(error) if error.kind() == ErrorKind::NonFinite => return Ok(Some(failed)),
        snapshots => snapshots?,
    };
    let Some(snapshots) = snapshots else { return Ok(None) };
    let mut losses = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        tuner.set(snapshot)?;
        losses.push((measure()?.log_loss, number));
    }
    losses.sort_by(|one, other| one.0.total_cmp(&other.0));
    let best: Vec<usize> = losses.iter().take(BEST).map(|&(_, number)| number).collect();
    tuner.set(&average(&best.iter().map(|&number| &snapshots[number]).collect::<Vec<_>>()))?;
    let tuned = measure()?;
    Ok(Some(Trial { tuned_log_loss: tuned.log_loss, temperature: tuned.temperature, snapshots: best, ..failed }))
}

/// The logarithm of a probability, which is a logit of the softmax. The least positive number stands for 0.
fn log(probability: f32) -> f32 {
    probability.max(f32::MIN_POSITIVE).ln()
}
