//! The training of a classifier on photos, phase by phase.

use std::path::{Path, PathBuf};

use super::{Classifier, Interrupt, Phase};
use crate::data::{Dataset, Photo, PhotoDataset};
use crate::plan::Memory;
use crate::runtime::{Runtime, ensure_fits};
use crate::train::{BatchEnd, Callback, EpochEnd, Evaluation, Fit, History, RunOptions, Targets, Train, Training};
use crate::{Error, Result};

/// Everything that the training of a classifier needs: photos, phases, and where the result goes.
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
/// let job = TrainingJob::new(&classifier, parts.training, parts.validation, phases)?.batch_size(4);
/// let report = job.run(&Interrupt::new(), &mut |_phase| None);
/// assert_eq!(report.outcome?, Outcome::Complete);
/// assert_eq!(report.history.last("val_accuracy"), Some(1.0));
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

/// How training ended, where nothing failed.
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
    /// All phases were trained.
    Complete,
    /// The caller wanted to stop.
    Interrupted {
        /// Number of the phase, from 0.
        phase: usize,
        /// Epoch of the phase, from 0.
        epoch: usize,
        /// The last step made, from 0.
        step: usize,
    },
}

/// What training has left, however it ended.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Outcome, Phase, Report, TrainingJob};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let listed = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, listed, Vec::new(), phases)?;
/// let interrupt = Interrupt::new();
/// // Ctrl-C, say.
/// interrupt.request();
/// let report: Report = job.run(&interrupt, &mut |_phase| None);
/// assert_eq!(report.phases_saved, 0);
/// assert_eq!(report.outcome?, Outcome::Interrupted { phase: 0, epoch: 0, step: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Report {
    /// Numbers of each epoch, all phases together.
    pub history: History,
    /// Phases after which the model was saved.
    pub phases_saved: usize,
    /// How it ended.
    pub outcome: Result<Outcome>,
}

/// Makes the callback that watches a phase of training, where one is wanted.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Observer, Phase, TrainingJob};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let listed = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, listed, Vec::new(), phases)?;
/// let mut epochs = Vec::new();
/// let observer: Observer<'_> = &mut |phase| {
///     epochs.push(phase.epochs);
///     Some(Box::new(EarlyStopping::new("loss")))
/// };
/// job.run(&Interrupt::new(), observer).outcome?;
/// assert_eq!(epochs, [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Observer<'a> = &'a mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>>;

impl<'a> TrainingJob<'a> {
    /// The training of a compiled classifier on these photos, in batches of 32.
    ///
    /// # Errors
    /// A model not compiled, photos of classes that it doesn't have.
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

    /// Photos a step; 32 by default.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Whether each epoch takes the photos in an order of its own; true by default.
    #[must_use]
    pub fn shuffle(self, shuffle: bool) -> Self {
        Self { shuffle, ..self }
    }

    /// Runs on this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// Saves the classifier to a `.keras` file after each phase, with the optimizer's state if wanted.
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

    /// The phases.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Steps of each epoch.
    pub fn steps(&self) -> usize {
        self.training.len().div_ceil(self.batch_size.max(1))
    }

    fn runtime_or_shared(&self) -> Result<Runtime> {
        self.runtime.clone().map_or_else(Runtime::shared, Ok)
    }

    /// What each phase takes. The model stays as it is.
    ///
    /// # Errors
    /// A phase that can't be planned.
    pub fn memory(&self) -> Result<Vec<Memory>> {
        let runtime = self.runtime_or_shared()?;
        self.phases.iter().map(|phase| self.memory_of(phase, &runtime, self.batch_size)).collect()
    }

    fn memory_of(&self, phase: &Phase, runtime: &Runtime, batch_size: usize) -> Result<Memory> {
        let fit = self.fit(phase, runtime).batch_size(batch_size);
        fit.memory(self.classifier.model(), &phase.trainability)
    }

    /// How a phase is trained.
    fn fit<'f>(&'f self, phase: &Phase, runtime: &'f Runtime) -> Fit<'f> {
        let fit = Fit::new().batch_size(self.batch_size).shuffle(self.shuffle).runtime(runtime);
        let fit = fit.epochs(phase.epochs).seed(phase.seed);
        self.validation.iter().fold(fit, |fit, validation| fit.validation(validation))
    }

    /// An error that says what would make it fit, unless there is enough memory for each phase.
    ///
    /// # Errors
    /// There isn't.
    pub fn ensure_fits(&self) -> Result<()> {
        let runtime = self.runtime_or_shared()?;
        let Some(available) = runtime.available_memory() else { return Ok(()) };
        self.phases.iter().try_for_each(|phase| {
            let of_batch = |batch| self.memory_of(phase, &runtime, batch);
            ensure_fits(&of_batch(self.batch_size)?, available, self.batch_size, |batch| Ok(of_batch(batch)?.total()))
        })
    }

    /// Keeps decoded photos in half of the memory that training leaves.
    ///
    /// # Errors
    /// A phase that can't be planned.
    pub fn keep_photos_in_memory(self) -> Result<Self> {
        let peak = self.memory()?.iter().map(Memory::total).max().unwrap_or(0);
        let available = self.runtime_or_shared()?.available_memory();
        let budget = available.map_or(0, |available| available.saturating_sub(peak) / 2);
        let [height, width] = self.classifier.image_size();
        let taken = self.training.photos.photos().len().saturating_mul(height * width * 3 * size_of::<f32>());
        let keep = |set: Targets<PhotoDataset>, bytes| set.map(|photos| photos.keep_in_memory(bytes));
        Ok(Self {
            training: keep(self.training, budget),
            validation: self.validation.map(|set| keep(set, budget.saturating_sub(taken))),
            ..self
        })
    }

    /// Loss and metrics on the validation set or, where there is none, on the training set.
    ///
    /// # Errors
    /// Those of [`evaluate`](Train::evaluate).
    pub fn evaluate(&self, runtime: &Runtime) -> Result<Evaluation> {
        let photos = self.validation.as_ref().unwrap_or(&self.training);
        self.classifier.model().evaluate(photos, RunOptions::from(self.batch_size).runtime(runtime))
    }

    /// Trains phase by phase and saves after each. `observe` gives a callback for each phase.
    pub fn run(&self, interrupt: &Interrupt, observe: Observer<'_>) -> Report {
        let mut report = Report { history: History::default(), phases_saved: 0, outcome: Ok(Outcome::Complete) };
        for (number, phase) in self.phases.iter().enumerate() {
            if number > 0 && interrupt.is_requested() {
                let (epoch, step) = (self.phases[number - 1].epochs.saturating_sub(1), self.steps().saturating_sub(1));
                report.outcome = Ok(Outcome::Interrupted { phase: number - 1, epoch, step });
                break;
            }
            match self.run_phase((number, phase), interrupt, observe, &mut report) {
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
        observe: Observer<'_>,
        report: &mut Report,
    ) -> Result<Outcome> {
        let (model, runtime) = (self.classifier.model(), self.runtime_or_shared()?);
        phase.trainability.apply(model);
        let compiled = model.compiled_or_error()?;
        if number == 0 && compiled.optimizer.slots() == phase.optimizer.slots() {
            // Training goes on where an earlier run stopped.
            model.update_compiled(|compiled| compiled.optimizer = phase.optimizer.clone())?;
        } else {
            // Afresh, as in Keras: the old moments belong to other weights.
            model.compile(phase.optimizer.clone(), compiled.loss, compiled.metrics)?;
        }
        let mut recorder = Recorder { interrupt, epochs: phase.epochs, history: History::default(), stopped: None };
        let mut observer = observe(phase);
        let fit = self.fit(phase, &runtime).callback(&mut recorder);
        let fit = observer.iter_mut().fold(fit, |fit, observer| fit.callback(&mut **observer));
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

/// Records each epoch, and stops when the caller wants it.
struct Recorder<'a> {
    interrupt: &'a Interrupt,
    epochs: usize,
    history: History,
    /// Epoch and step at which it stopped.
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
        // After the last step of a phase nothing of it is left to do; the next phase isn't begun.
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
