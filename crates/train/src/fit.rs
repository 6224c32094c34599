//! How a model is trained: the options of `fit`.

use engraft_data::Dataset;
use engraft_nn::plan::{Memory, Plan};
use engraft_nn::{Compiled, Error, Executor, Model, OptimizerState, Result};

use crate::callback::{Callback, TrainBegin};
use crate::epochs::Run;
use crate::history::History;
use crate::memory::{available_memory, ensure_fits};
use crate::precision::precision;
use crate::train::default_executor;

/// How `fit` goes about it: Keras' arguments and defaults.
///
/// ```
/// use engraft_train::Fit;
/// let options = Fit::new().epochs(5).batch_size(16).seed(1);
/// # let _ = options;
/// ```
pub struct Fit<'a> {
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) shuffle: bool,
    pub(crate) seed: u64,
    pub(crate) validation: Option<&'a dyn Dataset>,
    pub(crate) class_weights: Option<&'a [f32]>,
    pub(crate) callbacks: Vec<&'a mut dyn Callback>,
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

    /// Bytes that may be used; what the machine has free by default. Where a plan needs more, a [thrifty](Plan::thrifty) one is
    /// made; one that still does is refused before it starts.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// What training `model` this way will take, validation included.
    pub fn memory(&self, model: &Model) -> Result<Memory> {
        let compiled = compiled_of(model)?;
        self.plans(model, &compiled, self.batch_size).map(|(_, memory)| memory)
    }

    fn executor_or_default(&self) -> Result<&dyn Executor> {
        match self.executor {
            Some(executor) => Ok(executor),
            None => Ok(default_executor()?),
        }
    }

    /// Plans of training and validation, as they are if they fit into memory, else thrifty ones; and what they take.
    fn plans(&self, model: &Model, compiled: &Compiled, batch: usize) -> Result<(Plans, Memory)> {
        let executor = self.executor_or_default()?;
        let train = Plan::train(model, compiled.optimizer.clone(), compiled.loss, batch, self.seed)?;
        let evaluate = self.validation.map(|_| Plan::evaluate(model, compiled.loss, batch)).transpose()?;
        let precise = |plan: Plan| plan.in_precision(precision());
        let plans = Plans { train: precise(train), evaluate: evaluate.map(precise) };
        let memory = plans.memory(executor);
        if self.limit().is_none_or(|limit| memory.total() <= limit) {
            return Ok((plans, memory));
        }
        let plans = Plans { train: plans.train.thrifty(), evaluate: plans.evaluate.map(Plan::thrifty) };
        let memory = plans.memory(executor);
        Ok((plans, memory))
    }

    fn limit(&self) -> Option<usize> {
        self.memory_limit.or_else(available_memory)
    }

    /// Trains `model`; see [`Train::fit`](crate::Train::fit).
    pub(crate) fn run(mut self, model: &Model, data: &dyn Dataset) -> Result<History> {
        let compiled = compiled_of(model)?;
        self.check(model, data)?;
        // A batch never holds more than there is, and buffers kept from a call before are in the way.
        self.batch_size = self.batch_size.min(data.len());
        model.prepared().take();
        let (plans, memory) = self.plans(model, &compiled, self.batch_size)?;
        if let Some(limit) = self.limit() {
            ensure_fits(&memory, limit, self.batch_size, |batch| {
                self.plans(model, &compiled, batch).map(|(_, memory)| memory.total())
            })?;
        }
        let executor = self.executor_or_default()?;
        let mut training = executor.prepare(plans.train)?;
        let mut validation = plans.evaluate.map(|plan| executor.prepare(plan)).transpose()?;
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

/// What a call of fit runs.
struct Plans {
    train: Plan,
    evaluate: Option<Plan>,
}

impl Plans {
    fn memory(&self, executor: &dyn Executor) -> Memory {
        let mut memory = executor.memory(&self.train);
        if let Some(evaluate) = &self.evaluate {
            let evaluation = executor.memory(evaluate);
            memory.buffers += evaluation.buffers;
            memory.scratch += evaluation.scratch;
        }
        memory
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

#[cfg(test)]
mod tests {
    use engraft_data::Arrays;
    use engraft_nn::Tensor;
    use engraft_nn::prelude::*;

    use super::*;
    use crate::Train;

    #[test]
    fn a_batch_is_planned_for_no_more_than_there_is() {
        let x = Input::new([2]);
        let model = Model::new(&x, &Dense::new(1).activation(Sigmoid).call(&x).unwrap()).unwrap();
        model.compile(Adam::new(0.1), Loss::binary_crossentropy(), []).unwrap();
        let data = Arrays::new(Tensor::zeros([6, 2]), Tensor::zeros([6, 1])).unwrap();
        model.fit(&data, Fit::new().batch_size(usize::MAX)).unwrap();
        assert_eq!(model.evaluate(&data, usize::MAX).unwrap().samples, 6);
    }
}
