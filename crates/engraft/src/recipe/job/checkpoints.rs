//! The files of a training job: the best epoch so far or, without a validation set, the last one.

use std::path::{Path, PathBuf};

use crate::formats::keras;
use crate::recipe::Classifier;
use crate::train::EpochEnd;
use crate::train::callbacks::Monitor;
use crate::{Error, ErrorKind, Model, Result};

/// A model file that a [`TrainingJob`](super::TrainingJob) saved, and the moment of training whose weights it holds.
///
/// ```
/// use engraft::recipe::Checkpoint;
/// let holds = |file: &Checkpoint| match (file.steps, file.val_loss) {
///     (0, Some(val_loss)) => format!("epoch {}, the best by val_loss {val_loss}", file.epochs),
///     (0, None) => format!("epoch {}", file.epochs),
///     (steps, _) => format!("epoch {}, step {steps}", file.epochs + 1),
/// };
/// let best = Checkpoint {
///     path: "model.keras".into(),
///     optimizer_state: false,
///     phase: 0,
///     epochs: 7,
///     steps: 0,
///     val_loss: Some(0.25),
/// };
/// assert_eq!(holds(&best), "epoch 7, the best by val_loss 0.25");
/// assert_eq!(holds(&Checkpoint { steps: 3, val_loss: None, ..best }), "epoch 8, step 3");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The path of the file.
    pub path: PathBuf,
    /// Whether the file has the optimizer's state.
    pub optimizer_state: bool,
    /// Index of the phase within the job, from 0.
    pub phase: usize,
    /// Number of complete epochs of the phase.
    pub epochs: usize,
    /// Number of steps after these epochs; 0 unless an epoch was interrupted.
    pub steps: usize,
    /// `val_loss` of the epoch, if the file holds the best epoch of the run.
    pub val_loss: Option<f64>,
}

/// The file that a job saves to.
pub(super) struct Output {
    pub(super) path: PathBuf,
    pub(super) optimizer_state: bool,
}

impl Output {
    /// The path of the best epoch, beside the file that holds the last one: `model-best.keras` for `model.keras`.
    pub(super) fn best_path(&self) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push("-best");
        if let Some(extension) = self.path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.path.with_file_name(name)
    }
}

/// A moment of training: after a number of complete epochs of a phase, and of steps after these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) phase: usize,
    pub(super) epochs: usize,
    pub(super) steps: usize,
}

/// Saves a classifier while it trains, and brings back the best epoch's weights.
///
/// `Monitor` and not `ModelCheckpoint` tracks the best epoch: a `ModelCheckpoint` starts anew in every call of `fit`, and a phase
/// must not replace a better epoch of an earlier phase.
pub(super) struct Checkpoints<'a> {
    classifier: &'a Classifier,
    output: Option<&'a Output>,
    val_loss: Monitor,
    kept: Option<Kept>,
    saved: Vec<Checkpoint>,
}

/// The weights that the job keeps: those of the best epoch or, without a validation set, the latest.
struct Kept {
    /// The versions of the model's weights when they were kept. Equal versions mean that the model still has these weights.
    versions: Vec<u64>,
    /// The values, if no file holds them.
    copy: Option<Vec<Vec<f32>>>,
}

impl<'a> Checkpoints<'a> {
    pub(super) fn new(classifier: &'a Classifier, output: Option<&'a Output>) -> Self {
        Self { classifier, output, val_loss: Monitor::new("val_loss"), kept: None, saved: Vec::new() }
    }

    /// The files that were saved, with what they hold.
    pub(super) fn into_saved(self) -> Vec<Checkpoint> {
        self.saved
    }

    /// Keeps the weights after a complete epoch, if it is the best so far or was not validated.
    ///
    /// # Errors
    /// A weight isn't finite, or a file can't be written.
    pub(super) fn epoch_ended(&mut self, phase: usize, end: &EpochEnd<'_>) -> Result<()> {
        check_finite(self.classifier.model())?;
        let (moment, val_loss) = (Moment { phase, epochs: end.epoch + 1, steps: 0 }, end.get("val_loss"));
        let improves = val_loss.is_none() || self.val_loss.improves(end, 0.0)?;
        if let (Some(output), Some(_)) = (self.output.filter(|output| output.optimizer_state), val_loss) {
            self.save(&output.path, true, moment, None)?;
        }
        if improves { self.keep(moment, val_loss) } else { Ok(()) }
    }

    /// Keeps the weights at the end of a phase, unless a complete epoch was validated: an interrupted epoch has no `val_loss` to
    /// compare.
    ///
    /// # Errors
    /// A weight isn't finite, or the file can't be written.
    pub(super) fn phase_ended(&mut self, moment: Moment) -> Result<()> {
        let model = self.classifier.model();
        if self.val_loss.best().is_some() || self.kept.as_ref().is_some_and(|kept| kept.is_current(model)) {
            return Ok(());
        }
        check_finite(model)?;
        self.keep(moment, None)
    }

    /// Gives the model the weights of the best epoch, if epochs were validated.
    ///
    /// # Errors
    /// The file that holds them can't be read.
    pub(super) fn restore_best(&self) -> Result<()> {
        let model = self.classifier.model();
        let best = self.kept.as_ref().filter(|kept| self.val_loss.best().is_some() && !kept.is_current(model));
        let Some(best) = best else { return Ok(()) };
        if let Some(copy) = &best.copy {
            return model.weights().iter().zip(copy).try_for_each(|(weight, values)| weight.set(values.clone()));
        }
        let file = self.saved.iter().find(|saved| saved.val_loss.is_some());
        file.map_or(Ok(()), |file| keras::load_weights(&file.path, model))
    }

    fn keep(&mut self, moment: Moment, val_loss: Option<f64>) -> Result<()> {
        let mut copy = None;
        match self.output {
            // The file with the optimizer's state holds the last epoch, so the best one has a file of its own.
            Some(output) if output.optimizer_state && val_loss.is_some() => {
                self.save(&output.best_path(), false, moment, val_loss)?;
            }
            Some(output) => self.save(&output.path, output.optimizer_state, moment, val_loss)?,
            None if val_loss.is_some() => {
                let weights = self.classifier.model().weights();
                copy = Some(weights.iter().map(|weight| weight.values().clone()).collect());
            }
            None => {}
        }
        self.kept = Some(Kept { versions: versions(self.classifier.model()), copy });
        Ok(())
    }

    fn save(&mut self, path: &Path, optimizer_state: bool, moment: Moment, val_loss: Option<f64>) -> Result<()> {
        self.classifier.save_with(path, optimizer_state)?;
        let Moment { phase, epochs, steps } = moment;
        let saved = Checkpoint { path: path.to_owned(), optimizer_state, phase, epochs, steps, val_loss };
        match self.saved.iter_mut().find(|saved| saved.path == path) {
            Some(earlier) => *earlier = saved,
            None => self.saved.push(saved),
        }
        Ok(())
    }
}

impl Kept {
    fn is_current(&self, model: &Model) -> bool {
        self.versions == versions(model)
    }
}

fn versions(model: &Model) -> Vec<u64> {
    model.weights().iter().map(|weight| weight.version()).collect()
}

/// Checks that all weights are finite. The loss of a step doesn't show whether the step's own update overflowed.
fn check_finite(model: &Model) -> Result<()> {
    let weights = model.weights();
    match weights.iter().find(|weight| !weight.values().iter().all(|value| value.is_finite())) {
        None => Ok(()),
        Some(weight) => {
            Err(Error::because(weight.path(), "not all values are finite: training has most likely diverged")
                .with_kind(ErrorKind::NonFinite)
                .hint("use a smaller learning rate, for example a tenth of this one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn classifier() -> Classifier {
        let model = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(2));
        Classifier::new(model.build().unwrap(), None).unwrap()
    }

    /// Simulates the end of an epoch: all weights are `value`, and the validation loss is `val_loss`.
    fn epoch(checkpoints: &mut Checkpoints<'_>, epoch: usize, value: f32, val_loss: Option<f64>) -> Result<()> {
        set(checkpoints.classifier, value);
        let numbers: Vec<_> = val_loss.map(|loss| ("val_loss".to_owned(), loss)).into_iter().collect();
        checkpoints.epoch_ended(0, &EpochEnd { epoch, steps: 1, numbers: &numbers })
    }

    fn set(classifier: &Classifier, value: f32) {
        classifier.model().weights().iter().for_each(|weight| weight.values_mut().fill(value));
    }

    fn value(classifier: &Classifier) -> f32 {
        classifier.model().weights()[0].values()[0]
    }

    fn value_in(path: &Path) -> f32 {
        value(&Classifier::load(path).unwrap())
    }

    #[test]
    fn the_best_file_stands_beside_the_other() {
        let best = |path: &str| Output { path: path.into(), optimizer_state: true }.best_path();
        assert_eq!(best("a/m.keras"), Path::new("a/m-best.keras"));
        assert_eq!(best("m"), Path::new("m-best"));
        assert_eq!(best("m.2.keras"), Path::new("m.2-best.keras"));
    }

    #[test]
    fn the_best_epoch_comes_back_from_a_copy_if_there_is_no_file() {
        let classifier = classifier();
        let mut checkpoints = Checkpoints::new(&classifier, None);
        for (number, val_loss) in [0.5, 0.3, 0.3, 0.4].into_iter().enumerate() {
            epoch(&mut checkpoints, number, number as f32, Some(val_loss)).unwrap();
        }
        checkpoints.restore_best().unwrap();
        assert_eq!(value(&classifier), 1.0, "of equal epochs the earlier is the best");
        assert!(checkpoints.into_saved().is_empty());
    }

    #[test]
    fn without_validation_the_latest_weights_are_kept() {
        let (classifier, folder) = (classifier(), tempfile::tempdir().unwrap());
        let output = Output { path: folder.path().join("m.keras"), optimizer_state: false };
        let mut checkpoints = Checkpoints::new(&classifier, Some(&output));
        epoch(&mut checkpoints, 0, 1.0, None).unwrap();
        let written = || std::fs::metadata(&output.path).unwrap().modified().unwrap();
        let first = written();
        checkpoints.phase_ended(Moment { phase: 0, epochs: 1, steps: 0 }).unwrap();
        assert_eq!(written(), first, "the file holds these weights already");

        set(&classifier, 2.0);
        checkpoints.phase_ended(Moment { phase: 0, epochs: 1, steps: 3 }).unwrap();
        checkpoints.restore_best().unwrap();
        assert_eq!((value_in(&output.path), value(&classifier)), (2.0, 2.0));
        let saved = checkpoints.into_saved();
        assert_eq!((saved.len(), saved[0].epochs, saved[0].steps, saved[0].val_loss), (1, 1, 3, None));
    }

    #[test]
    fn weights_that_are_not_finite_replace_nothing() {
        let (classifier, folder) = (classifier(), tempfile::tempdir().unwrap());
        let output = Output { path: folder.path().join("m.keras"), optimizer_state: false };
        let mut checkpoints = Checkpoints::new(&classifier, Some(&output));
        epoch(&mut checkpoints, 0, 1.0, None).unwrap();
        let error = epoch(&mut checkpoints, 1, f32::INFINITY, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().contains("/kernel: not all values are finite"), "{error}");
        checkpoints.phase_ended(Moment { phase: 0, epochs: 1, steps: 3 }).unwrap_err();
        assert_eq!(value_in(&output.path), 1.0);
    }
}
