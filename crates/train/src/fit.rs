//! The training loop.

use engraft_data::Dataset;
use engraft_nn::plan::{Memory, Plan};
use engraft_nn::random::{Rng, mix};
use engraft_nn::{Compiled, Error, Executor, LabelledBatch, Model, OptimizerState, Result, Session};

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

    /// A weight for each class' loss.
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
        // The state is taken out while training runs and put back however it ends.
        let mut run = Run { model, data, state: take_state(model), compiled };
        let steps = data.len().div_ceil(self.batch_size);
        let begin = TrainBegin { epochs: self.epochs, steps, samples: data.len(), memory };
        self.callbacks.iter_mut().for_each(|callback| callback.on_train_begin(&begin));
        let result = run.epochs(&mut self, &mut *training, validation.as_deref_mut());
        put_state_back(model, run.state);
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
        let classes = model.output_shape().iter().product::<usize>();
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

pub(crate) fn take_state(model: &Model) -> OptimizerState {
    model.compiled().as_mut().map(|compiled| std::mem::take(&mut compiled.state)).unwrap_or_default()
}

pub(crate) fn put_state_back(model: &Model, state: OptimizerState) {
    if let Some(compiled) = model.compiled().as_mut() {
        compiled.state = state;
    }
}

/// What stays the same through all epochs, and the optimizer's state.
struct Run<'a> {
    model: &'a Model,
    data: &'a dyn Dataset,
    state: OptimizerState,
    compiled: Compiled,
}

impl Run<'_> {
    fn epochs(
        &mut self,
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

    fn epoch(&mut self, epoch: usize, options: &mut Fit<'_>, training: &mut dyn Session) -> Result<(Averages, Flow)> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if options.shuffle {
            // By the step as well: training that goes on where an earlier run stopped must not see its order again.
            Rng::new(mix(mix(options.seed, epoch as u64), self.state.iterations)).shuffle(&mut order);
        }
        let steps = order.len().div_ceil(options.batch_size);
        let mut averages = Averages::new(&self.compiled.metrics);
        let mut flow = Flow::Continue(());
        let (class_weights, callbacks) = (options.class_weights, &mut options.callbacks);
        for_each_batch(self.data, &order, options.batch_size, |step, _, batch| {
            let weights = class_weights.map(|weights| sample_weights(&batch.y, weights));
            let labelled = LabelledBatch { inputs: &[&batch.x], targets: &batch.y, sample_weights: weights.as_deref() };
            let found = training
                .train_step(&labelled, &mut self.state)
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

/// The weight of each sample's class; targets are one-hot rows or class indices.
pub(crate) fn sample_weights(targets: &engraft_nn::Tensor, class_weights: &[f32]) -> Vec<f32> {
    let rows = targets.batch();
    (0..rows)
        .map(|row| match targets.row(row) {
            [class] => class_weights.get(*class as usize).copied().unwrap_or(1.0),
            one_hot => {
                let class = one_hot.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
                class_weights.get(class).copied().unwrap_or(1.0)
            }
        })
        .collect()
}
