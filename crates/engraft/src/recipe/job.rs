//! Trains a classifier on photos in one or more phases, saves it and reports the result.

use std::path::{Path, PathBuf};

use super::{Classifier, Interrupt, Phase};
use crate::data::{Dataset, Photo, PhotoDataset};
use crate::plan::Memory;
use crate::runtime::{Runtime, ensure_fits};
use crate::train::{BatchEnd, Callback, EpochEnd, Evaluation, Fit, History, RunOptions, Targets, Train, Training};
use crate::{Error, Result};

/// A training run of a classifier: training set, validation set, phases and output file.
///
/// ```
/// use engraft::data::{PhotoFolder, split};
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob};
///
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     for photo in 0..4 {
/// #         let pixels = vec![grey + photo as u8; 8 * 8 * 3];
/// #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #         bmp.extend([0; 24]);
/// #         bmp.extend(pixels);
/// #         std::fs::write(photos.path().join(class).join(format!("{photo}.bmp")), bmp)?;
/// #     }
/// # }
/// # let photos = photos.path();
/// let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
/// let parts = split(&folder.photos, 0.25, 0)?;
/// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
///
/// let classifier = Classifier::new(model, None)?;
/// let phases = vec![Phase::first(classifier.model(), 20, 0)?];
/// let runtime = Runtime::cpu(Some(2))?;
/// let file = photos.join("model.keras");
/// let job = TrainingJob::new(&classifier, parts.training, parts.validation, phases)?
///     .batch_size(4)
///     .shuffle(true)
///     .runtime(&runtime)
///     .save_to(&file, false)
///     .keep_photos_in_memory()?;
/// assert_eq!((job.training_set().len(), job.steps()), (6, 2));
/// assert_eq!(job.validation_set().map(|photos| photos.len()), Some(2));
///
/// // Fail before the first step if memory is short.
/// job.ensure_fits()?;
/// println!("{} of memory in the first phase", job.memory()?[0].total_readable());
///
/// let report = job.run(&Interrupt::new(), &mut |_phase| None);
/// assert_eq!(report.outcome?, Outcome::Complete);
/// assert_eq!(report.history.last("val_accuracy"), Some(1.0));
/// assert_eq!(job.evaluate(&runtime)?.get("accuracy"), Some(1.0));
/// assert!(file.is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrainingJob<'a> {
    classifier: &'a Classifier,
    training: Targets<PhotoDataset>,
    validation: Option<Targets<PhotoDataset>>,
    phases: Vec<Phase>,
    batch_size: usize,
    shuffle: bool,
    runtime: Option<Runtime>,
    output: Option<(PathBuf, bool)>,
}

/// How a training run ended without an error.
///
/// ```
/// use engraft::recipe::Outcome;
/// let message = |outcome| match outcome {
///     Outcome::Complete => "training is complete".to_owned(),
///     Outcome::Interrupted { phase, epoch, .. } => format!("stopped in epoch {} of phase {}", epoch + 1, phase + 1),
/// };
/// let stopped = Outcome::Interrupted { phase: 1, epoch: 4, step: 17 };
/// assert_eq!(message(stopped), "stopped in epoch 5 of phase 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All phases were completed.
    Complete,
    /// Training stopped because the [`Interrupt`] was requested. The fields are the place of the last completed step.
    Interrupted {
        /// Index of the phase within the job, from 0.
        phase: usize,
        /// Index of the epoch within the phase, from 0.
        epoch: usize,
        /// Index of the step within the epoch, from 0.
        step: usize,
    },
}

/// Result of [`TrainingJob::run`]: history, number of saved phases, and outcome. A run that fails has a report too.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob, TrainingReport};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let files = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, files, Vec::new(), phases)?;
/// let interrupt = Interrupt::new();
/// // A handler of Ctrl-C would do this.
/// interrupt.request();
/// let report: TrainingReport = job.run(&interrupt, &mut |_phase| None);
/// assert_eq!(report.phases_saved, 0);
/// assert_eq!(report.outcome?, Outcome::Interrupted { phase: 0, epoch: 0, step: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrainingReport {
    /// Loss and metrics of each epoch, over all phases.
    pub history: History,
    /// Number of phases after which the model was saved, including an interrupted phase.
    pub phases_saved: usize,
    /// How the run ended, or its error.
    pub outcome: Result<Outcome>,
}

/// Function that creates the callback of each phase, or `None` for a phase without a callback.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{CallbackFactory, Interrupt, Phase, TrainingJob};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let files = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, files, Vec::new(), phases)?;
/// let mut epochs = Vec::new();
/// let create_callback: CallbackFactory<'_> = &mut |phase| {
///     epochs.push(phase.epochs);
///     Some(Box::new(EarlyStopping::new("loss")))
/// };
/// job.run(&Interrupt::new(), create_callback).outcome?;
/// assert_eq!(epochs, [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type CallbackFactory<'a> = &'a mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>>;

impl<'a> TrainingJob<'a> {
    /// A job that trains a compiled classifier on `training`, in batches of 32.
    ///
    /// `validation` may be empty. The phases run in order.
    ///
    /// # Errors
    /// The model isn't compiled, or a photo's class is not one of the model's.
    pub fn new(
        classifier: &'a Classifier,
        training: Vec<Photo>,
        validation: Vec<Photo>,
        phases: Vec<Phase>,
    ) -> Result<Self> {
        let (model, loss) = (classifier.model(), classifier.model().compiled_or_error()?.loss);
        let targets = |photos| {
            let photos = PhotoDataset::new(photos, classifier.classes().len(), classifier.image_size())?;
            Ok::<_, Error>(Targets::new(photos, model, &loss))
        };
        let validation = if validation.is_empty() { None } else { Some(targets(validation)?) };
        let training = targets(training)?;
        let (batch_size, shuffle, runtime, output) = (32, true, None, None);
        Ok(Self { classifier, training, validation, phases, batch_size, shuffle, runtime, output })
    }

    /// Sets the number of photos per step; 32 by default.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Sets whether the training set is shuffled before each epoch; true by default.
    #[must_use]
    pub fn shuffle(self, shuffle: bool) -> Self {
        Self { shuffle, ..self }
    }

    /// Trains with this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// Makes [`run`](Self::run) save the classifier to this `.keras` file after each phase, with the optimizer's state if
    /// `optimizer_state` is true.
    #[must_use]
    pub fn save_to(self, path: &Path, optimizer_state: bool) -> Self {
        Self { output: Some((path.to_owned(), optimizer_state)), ..self }
    }

    /// The classifier.
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// The training set.
    pub fn training_set(&self) -> &Targets<PhotoDataset> {
        &self.training
    }

    /// The validation set, if there is one.
    pub fn validation_set(&self) -> Option<&Targets<PhotoDataset>> {
        self.validation.as_ref()
    }

    /// The phases, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Number of steps in each epoch.
    pub fn steps(&self) -> usize {
        self.training.len().div_ceil(self.batch_size.max(1))
    }

    fn runtime_or_shared(&self) -> Result<Runtime> {
        self.runtime.clone().map_or_else(Runtime::shared, Ok)
    }

    /// The memory that each phase needs. The model is unchanged.
    ///
    /// # Errors
    /// No plan exists for a phase, for example because no layer is trainable.
    pub fn memory(&self) -> Result<Vec<Memory>> {
        let runtime = self.runtime_or_shared()?;
        self.phases.iter().map(|phase| self.memory_of(phase, &runtime, self.batch_size)).collect()
    }

    fn memory_of(&self, phase: &Phase, runtime: &Runtime, batch_size: usize) -> Result<Memory> {
        let fit = self.fit(phase, runtime).batch_size(batch_size);
        fit.memory(self.classifier.model(), &phase.trainability)
    }

    /// The options of `fit` for a phase.
    fn fit<'f>(&'f self, phase: &Phase, runtime: &'f Runtime) -> Fit<'f> {
        let fit = Fit::new().batch_size(self.batch_size).shuffle(self.shuffle).runtime(runtime);
        let fit = fit.epochs(phase.epochs).seed(phase.seed);
        self.validation.iter().fold(fit, |fit, validation| fit.validation(validation))
    }

    /// Checks that each phase fits into memory.
    ///
    /// # Errors
    /// A phase needs more memory than is available. The error names a batch size that fits, if there is one.
    pub fn ensure_fits(&self) -> Result<()> {
        let runtime = self.runtime_or_shared()?;
        let Some(available) = runtime.available_memory() else { return Ok(()) };
        self.phases.iter().try_for_each(|phase| {
            let of_batch = |batch| self.memory_of(phase, &runtime, batch);
            ensure_fits(&of_batch(self.batch_size)?, available, self.batch_size, |batch| Ok(of_batch(batch)?.total()))
        })
    }

    /// Caches decoded photos in memory, in at most half of the memory that training leaves free.
    ///
    /// The training set has priority over the validation set. Photos that don't fit are decoded again in each epoch.
    ///
    /// # Errors
    /// Those of [`memory`](Self::memory).
    pub fn keep_photos_in_memory(self) -> Result<Self> {
        let peak = self.memory()?.iter().map(Memory::total).max().unwrap_or(0);
        let available = self.runtime_or_shared()?.available_memory();
        let budget = available.map_or(0, |available| available.saturating_sub(peak) / 2);
        let [height, width] = self.classifier.image_size();
        let training_bytes = self.training.dataset.photos().len().saturating_mul(height * width * 3 * size_of::<f32>());
        let keep = |set: Targets<PhotoDataset>, bytes| set.map(|photos| photos.keep_in_memory(bytes));
        Ok(Self {
            training: keep(self.training, budget),
            validation: self.validation.map(|set| keep(set, budget.saturating_sub(training_bytes))),
            ..self
        })
    }

    /// Computes loss and metrics on the validation set or, without one, on the training set.
    ///
    /// # Errors
    /// Those of [`evaluate`](Train::evaluate).
    pub fn evaluate(&self, runtime: &Runtime) -> Result<Evaluation> {
        let photos = self.validation.as_ref().unwrap_or(&self.training);
        self.classifier.model().evaluate(photos, RunOptions::from(self.batch_size).runtime(runtime))
    }

    /// Trains the phases in order and saves the classifier after each, also after an interrupted one, if
    /// [`save_to`](Self::save_to) was called.
    ///
    /// `create_callback` is called at the start of each phase. Errors are in [`TrainingReport::outcome`].
    pub fn run(&self, interrupt: &Interrupt, create_callback: CallbackFactory<'_>) -> TrainingReport {
        let mut report =
            TrainingReport { history: History::default(), phases_saved: 0, outcome: Ok(Outcome::Complete) };
        for (number, phase) in self.phases.iter().enumerate() {
            if number > 0 && interrupt.is_requested() {
                let (epoch, step) = (self.phases[number - 1].epochs.saturating_sub(1), self.steps().saturating_sub(1));
                report.outcome = Ok(Outcome::Interrupted { phase: number - 1, epoch, step });
                break;
            }
            match self.run_phase((number, phase), interrupt, create_callback, &mut report) {
                Ok(Outcome::Complete) => {}
                ended => {
                    report.outcome = ended;
                    break;
                }
            }
        }
        report
    }

    fn run_phase(
        &self,
        (number, phase): (usize, &Phase),
        interrupt: &Interrupt,
        create_callback: CallbackFactory<'_>,
        report: &mut TrainingReport,
    ) -> Result<Outcome> {
        let (model, runtime) = (self.classifier.model(), self.runtime_or_shared()?);
        phase.trainability.apply(model);
        let compiled = model.compiled_or_error()?;
        if number == 0 && compiled.optimizer.slots() == phase.optimizer.slots() {
            // The optimizer's state stays valid, so training resumes where an earlier run stopped.
            model.update_compiled(|compiled| compiled.optimizer = phase.optimizer.clone())?;
        } else {
            // The saved state is of other weights or of another optimizer, so it starts at zero, as after `compile` in Keras.
            model.compile(phase.optimizer.clone(), compiled.loss, compiled.metrics)?;
        }
        let mut recorder = Recorder { interrupt, epochs: phase.epochs, history: History::default(), stopped: None };
        let mut callback = create_callback(phase);
        let fit = self.fit(phase, &runtime).callback(&mut recorder);
        let fit = callback.iter_mut().fold(fit, |fit, callback| fit.callback(&mut **callback));
        let fitted = model.fit(&self.training, fit);
        report.history.extend(&recorder.history);
        fitted?;
        if let Some((path, optimizer_state)) = &self.output {
            self.classifier.save_with(path, *optimizer_state)?;
            report.phases_saved += 1;
        }
        let stopped = recorder.stopped;
        Ok(stopped.map_or(Outcome::Complete, |(epoch, step)| Outcome::Interrupted { phase: number, epoch, step }))
    }
}

/// Callback that records the history and stops training when the interrupt is requested.
struct Recorder<'a> {
    interrupt: &'a Interrupt,
    epochs: usize,
    history: History,
    /// Epoch and step after which training stopped.
    stopped: Option<(usize, usize)>,
}

impl Recorder<'_> {
    fn stop_if_requested(&mut self, epoch: usize, step: usize, training: &mut Training<'_>) {
        if self.interrupt.is_requested() && self.stopped.is_none() {
            self.stopped = Some((epoch, step));
            training.stop_at_once();
        }
    }
}

impl Callback for Recorder<'_> {
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        // After the last step of a phase, the phase is complete. `run` checks the interrupt before the next phase.
        let last = end.epoch + 1 == self.epochs && end.step + 1 == end.steps;
        if !last {
            self.stop_if_requested(end.epoch, end.step, training);
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        self.history.push(end.numbers.iter().cloned());
        if end.epoch + 1 < self.epochs {
            self.stop_if_requested(end.epoch, end.steps - 1, training);
        }
        Ok(())
    }
}
