//! Runs the phases of a training job.

use super::checkpoints::{Checkpoints, Moment};
use super::{CallbackFactory, Outcome, TrainingJob, TrainingReport};
use crate::data::Dataset;
use crate::recipe::{Interrupt, Phase};
use crate::train::{BatchEnd, Callback, EpochEnd, History, Train, Training};
use crate::{ErrorKind, Result};

impl TrainingJob<'_> {
    /// Trains the phases in order, saves the files of [`save_to`](Self::save_to), and gives the model the weights of its best
    /// epoch.
    ///
    /// `create_callback` is called at the start of each phase. Each epoch is saved before this callback learns of it. Errors are
    /// in [`TrainingReport::outcome`].
    ///
    /// After the last phase or an interrupt, the model has the weights of the epoch with the lowest `val_loss` of all phases.
    /// Without a validation set or a complete epoch, it has the latest weights, and these are saved. After an error, it has the
    /// latest weights, and the files hold earlier epochs. Trainable layers, optimizer, iterations and moments are always those of
    /// the last step. A job without a file keeps a copy of the best weights in memory.
    pub fn run(&self, interrupt: &Interrupt, create_callback: CallbackFactory<'_>) -> TrainingReport {
        let mut run = Run {
            job: self,
            interrupt,
            history: History::default(),
            checkpoints: Checkpoints::new(self.classifier, self.output.as_ref()),
        };
        let outcome = run.phases(create_callback);
        let outcome = outcome.and_then(|outcome| run.checkpoints.restore_best().map(|()| outcome));
        TrainingReport { history: run.history, saved: run.checkpoints.into_saved(), outcome }
    }
}

/// The state of a run, over all phases.
struct Run<'a> {
    job: &'a TrainingJob<'a>,
    interrupt: &'a Interrupt,
    history: History,
    checkpoints: Checkpoints<'a>,
}

impl Run<'_> {
    fn phases(&mut self, create_callback: CallbackFactory<'_>) -> Result<Outcome> {
        let phases = &self.job.phases;
        for (number, phase) in phases.iter().enumerate() {
            if number > 0 && self.interrupt.is_requested() {
                let (epoch, step) = (phases[number - 1].epochs.saturating_sub(1), self.job.steps().saturating_sub(1));
                return Ok(Outcome::Interrupted { phase: number - 1, epoch, step });
            }
            let outcome = self.phase(number, phase, create_callback).map_err(|error| match &phase.name[..] {
                "" => error,
                name => error.within(name),
            })?;
            if outcome != Outcome::Complete {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Complete)
    }

    fn phase(&mut self, number: usize, phase: &Phase, create_callback: CallbackFactory<'_>) -> Result<Outcome> {
        let (job, model, runtime) = (self.job, self.job.classifier.model(), self.job.runtime_or_shared()?);
        phase.trainability.apply(model);
        let compiled = model.compiled_or_error()?;
        if number == 0 && compiled.optimizer_or_error()?.slots() == phase.optimizer.slots() {
            // The optimizer's state stays valid, so training resumes where an earlier run stopped.
            model.update_compiled(|compiled| compiled.optimizer = Some(phase.optimizer.clone()))?;
        } else {
            // The saved state is of other weights or of another optimizer, so it starts at zero, as after `compile` in Keras.
            model.compile(phase.optimizer.clone(), compiled.loss_or_error()?, compiled.metrics)?;
        }
        let features = job.features(phase, &runtime, self.interrupt)?;
        let validation = match &features {
            Some(features) => features.validation(),
            None => job.validation.as_ref().map(|photos| photos as &dyn Dataset),
        };
        let now = Moment { phase: number, epochs: 0, steps: 0 };
        let mut recorder = Recorder { run: self, epochs: phase.epochs, now, stopped: None };
        let mut callback = create_callback(phase);
        let fit = job.fit(phase, &runtime, validation).callback(&mut recorder);
        let fit = callback.iter_mut().fold(fit, |fit, callback| fit.callback(&mut **callback));
        match &features {
            Some(features) => features.fit(model, fit)?,
            None => model.fit(&job.training, fit).map(|_history| ())?,
        }
        let Recorder { now, stopped, .. } = recorder;
        self.checkpoints.phase_ended(now)?;
        Ok(stopped.map_or(Outcome::Complete, |(epoch, step)| Outcome::Interrupted { phase: number, epoch, step }))
    }
}

/// Callback that records the history, saves epochs, and stops training when the interrupt is requested.
struct Recorder<'a, 'r> {
    run: &'a mut Run<'r>,
    epochs: usize,
    now: Moment,
    /// Epoch and step after which training stopped.
    stopped: Option<(usize, usize)>,
}

impl Recorder<'_, '_> {
    fn stop_if_requested(&mut self, epoch: usize, step: usize, training: &mut Training<'_>) {
        if self.run.interrupt.is_requested() && self.stopped.is_none() {
            self.stopped = Some((epoch, step));
            training.stop_at_once();
        }
    }
}

impl Callback for Recorder<'_, '_> {
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        (self.now.epochs, self.now.steps) = (end.epoch, end.step + 1);
        // After the last step of a phase, the phase is complete. `run` checks the interrupt before the next phase.
        let last = end.epoch + 1 == self.epochs && end.step + 1 == end.steps;
        if !last {
            self.stop_if_requested(end.epoch, end.step, training);
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        (self.now.epochs, self.now.steps) = (end.epoch + 1, 0);
        self.run.history.push(end.numbers.iter().cloned());
        // The executor copies its weights and optimizer state to the model, which is then saved.
        let trained = training.model()?;
        // On features, another model is trained, of the same layers. A callback may have changed its learning rate.
        self.run.job.classifier.model().set_compiled(trained.compiled());
        self.run.checkpoints.epoch_ended(self.now.phase, end).map_err(|error| match error.kind() {
            ErrorKind::NonFinite => {
                let (epoch, rate) = (end.epoch + 1, training.learning_rate() as f32);
                error.within(format_args!("epoch {epoch} of {}, learning rate {rate}", self.epochs))
            }
            _ => error,
        })?;
        if end.epoch + 1 < self.epochs {
            self.stop_if_requested(end.epoch, end.steps - 1, training);
        }
        Ok(())
    }
}
