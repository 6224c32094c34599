//! The training loop.

use engraft_data::Dataset;
use engraft_nn::random::{Rng, mix};
use engraft_nn::{Compiled, LabelledBatch, Model, Result, Session, StepOutput, Tensor};

use crate::callback::{BatchEnd, Callback, EpochEnd, Flow};
use crate::evaluate::evaluate;
use crate::fit::Fit;
use crate::history::{Averages, History};
use crate::prefetch::for_each_batch;

/// One step, with the optimizer's memory that the model keeps.
///
/// It is taken out for the step only: a callback that saves the model between two steps finds it in its place.
pub(crate) fn train_step(model: &Model, session: &mut dyn Session, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
    let mut state = model.compiled().as_mut().map(|compiled| std::mem::take(&mut compiled.state)).unwrap_or_default();
    let step = session.train_step(batch, &mut state);
    if let Some(compiled) = model.compiled().as_mut() {
        compiled.state = state;
    }
    step
}

/// What stays the same through all epochs.
pub(crate) struct Run<'a> {
    pub(crate) model: &'a Model,
    pub(crate) data: &'a dyn Dataset,
    pub(crate) compiled: Compiled,
}

impl Run<'_> {
    /// All epochs, unless a callback stops them.
    pub(crate) fn epochs(
        &self,
        options: &mut Fit<'_>,
        training: &mut dyn Session,
        mut validation: Option<&mut (dyn Session + '_)>,
    ) -> Result<History> {
        let mut history = History::default();
        for epoch in 0..options.epochs {
            options.callbacks.iter_mut().for_each(|callback| callback.on_epoch_begin(epoch));
            let (averages, flow) = self.epoch(epoch, options, training)?;
            if flow.is_break() {
                break;
            }
            let mut numbers = averages.numbers();
            if let (Some(session), Some(data)) = (validation.as_deref_mut(), options.validation) {
                let found = evaluate(session, data, options.batch_size, &self.compiled.loss, &self.compiled.metrics)?;
                numbers.push(("val_loss".into(), found.loss));
                numbers.extend(found.metrics.into_iter().map(|(name, value)| (format!("val_{name}"), value)));
            }
            history.push(numbers.clone());
            let end = EpochEnd { epoch, numbers: &numbers, model: self.model };
            if call_all(&mut options.callbacks, |callback| callback.on_epoch_end(&end)).is_break() {
                break;
            }
        }
        Ok(history)
    }

    fn epoch(&self, epoch: usize, options: &mut Fit<'_>, training: &mut dyn Session) -> Result<(Averages, Flow)> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if options.shuffle {
            // By the step as well: training that goes on where an earlier run stopped must not see its order again.
            let steps = self.model.compiled().as_ref().map_or(0, |compiled| compiled.state.iterations);
            Rng::new(mix(mix(options.seed, epoch as u64), steps)).shuffle(&mut order);
        }
        let steps = order.len().div_ceil(options.batch_size);
        let mut averages = Averages::new(&self.compiled.metrics);
        let mut flow = Flow::Continue(());
        let (class_weights, callbacks) = (options.class_weights, &mut options.callbacks);
        for_each_batch(self.data, &order, options.batch_size, |step, _, batch| {
            let weights = class_weights.map(|weights| sample_weights(&batch.y, weights));
            let labelled = LabelledBatch { inputs: &[&batch.x], targets: &batch.y, sample_weights: weights.as_deref() };
            let found = train_step(self.model, training, &labelled)
                .map_err(|e| e.within(format_args!("epoch {} of {}", epoch + 1, options.epochs)))?;
            averages.add(found.loss, self.compiled.loss.kind(), found.output.data(), batch.y.data(), batch.x.batch());
            let end = BatchEnd { epoch, step, steps, averages: &averages };
            flow = call_all(callbacks, |callback| callback.on_batch_end(&end));
            Ok(flow.is_continue())
        })?;
        Ok((averages, flow))
    }
}

/// Every callback is told; one that wants to stop is enough.
fn call_all(callbacks: &mut [&mut dyn Callback], mut call: impl FnMut(&mut dyn Callback) -> Flow) -> Flow {
    let flows: Vec<Flow> = callbacks.iter_mut().map(|callback| call(&mut **callback)).collect();
    if flows.iter().any(Flow::is_break) { Flow::Break(()) } else { Flow::Continue(()) }
}

/// The weight of each sample's class; targets are one-hot rows or class indices. As in Keras, a class without a weight has
/// 1, and of equal targets the first counts.
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
    use engraft_nn::prelude::*;

    use super::*;
    use crate::Train;

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

    /// What a callback that saves the model would find of the optimizer's memory.
    struct Saver(Vec<u64>);

    impl Callback for Saver {
        fn on_epoch_end(&mut self, end: &EpochEnd<'_>) -> Flow {
            self.0.extend(end.model.compiled().as_ref().map(|compiled| compiled.state.iterations));
            Flow::Continue(())
        }
    }

    #[test]
    fn a_callback_finds_the_optimizer_as_it_is() {
        let mut saver = Saver(Vec::new());
        let binary = model(1, Loss::binary_crossentropy());
        binary.fit(&six(), Fit::new().epochs(2).batch_size(2).callback(&mut saver)).unwrap();
        assert_eq!(saver.0, [3, 6]);
    }

    #[test]
    fn a_failed_epoch_keeps_what_was_learned_and_tells_the_callbacks() {
        struct Ends(usize);
        impl Callback for Ends {
            fn on_train_end(&mut self) {
                self.0 += 1;
            }
        }
        let mut ends = Ends(0);
        let binary = model(1, Loss::binary_crossentropy());
        let x = Tensor::new([3, 2], vec![0.1, 0.2, 0.3, 0.4, f32::NAN, 0.0]).unwrap();
        let data = Arrays::new(x, Tensor::new([3, 1], vec![0.0, 1.0, 1.0]).unwrap()).unwrap();
        let options = Fit::new().batch_size(1).shuffle(false).callback(&mut ends);
        let error = binary.fit(&data, options).unwrap_err().to_string();
        assert!(error.contains("epoch 1 of 1, training step 3"), "{error}");
        assert_eq!(ends.0, 1);
        assert_eq!(binary.compiled().as_ref().unwrap().state.iterations, 2);
        assert!(binary.weights().iter().all(|weight| weight.values().iter().all(|w| w.is_finite())));
    }
}
