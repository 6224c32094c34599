//! Fine-tuning in each fold and among all photos, each after a trial.

use engraft_linear::{Features, Fit, LinearError, LinearModel, Monitor, fit};

use super::trial::{self, Trial, trial};
use super::tuner::Tuner;
use super::{Context, FineTuned, FineTuning, Linear};
use crate::data::Photo;
use crate::recipe::PhotoFeatures;
use crate::recipe::linear_probe::candidate::{failed, matrix};
use crate::recipe::linear_probe::report::HeldOutScore;
use crate::{ErrorKind, Result};

/// One fine-tuning with its trials.
pub(super) struct Run<'a> {
    pub(super) linear: &'a Linear<'a>,
    pub(super) tuner: &'a Tuner<'a>,
    pub(super) epochs: usize,
    pub(super) context: &'a Context<'a>,
}

impl Run<'_> {
    /// Tries fine-tuning in each fold and among all photos; `None` if interrupted.
    pub(super) fn with_score(
        &self,
        held_out: &PhotoFeatures,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<FineTuned>> {
        let Linear { trained, score, is_chosen, .. } = self.linear;
        let (labels, folds) = (&trained.labels, self.context.folds);
        let runs = (folds.count() + 1) as f64;
        let (mut probabilities, mut folds_kept) = (score.probabilities.clone(), 0);
        for fold in (0..folds.count()).filter(|&fold| is_chosen[fold]) {
            let (training, left_out) = folds.split(fold);
            let mut of_fold = |fraction: f64| progress((fold as f64 + fraction) / runs);
            let head = &trained.score.models[fold];
            let Some(trial) = self.trial(&training, fold as u64 + 1, &mut of_fold)? else { return Ok(None) };
            match self.repeat(head, &training, &trial, &mut of_fold)? {
                Repeated::Stopped => return Ok(None),
                Repeated::No => continue,
                Repeated::Yes => folds_kept += 1,
            }
            let of_fold = self.tuner.probabilities(self.tuner.features(), &left_out)?;
            for (&photo, row) in left_out.iter().zip(of_fold.chunks_exact(labels.classes())) {
                probabilities[photo * labels.classes()..][..labels.classes()].copy_from_slice(row);
            }
        }
        let all: Vec<usize> = (0..labels.samples()).collect();
        let mut of_all = |fraction: f64| progress((runs - 1.0 + fraction) / runs);
        let Some(trial) = self.trial(&all, 0, &mut of_all)? else { return Ok(None) };
        let kept = match self.repeat(&trained.fit.model, &all, &trial, &mut of_all)? {
            Repeated::Stopped => return Ok(None),
            repeated => matches!(repeated, Repeated::Yes),
        };
        let Trial { linear_log_loss, tuned_log_loss, standard_error, .. } = trial;
        let epochs = self.epochs;
        let outcome = FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, standard_error, folds_kept, kept };
        let held_out = if kept { self.held_out(held_out)? } else { None };
        let score = score.with_probabilities(probabilities, labels).map_err(failed)?;
        Ok(Some(FineTuned { outcome, score: Some(score), held_out }))
    }

    /// A trial among the photos `rows`, in the first half of the progress; `None` if interrupted.
    fn trial(&self, rows: &[usize], number: u64, progress: &mut dyn FnMut(f64)) -> Result<Option<Trial>> {
        let labels = &self.linear.trained.labels;
        let Some(parts) = trial::split(labels, rows, self.context, number)? else { return Ok(Some(Trial::WORSE)) };
        let Some(head) = self.head(&parts.training)? else { return Ok(None) };
        trial(self.tuner, &head.model, &parts, self.epochs, labels, &mut |fraction| progress(fraction / 2.0))
    }

    /// Repeats a trial that was better with all photos `rows`, from the head of all of them, in the second half of the progress.
    fn repeat(
        &self,
        head: &LinearModel,
        rows: &[usize],
        trial: &Trial,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Repeated> {
        if !trial.is_better() {
            return Ok(Repeated::No);
        }
        let mut second_half = |fraction: f64| progress(0.5 + fraction / 2.0);
        match self.tuner.repeat(head, rows, self.epochs, trial, &mut second_half) {
            Ok(Some(())) => Ok(Repeated::Yes),
            Ok(None) => Ok(Repeated::Stopped),
            // The trial on fewer photos did well, but training that diverges can't be kept.
            Err(error) if error.kind() == ErrorKind::NonFinite => Ok(Repeated::No),
            Err(error) => Err(error),
        }
    }

    /// The linear head of the photos `rows`; `None` if interrupted.
    fn head(&self, rows: &[usize]) -> Result<Option<Fit>> {
        let features = matrix(&self.linear.candidate.training).map_err(failed)?;
        let values: Vec<f32> = rows.iter().flat_map(|&row| features.row(row)).copied().collect();
        let features = Features::new(&values, rows.len(), features.dim()).map_err(failed)?;
        let mut options = self.context.options.clone();
        options.groups = Some(rows.iter().map(|&row| self.context.groups[row]).collect());
        let stop = || self.context.interrupt.is_requested();
        let monitor = Monitor::new().stop_when(&stop);
        match fit(features, &self.linear.trained.labels.select(rows), &options, &monitor) {
            Ok(fit) => Ok(Some(fit)),
            Err(LinearError::Stopped) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn held_out(&self, held_out: &PhotoFeatures) -> Result<Option<HeldOutScore>> {
        if held_out.photos.is_empty() {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..held_out.photos.len()).collect();
        let probabilities = self.tuner.probabilities(held_out, &rows)?;
        let classes = held_out.photos.iter().filter_map(Photo::class);
        let rows = probabilities.chunks(self.linear.trained.labels.classes());
        Ok(Some(HeldOutScore::of(rows.zip(classes))))
    }
}

/// Whether a trial was repeated with more photos.
enum Repeated {
    Yes,
    No,
    Stopped,
}
