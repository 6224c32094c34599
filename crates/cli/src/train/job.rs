//! The training itself, once everything is known and checked.

use engraft::Result;
use engraft::data::{Dataset, PhotoDataset};
use engraft::plan::{Memory, Precision};
use engraft::recipe::Classifier;
use engraft::train::{Fit, History, Train, available_memory, ensure_fits, set_precision};

use super::progress::Progress;
use super::settings::Phase;
use super::{Args, interrupt};
use crate::destination::Destination;
use crate::evaluate::{Score, change, with_accuracy};
use crate::output::{count, note};
use crate::targets::Targets;

/// Everything that training needs.
pub(super) struct Job<'a> {
    pub(super) args: &'a Args,
    pub(super) classifier: &'a Classifier,
    pub(super) training: Targets<PhotoDataset>,
    pub(super) validation: Option<Targets<PhotoDataset>>,
    pub(super) phases: Vec<Phase>,
}

/// How training ended.
pub(super) enum Outcome {
    Complete,
    /// By Ctrl-C, at this epoch and step.
    Stopped(String),
}

impl Job<'_> {
    fn fit(&self, batch: usize) -> Fit<'_> {
        let fit = Fit::new().batch_size(batch).shuffle(!self.args.no_shuffle);
        self.validation.iter().fold(fit, |fit, validation| fit.validation(validation))
    }

    /// Photos a step.
    pub(super) fn batch(&self) -> usize {
        self.args.batch_size.0
    }

    /// What each phase will take.
    pub(super) fn memory(&self) -> Result<Vec<Memory>> {
        self.in_each_phase(|_| self.fit(self.batch()).memory(self.classifier.model()))
    }

    /// An error that says what would make it fit, unless there is enough memory for each phase.
    pub(super) fn ensure_fits(&self, memory: &[Memory]) -> Result<()> {
        let Some(available) = available_memory() else { return Ok(()) };
        let mut memory = memory.iter();
        let check = |_: &Phase| {
            let needed = memory.next().copied().unwrap_or_default();
            let with_batch = |batch| self.fit(batch).memory(self.classifier.model()).map(|memory| memory.total());
            ensure_fits(&needed, available, self.batch(), with_batch)
        };
        self.in_each_phase(check).map(|_| ())
    }

    /// Calls `ask` with what each phase trains trainable, and leaves it as in the first.
    fn in_each_phase<T>(&self, mut ask: impl FnMut(&Phase) -> Result<T>) -> Result<Vec<T>> {
        let answer = |phase: &Phase| {
            phase.trainable.restore();
            ask(phase)
        };
        let answers = self.phases.iter().map(answer).collect();
        self.phases.iter().take(1).for_each(|phase| phase.trainable.restore());
        answers
    }

    /// Keeps decoded photos in half of the memory that training leaves.
    pub(super) fn keeping_photos(self, memory: &[Memory]) -> Self {
        let peak = memory.iter().map(Memory::total).max().unwrap_or(0);
        let budget = available_memory().map_or(0, |available| available.saturating_sub(peak) / 2);
        let [height, width] = self.classifier.image_size();
        let taken = self.training.photos.photos().len().saturating_mul(height * width * 3 * size_of::<f32>());
        let keep = |set: Targets<PhotoDataset>, bytes| set.map(|photos| photos.keep_in_memory(bytes));
        Self {
            training: keep(self.training, budget),
            validation: self.validation.map(|set| keep(set, budget.saturating_sub(taken))),
            ..self
        }
    }

    /// Trains phase by phase and saves after each. What was recorded is given however it ends.
    pub(super) fn run(&self, output: &Destination) -> (History, Result<Outcome>) {
        interrupt::watch();
        let mut history = History::default();
        let outcome = self.run_phases(output, &mut history);
        (history, outcome)
    }

    /// What computing in fewer bits than f32 changes for the model that was trained, where that was asked for: on the photos to
    /// validate on, or else on those that it learned from.
    pub(super) fn change_by_precision(&self) -> Result<Option<String>> {
        let precision = self.args.precision.get();
        if precision == Precision::F32 || interrupt::requested() {
            return Ok(None);
        }
        with_accuracy(self.classifier.model().compiled().as_mut());
        let (photos, which) = match &self.validation {
            Some(validation) => (validation, "to validate on"),
            None => (&self.training, "to learn from"),
        };
        let score = |precision| {
            set_precision(precision)?;
            let found = self.classifier.model().evaluate(photos, self.batch())?;
            Ok(Score::of(&found))
        };
        let (now, in_f32) = (score(precision)?, score(Precision::F32)?);
        let images = photos.len();
        Ok(Some(format!(
            "accuracy {:.1} %, loss {:.4} on {} {which} {}",
            100.0 * now.accuracy,
            now.loss,
            count(images, "photo"),
            change(now.accuracy, now.loss, in_f32)
        )))
    }

    fn run_phases(&self, output: &Destination, history: &mut History) -> Result<Outcome> {
        let model = self.classifier.model();
        for (number, phase) in self.phases.iter().enumerate() {
            phase.trainable.restore();
            if number > 0 {
                // Afresh, as in Keras: the old moments belong to other weights.
                let metrics = model.compiled().as_ref().map(|compiled| compiled.metrics.clone()).unwrap_or_default();
                model.compile(phase.optimizer.clone(), super::settings::loss(model)?, metrics)?;
            }
            let mut progress = Progress::new(phase.name);
            let fit = self.fit(self.batch()).epochs(phase.epochs).seed(phase.seed).callback(&mut progress);
            let fitted = model.fit(&self.training, fit);
            history.extend(&progress.history);
            fitted.inspect_err(|_| note(what_is_left(output, number)))?;
            self.classifier.save_with(output.path(), self.args.save_optimizer)?;
            if let Some(place) = progress.stopped {
                return Ok(Outcome::Stopped(place));
            }
        }
        Ok(Outcome::Complete)
    }
}

/// What a failure in phase `number` leaves on the disk.
fn what_is_left(output: &Destination, number: usize) -> String {
    let path = output.path().display();
    match number {
        0 if output.path().exists() => format!("{path} is as it was before"),
        0 => format!("{path} was not written"),
        _ => format!("{path} holds what was learned before fine-tuning"),
    }
}
