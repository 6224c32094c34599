//! The training loop: epochs, steps, validation, and the calls of callbacks.

use engraft_data::{Batch, Dataset};
use engraft_ir::random::{Rng, mix};
use engraft_nn::{Error, ErrorKind, Loss, Metric, Model, Result, Tensor};
use engraft_plan::{GradientReducer, LabelledBatch, Session, StepOutput, Update};

use crate::callback::{BatchEnd, Callback, EpochEnd, TrainBegin};
use crate::evaluate::evaluate;
use crate::history::{Averages, History};
use crate::prefetch::Prefetcher;
use crate::training::{Stop, Training};

/// The settings of a call of `fit`.
pub(crate) struct Settings<'a> {
    pub(crate) initial_epoch: usize,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) shuffle: bool,
    pub(crate) seed: u64,
    pub(crate) validation: Option<&'a dyn Dataset>,
    pub(crate) class_weights: Option<&'a [f32]>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            initial_epoch: 0,
            epochs: 1,
            batch_size: 32,
            shuffle: true,
            seed: 0,
            validation: None,
            class_weights: None,
        }
    }
}

/// The state of a call of `fit`.
pub(crate) struct TrainingLoop<'a, 'c> {
    pub(crate) model: &'a Model,
    pub(crate) data: &'a dyn Dataset,
    pub(crate) loss: Loss,
    pub(crate) metrics: &'a [Metric],
    pub(crate) settings: &'a Settings<'c>,
    pub(crate) training: &'a mut dyn Session,
    pub(crate) validation: Option<&'a mut (dyn Session + 'static)>,
    pub(crate) reducer: &'a mut dyn GradientReducer,
    pub(crate) callbacks: Vec<&'a mut (dyn Callback + 'c)>,
    pub(crate) prefetcher: &'a Prefetcher,
    pub(crate) stop: Stop,
}

impl TrainingLoop<'_, '_> {
    /// Trains until the last epoch is done, a callback stops training, or an error occurs. In each case the weights are copied
    /// back to the model, and `on_train_end` is called.
    pub(crate) fn run(mut self, begin: &TrainBegin) -> Result<History> {
        let result = self.call(|callback, training| callback.on_train_begin(begin, training));
        let result = result.and_then(|()| self.epochs());
        let synchronized = self.synchronize();
        let ended = self.end();
        let history = result?;
        synchronized.and(ended).map(|()| history)
    }

    fn epochs(&mut self) -> Result<History> {
        let mut history = History::default();
        for epoch in self.settings.initial_epoch..self.settings.epochs {
            if self.stop != Stop::No {
                break;
            }
            self.call(|callback, training| callback.on_epoch_begin(epoch, training))?;
            let Some(averages) = self.epoch(epoch)? else { break };
            let mut numbers = averages.numbers();
            numbers.extend(self.validate(epoch)?);
            history.push(numbers.clone());
            let steps = self.data.len().div_ceil(self.settings.batch_size);
            let end = EpochEnd { epoch, steps, numbers: &numbers };
            self.call(|callback, training| callback.on_epoch_end(&end, training))?;
        }
        Ok(history)
    }

    /// Runs the steps of an epoch, until a callback stops training. `None` if the callback called
    /// [`stop_at_once`](Training::stop_at_once), even after some steps: the epoch is then neither validated nor reported.
    ///
    /// After [`stop`](Training::stop), a step that was about to begin still runs, as in Keras. So a reported epoch has at least
    /// one step.
    fn epoch(&mut self, epoch: usize) -> Result<Option<Averages>> {
        if self.stop == Stop::AtOnce {
            return Ok(None);
        }
        let (data, batch_size) = (self.data, self.settings.batch_size);
        let order = self.order();
        let steps = order.len().div_ceil(batch_size);
        let mut averages = Averages::new(self.metrics);
        self.prefetcher.for_each_batch(data, &order, batch_size, |step, batch| {
            self.call(|callback, training| callback.on_batch_begin(step, training))?;
            if self.stop == Stop::AtOnce {
                return Ok(false);
            }
            let output = self.step(&batch).map_err(|error| self.within_epoch(epoch, error))?;
            averages.add(output.loss, self.loss.kind(), output.output.data(), batch.y.data(), batch.x.batch());
            let end = BatchEnd { epoch, step, steps, averages: &averages };
            self.call(|callback, training| callback.on_batch_end(&end, training))?;
            Ok(self.stop == Stop::No)
        })?;
        Ok(Some(averages).filter(|_| self.stop != Stop::AtOnce))
    }

    /// The order of the next epoch's samples.
    ///
    /// It follows from the optimizer's number of steps, and not from the epoch of this call: training that goes on from a saved
    /// optimizer state shuffles as if it had never stopped.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if self.settings.shuffle {
            let steps = self.model.compiled().map_or(0, |compiled| compiled.state.iterations());
            let epochs = steps / self.data.len().div_ceil(self.settings.batch_size).max(1) as u64;
            Rng::new(mix(mix(self.settings.seed, epochs), steps)).shuffle(&mut order);
        }
        order
    }

    /// Runs one step, with the current learning rate of the model's optimizer.
    fn step(&mut self, batch: &Batch) -> Result<StepOutput> {
        let compiled = self.model.compiled_or_error()?;
        let state = compiled.state.clone();
        let iteration = state.iterations();
        let weights = self.settings.class_weights.map(|weights| sample_weights(&batch.y, weights));
        let inputs = [&batch.x];
        let labelled = LabelledBatch::new(&inputs, &batch.y).sample_weights(weights.as_deref());
        let learning_rate = compiled.optimizer_or_error()?.learning_rate().at(iteration);
        let output = self.training.forward_backward(&labelled, iteration, self.reducer);
        let output = output.map_err(|error| match error.kind() {
            ErrorKind::NonFinite => error.within(rate_name(learning_rate)),
            _ => error,
        })?;
        self.training.apply(Update { learning_rate, iteration }, &state)?;
        state.count_step();
        Ok(output)
    }

    /// Loss and metrics on the validation set; empty without one.
    fn validate(&mut self, epoch: usize) -> Result<Vec<(String, f64)>> {
        let Some(data) = self.settings.validation else { return Ok(Vec::new()) };
        self.synchronize()?;
        self.call(|callback, training| callback.on_validation_begin(training))?;
        let Some(session) = self.validation.as_deref_mut() else { return Ok(Vec::new()) };
        let evaluation = evaluate(session, self.prefetcher, data, self.settings.batch_size, &self.loss, self.metrics)?;
        self.call(|callback, training| callback.on_validation_end(training))?;
        self.check_validation(evaluation.loss).map_err(|error| self.within_epoch(epoch, error))?;
        let metrics = evaluation.metrics.into_iter().map(|(name, value)| (format!("val_{name}"), value));
        Ok(std::iter::once(("val_loss".to_owned(), evaluation.loss)).chain(metrics).collect())
    }

    /// Checks that the loss on the validation set is finite. The training loss doesn't show it if the last update of the epoch
    /// overflowed.
    fn check_validation(&self, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        let compiled = self.model.compiled_or_error()?;
        let rate = compiled.optimizer_or_error()?.learning_rate().at(compiled.state.iterations());
        let problem = format!("val_loss is {loss}: training has most likely diverged");
        Err(Error::because(rate_name(rate), problem)
            .with_kind(ErrorKind::NonFinite)
            .hint("use a smaller learning rate, for example a tenth of this one"))
    }

    /// Names the epoch in an error.
    fn within_epoch(&self, epoch: usize, error: Error) -> Error {
        error.within(format_args!("epoch {} of {}", epoch + 1, self.settings.epochs))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.model.compiled().map_or(Ok(()), |compiled| self.training.synchronize(&compiled.state))
    }

    /// Calls `on_train_end` of every callback, and returns the first error.
    fn end(&mut self) -> Result<()> {
        let mut training = Training::new(self.model, self.training, &mut self.stop);
        let results = self.callbacks.iter_mut().map(|callback| callback.on_train_end(&mut training));
        results.collect::<Vec<_>>().into_iter().collect()
    }

    /// Calls every callback, also after one has stopped training. An error ends the calls.
    fn call(&mut self, mut call: impl FnMut(&mut dyn Callback, &mut Training<'_>) -> Result<()>) -> Result<()> {
        let mut training = Training::new(self.model, self.training, &mut self.stop);
        self.callbacks.iter_mut().try_for_each(|callback| call(&mut **callback, &mut training))
    }
}

/// A learning rate as the place of an error. It is printed as f32: the f64 of a tenth of 0.003 shows its rounding error.
fn rate_name(rate: f64) -> String {
    format!("learning rate {}", rate as f32)
}

/// The weight of each sample, by its class. Targets are one-hot rows or class indices.
///
/// As in Keras, a class without a weight gets 1, and of equal values in a row the first one counts.
fn sample_weights(targets: &Tensor, class_weights: &[f32]) -> Vec<f32> {
    let class = |row: &[f32]| match row {
        [class] => class.round() as usize,
        one_hot => {
            (1..one_hot.len()).fold(0, |first, class| if one_hot[class] > one_hot[first] { class } else { first })
        }
    };
    let rows = (0..targets.batch()).map(|row| targets.row(row));
    rows.map(|row| class_weights.get(class(row)).copied().unwrap_or(1.0)).collect()
}

#[cfg(test)]
mod tests {
    use engraft_data::Arrays;
    use engraft_nn::Error;
    use engraft_nn::prelude::*;

    use super::*;
    use crate::{Fit, Train};

    fn model(units: usize, loss: Loss) -> Model {
        let x = Input::new([2]);
        let model = Model::new(&x, &Dense::new(units).call(&x).unwrap()).unwrap();
        model.compile(Adam::new(0.1), loss.from_logits(true), []).unwrap();
        model
    }

    fn six() -> Arrays {
        let x = Tensor::new([6, 2], (0..12).map(|i| i as f32 / 10.0).collect()).unwrap();
        Arrays::new(x, Tensor::new([6, 1], vec![0.0, 1.0, 1.0, 0.0, 1.0, 0.0]).unwrap()).unwrap()
    }

    #[test]
    fn weights_of_rows_indices_and_a_single_output() {
        let rows = Tensor::new([3, 3], vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(sample_weights(&rows, &[2.0, 3.0, 4.0]), [3.0, 2.0, 4.0]);
        let indices = Tensor::new([3, 1], vec![1.0, 0.0, 7.0]).unwrap();
        assert_eq!(sample_weights(&indices, &[2.0, 3.0]), [3.0, 2.0, 1.0]);

        let binary = model(1, Loss::binary_crossentropy());
        assert!(binary.fit(&six(), Fit::new().class_weights(&[1.0, 5.0])).is_ok());
        let error = binary.fit(&six(), Fit::new().class_weights(&[1.0])).unwrap_err().to_string();
        assert!(error.contains("class weights: expected 2 numbers, received 1"), "{error}");
    }

    /// Records every call.
    #[derive(Default)]
    struct Recorder {
        calls: Vec<String>,
        iterations: Vec<u64>,
    }

    impl Callback for Recorder {
        fn on_train_begin(&mut self, begin: &TrainBegin, _: &mut Training<'_>) -> Result<()> {
            self.calls.push(format!("train begin {} to {}", begin.initial_epoch, begin.epochs));
            Ok(())
        }
        fn on_epoch_begin(&mut self, epoch: usize, _: &mut Training<'_>) -> Result<()> {
            self.calls.push(format!("epoch {epoch} begin"));
            Ok(())
        }
        fn on_batch_begin(&mut self, step: usize, _: &mut Training<'_>) -> Result<()> {
            self.calls.push(format!("batch {step} begin"));
            Ok(())
        }
        fn on_batch_end(&mut self, end: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
            self.calls.push(format!("batch {} end", end.step));
            Ok(())
        }
        fn on_validation_begin(&mut self, _: &mut Training<'_>) -> Result<()> {
            self.calls.push("validation begin".into());
            Ok(())
        }
        fn on_validation_end(&mut self, _: &mut Training<'_>) -> Result<()> {
            self.calls.push("validation end".into());
            Ok(())
        }
        fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
            self.calls.push(format!("epoch {} end", end.epoch));
            self.iterations.extend(training.model()?.compiled().map(|compiled| compiled.state.iterations()));
            Ok(())
        }
        fn on_train_end(&mut self, _: &mut Training<'_>) -> Result<()> {
            self.calls.push("train end".into());
            Ok(())
        }
    }

    #[test]
    fn callbacks_are_called_where_keras_calls_them() {
        let (mut recorder, six) = (Recorder::default(), six());
        let fit = Fit::new().initial_epoch(1).epochs(3).batch_size(4).validation(&six).callback(&mut recorder);
        let history = model(1, Loss::binary_crossentropy()).fit(&six, fit).unwrap();
        let epoch = |number: usize| {
            let calls =
                ["batch 0 begin", "batch 0 end", "batch 1 begin", "batch 1 end", "validation begin", "validation end"];
            let [begin, end] = ["begin", "end"].map(|when| format!("epoch {number} {when}"));
            std::iter::once(begin).chain(calls.map(str::to_owned)).chain([end]).collect::<Vec<_>>()
        };
        let expected = [vec!["train begin 1 to 3".into()], epoch(1), epoch(2), vec!["train end".into()]].concat();
        assert_eq!((recorder.calls, recorder.iterations, history.epochs()), (expected, vec![2, 4], 2));
    }

    #[test]
    fn training_in_two_calls_gives_the_bits_of_one() {
        let trained = |calls: &[(usize, usize)]| {
            let binary = model(1, Loss::binary_crossentropy());
            binary.weights()[0].set(vec![0.5, -0.25]).unwrap();
            for &(initial, epochs) in calls {
                binary.fit(&six(), Fit::new().initial_epoch(initial).epochs(epochs).batch_size(2)).unwrap();
            }
            binary.weights().iter().map(|weight| weight.values().clone()).collect::<Vec<_>>()
        };
        assert_eq!(trained(&[(0, 2), (2, 5)]), trained(&[(0, 5)]));
    }

    #[test]
    fn a_failed_epoch_keeps_the_weights_so_far_and_tells_the_callbacks() {
        let mut recorder = Recorder::default();
        let binary = model(1, Loss::binary_crossentropy());
        let x = Tensor::new([3, 2], vec![0.1, 0.2, 0.3, 0.4, f32::NAN, 0.0]).unwrap();
        let data = Arrays::new(x, Tensor::new([3, 1], vec![0.0, 1.0, 1.0]).unwrap()).unwrap();
        let options = Fit::new().batch_size(1).shuffle(false).callback(&mut recorder);
        let error = binary.fit(&data, options).unwrap_err().to_string();
        assert!(error.contains("epoch 1 of 1, learning rate 0.1, training step 3: the loss is NaN"), "{error}");
        assert_eq!(recorder.calls.last().map(String::as_str), Some("train end"));
        assert_eq!(binary.compiled().unwrap().state.iterations(), 2);
        assert!(binary.weights().iter().all(|weight| weight.values().iter().all(|w| w.is_finite())));
    }

    #[test]
    fn a_validation_loss_that_is_not_finite_ends_training() {
        let mut recorder = Recorder::default();
        let x = Tensor::new([1, 2], vec![f32::NAN, 0.0]).unwrap();
        let validation = Arrays::new(x, Tensor::new([1, 1], vec![1.0]).unwrap()).unwrap();
        let options = Fit::new().epochs(2).validation(&validation).callback(&mut recorder);
        let error = model(1, Loss::binary_crossentropy()).fit(&six(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        let expected =
            "epoch 1 of 2, learning rate 0.1: val_loss is NaN: training has most likely diverged\nhint: use a smaller";
        assert!(error.to_string().starts_with(expected), "{error}");
        // The epoch isn't reported.
        assert_eq!(recorder.calls[recorder.calls.len() - 2..], ["validation end", "train end"]);
    }

    /// The methods in which a callback can stop training.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum At {
        TrainBegin,
        EpochBegin,
        BatchBegin,
        BatchEnd,
        EpochEnd,
    }

    /// Stops training in the second epoch, or in `on_train_begin`.
    struct Stops {
        at: At,
        at_once: bool,
        epoch: usize,
        reported: Vec<usize>,
    }

    impl Stops {
        fn stop(&self, at: At, training: &mut Training<'_>) -> Result<()> {
            if at == self.at && (at == At::TrainBegin || self.epoch == 1) {
                if self.at_once { training.stop_at_once() } else { training.stop() }
            }
            Ok(())
        }
    }

    impl Callback for Stops {
        fn on_train_begin(&mut self, _: &TrainBegin, training: &mut Training<'_>) -> Result<()> {
            self.stop(At::TrainBegin, training)
        }
        fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> Result<()> {
            self.epoch = epoch;
            self.stop(At::EpochBegin, training)
        }
        fn on_batch_begin(&mut self, _: usize, training: &mut Training<'_>) -> Result<()> {
            self.stop(At::BatchBegin, training)
        }
        fn on_batch_end(&mut self, _: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
            self.stop(At::BatchEnd, training)
        }
        fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
            self.reported.push(end.epoch);
            self.stop(At::EpochEnd, training)
        }
    }

    #[test]
    fn a_stop_ends_training_after_the_current_step_and_at_once_before_the_next() {
        // Each epoch has three steps.
        for (at, at_once, epochs, steps) in [
            (At::TrainBegin, false, 0, 0),
            (At::EpochBegin, false, 2, 4),
            (At::BatchBegin, false, 2, 4),
            (At::BatchEnd, false, 2, 4),
            (At::EpochEnd, false, 2, 6),
            (At::TrainBegin, true, 0, 0),
            (At::EpochBegin, true, 1, 3),
            (At::BatchBegin, true, 1, 3),
            (At::BatchEnd, true, 1, 4),
            (At::EpochEnd, true, 2, 6),
        ] {
            let (six, binary) = (six(), model(1, Loss::binary_crossentropy()));
            let mut stops = Stops { at, at_once, epoch: 0, reported: Vec::new() };
            let fit = Fit::new().epochs(5).batch_size(2).validation(&six).callback(&mut stops);
            let history = binary.fit(&six, fit).unwrap();
            assert_eq!((stops.reported.len(), history.epochs()), (epochs, epochs), "{at:?}, at once: {at_once}");
            assert_eq!(binary.compiled().unwrap().state.iterations(), steps, "{at:?}, at once: {at_once}");
            // The loss of an epoch without samples would be 0, the best of all.
            assert!(history.get("loss").iter().all(|&loss| loss > 0.0), "{at:?}: {history:?}");
        }
    }

    #[test]
    fn every_callback_is_told_of_the_end_though_one_fails() {
        struct FailsAtEnd;
        impl Callback for FailsAtEnd {
            fn on_train_end(&mut self, _: &mut Training<'_>) -> Result<()> {
                Err(Error::because("FailsAtEnd", "at the end"))
            }
        }
        let (mut recorder, mut fails) = (Recorder::default(), FailsAtEnd);
        let fit = Fit::new().callback(&mut fails).callback(&mut recorder);
        let error = model(1, Loss::binary_crossentropy()).fit(&six(), fit).unwrap_err().to_string();
        assert_eq!(
            (error.as_str(), recorder.calls.last().map(String::as_str)),
            ("FailsAtEnd: at the end", Some("train end"))
        );
    }

    #[test]
    fn a_callback_can_fail_and_change_model_and_learning_rate() {
        struct ZeroesWeights;
        impl Callback for ZeroesWeights {
            fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
                // A learning rate of 0, so that further steps leave the weights at the zeros that are set here.
                training.set_learning_rate(0.0)?;
                training.model()?.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
                if end.step < 2 { Ok(()) } else { Err(Error::because("ZeroesWeights", "that's enough")) }
            }
        }
        let binary = model(1, Loss::binary_crossentropy());
        let error = binary.fit(&six(), Fit::new().batch_size(1).callback(&mut ZeroesWeights)).unwrap_err().to_string();
        assert!(error.contains("ZeroesWeights: that's enough"), "{error}");
        assert!(binary.weights().iter().all(|weight| weight.values().iter().all(|w| *w == 0.0)));
        let compiled = binary.compiled().unwrap();
        assert_eq!((compiled.state.iterations(), compiled.optimizer.unwrap().learning_rate().at(0)), (3, 0.0));
    }
}
