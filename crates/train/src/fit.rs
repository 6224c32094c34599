//! The training loop.

use engraft_data::Dataset;
use engraft_nn::plan::{Memory, Plan};
use engraft_nn::random::{Rng, mix};
use engraft_nn::{
    Compiled, Error, Executor, LabelledBatch, Model, OptimizerState, Result, Session, StepOutput, Tensor,
};

use crate::callback::{BatchEnd, Callback, EpochEnd, Flow, TrainBegin};
use crate::evaluate::evaluate;
use crate::history::{Averages, History};
use crate::memory::{available_memory, ensure_fits};
use crate::prefetch::for_each_batch;
use crate::train::default_executor;

/// How `fit` goes about it: Keras' arguments and defaults.
///
/// ```
/// use engraft_train::Fit;
/// let options = Fit::new().epochs(5).batch_size(16).seed(1);
/// # let _ = options;
/// ```
pub struct Fit<'a> {
    epochs: usize,
    batch_size: usize,
    shuffle: bool,
    seed: u64,
    validation: Option<&'a dyn Dataset>,
    class_weights: Option<&'a [f32]>,
    callbacks: Vec<&'a mut dyn Callback>,
    executor: Option<&'a dyn Executor>,
    memory_limit: Option<usize>,
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Fit<'a> {
    /// One epoch, batches of 32, shuffled, seed 0.
    pub fn new() -> Self {
        Self {
            epochs: 1,
            batch_size: 32,
            shuffle: true,
            seed: 0,
            validation: None,
            class_weights: None,
            callbacks: Vec::new(),
            executor: None,
            memory_limit: None,
        }
    }

    /// Passes over the data.
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Samples a step.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Whether each epoch takes the samples in an order of its own; true by default.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Decides the order of samples and what random layers draw: the same seed, the same weights bit for bit.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Samples to evaluate after each epoch.
    #[must_use]
    pub fn validation(mut self, data: &'a dyn Dataset) -> Self {
        self.validation = Some(data);
        self
    }

    /// A weight for each class' loss: as many as outputs, two for a single output.
    #[must_use]
    pub fn class_weights(mut self, weights: &'a [f32]) -> Self {
        self.class_weights = Some(weights);
        self
    }

    /// Adds a callback.
    #[must_use]
    pub fn callback(mut self, callback: &'a mut dyn Callback) -> Self {
        self.callbacks.push(callback);
        self
    }

    /// Runs on another executor than the shared one of all cores.
    #[must_use]
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Bytes that may be used; what the machine has free by default. A plan that needs more is refused before it starts.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// What training `model` this way will take, validation included.
    pub fn memory(&self, model: &Model) -> Result<Memory> {
        let compiled = compiled_of(model)?;
        self.memory_of_batch(model, &compiled, self.batch_size)
    }

    fn executor_or_default(&self) -> Result<&dyn Executor> {
        match self.executor {
            Some(executor) => Ok(executor),
            None => Ok(default_executor()?),
        }
    }

    fn memory_of_batch(&self, model: &Model, compiled: &Compiled, batch: usize) -> Result<Memory> {
        let executor = self.executor_or_default()?;
        let train = Plan::train(model, compiled.optimizer.clone(), compiled.loss, batch, self.seed)?;
        let mut memory = executor.memory(&train);
        if self.validation.is_some() {
            let evaluation = executor.memory(&Plan::evaluate(model, compiled.loss, batch)?);
            memory.buffers += evaluation.buffers;
            memory.scratch += evaluation.scratch;
        }
        Ok(memory)
    }

    /// Trains `model`; see [`Train::fit`](crate::Train::fit).
    pub(crate) fn run(mut self, model: &Model, data: &dyn Dataset) -> Result<History> {
        let compiled = compiled_of(model)?;
        self.check(model, data)?;
        // A batch never holds more than there is, and buffers kept from a call before are in the way.
        self.batch_size = self.batch_size.min(data.len());
        model.prepared().take();
        let memory = self.memory_of_batch(model, &compiled, self.batch_size)?;
        if let Some(limit) = self.memory_limit.or_else(available_memory) {
            ensure_fits(&memory, limit, self.batch_size, |batch| {
                self.memory_of_batch(model, &compiled, batch).map(|memory| memory.total())
            })?;
        }
        let executor = self.executor_or_default()?;
        let plan = Plan::train(model, compiled.optimizer.clone(), compiled.loss, self.batch_size, self.seed)?;
        let mut training = executor.prepare(plan)?;
        let mut validation = match self.validation {
            Some(_) => Some(executor.prepare(Plan::evaluate(model, compiled.loss, self.batch_size)?)?),
            None => None,
        };
        let run = Run { model, data, compiled };
        let steps = data.len().div_ceil(self.batch_size);
        let begin = TrainBegin { epochs: self.epochs, steps, samples: data.len(), memory };
        self.callbacks.iter_mut().for_each(|callback| callback.on_train_begin(&begin));
        let result = run.epochs(&mut self, &mut *training, validation.as_deref_mut());
        self.callbacks.iter_mut().for_each(|callback| callback.on_train_end());
        result
    }

    fn check(&self, model: &Model, data: &dyn Dataset) -> Result<()> {
        if data.is_empty() {
            return Err(Error::new("fit", "at least one sample", 0));
        }
        if self.batch_size == 0 {
            return Err(Error::new("fit", "a batch size of at least 1", 0));
        }
        if model.trainable_weights().is_empty() {
            return Err(
                Error::because("fit", "no layer is trainable").hint("unfreeze at least the head: set_trainable(true)")
            );
        }
        // One output tells two classes apart.
        let classes = model.output_shape().iter().product::<usize>().max(2);
        match self.class_weights {
            Some(weights) if weights.len() != classes => {
                Err(Error::new("class weights", format_args!("{classes} numbers"), weights.len()))
            }
            _ => Ok(()),
        }
    }
}

/// A copy of what compile set; the optimizer's state stays with the model.
pub(crate) fn compiled_of(model: &Model) -> Result<Compiled> {
    match &*model.compiled() {
        Some(compiled) => Ok(Compiled {
            optimizer: compiled.optimizer.clone(),
            loss: compiled.loss,
            metrics: compiled.metrics.clone(),
            state: OptimizerState::default(),
        }),
        None => {
            Err(Error::because(format_args!("model `{}`", model.name()), "not compiled").hint("call compile first"))
        }
    }
}

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
struct Run<'a> {
    model: &'a Model,
    data: &'a dyn Dataset,
    compiled: Compiled,
}

impl Run<'_> {
    fn epochs(
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
    fn a_batch_is_planned_for_no_more_than_there_is() {
        let binary = model(1, Loss::binary_crossentropy());
        binary.fit(&six(), Fit::new().batch_size(usize::MAX)).unwrap();
        assert_eq!(binary.evaluate(&six(), usize::MAX).unwrap().samples, 6);
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
