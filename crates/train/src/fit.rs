//! [`Fit`]: the options of `fit`, its checks before training, and the plans that it runs.

use engraft_data::Dataset;
use engraft_nn::{Compiled, Error, ErrorKind, Model, Program, Result, Trainability, Weight};
use engraft_plan::{GradientReducer, Memory, Plan, PlanOptions, Purpose, SingleReplica};
use engraft_runtime::{Runtime, ensure_fits};

use crate::callback::{Callback, TrainBegin};
use crate::fit_loop::{Settings, TrainingLoop};
use crate::history::History;
use crate::prefetch::Prefetcher;
use crate::run_options::runtime_or_shared;
use crate::training::Stop;

/// The options of [`fit`](crate::Train::fit), with the names and defaults of Keras' arguments.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_runtime::Runtime;
/// use engraft_train::callbacks::EarlyStopping;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let (training_set, validation_set) = (Arrays::new(x.clone(), y.clone())?, Arrays::new(x, y)?);
/// // Go on after two earlier epochs, up to five in all.
/// let options = Fit::new().initial_epoch(2).epochs(5).batch_size(2).shuffle(true).seed(1);
/// // The second class is rare, so its samples weigh more.
/// let options = options.class_weights(&[1.0, 3.0]).validation(&validation_set);
/// let (runtime, mut stopping) = (Runtime::cpu(Some(2))?, EarlyStopping::new("val_loss").patience(3));
/// let history = model.fit(&training_set, options.runtime(&runtime).callback(&mut stopping))?;
/// assert_eq!(history.epochs(), 3);
/// assert_eq!(history.get("val_accuracy").len(), 3);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct Fit<'a> {
    settings: Settings<'a>,
    callbacks: Vec<&'a mut dyn Callback>,
    runtime: Option<&'a Runtime>,
    from_layer: Option<&'a str>,
    reducer: Option<&'a mut dyn GradientReducer>,
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Fit<'a> {
    /// Keras' defaults: one epoch, a batch size of 32, shuffled. The seed is 0.
    pub fn new() -> Self {
        Self { settings: Settings::default(), callbacks: Vec::new(), runtime: None, from_layer: None, reducer: None }
    }

    /// Sets the total number of epochs, including the epochs before [`initial_epoch`](Self::initial_epoch).
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.settings.epochs = epochs;
        self
    }

    /// Sets the first epoch, counted from 0, to continue after an earlier call of `fit`.
    #[must_use]
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.settings.initial_epoch = epoch;
        self
    }

    /// Sets the number of samples per step.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.settings.batch_size = batch_size;
        self
    }

    /// Sets whether the samples are shuffled before each epoch; true by default.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.settings.shuffle = shuffle;
        self
    }

    /// Sets the seed of shuffling and of random layers. On one machine, training from the same initial weights with the same seed
    /// gives the same weights, bit for bit.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets the validation set, which is evaluated after each epoch.
    #[must_use]
    pub fn validation(mut self, data: &'a dyn Dataset) -> Self {
        self.settings.validation = Some(data);
        self
    }

    /// Sets the weight of each class' loss (Keras' `class_weight`): one weight per output, or two for a model with a single output.
    ///
    /// The loss of a step is the sum of the samples' weighted losses, divided by the number of samples. Metrics and the validation
    /// set count each sample the same.
    #[must_use]
    pub fn class_weights(mut self, weights: &'a [f32]) -> Self {
        self.settings.class_weights = Some(weights);
        self
    }

    /// Adds a callback.
    #[must_use]
    pub fn callback(mut self, callback: &'a mut dyn Callback) -> Self {
        self.callbacks.push(callback);
        self
    }

    /// Sets the runtime, in place of the [shared one](Runtime::shared).
    ///
    /// If training needs more memory than the runtime has, it runs with [low-memory plans](PlanOptions::low_memory). If these
    /// need too much as well, `fit` returns an error before it starts.
    #[must_use]
    pub fn runtime(mut self, runtime: &'a Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Trains on features: the data are outputs of this layer instead of inputs of the model. The layer may be inside a nested
    /// model.
    ///
    /// Layers up to this one must be frozen or have no weights. Every path from the input to the output must go through this
    /// layer.
    ///
    /// ```
    /// use engraft_data::Arrays;
    /// use engraft_nn::prelude::*;
    /// use engraft_train::{Fit, Train};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("base"));
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.get_layer("base")?.set_trainable(false);
    /// model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [])?;
    /// let x = Tensor::new([2, 4], vec![0.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.0])?;
    /// let y = Tensor::new([2, 2], vec![1.0, 0.0, 0.0, 1.0])?;
    /// // The base runs once, not in every epoch.
    /// let features = model.features(&x, "base", 32)?;
    /// let history = model.fit(&Arrays::new(features, y)?, Fit::new().epochs(3).from_layer("base"))?;
    /// assert_eq!(history.epochs(), 3);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn from_layer(mut self, layer: &'a str) -> Self {
        self.from_layer = Some(layer);
        self
    }

    /// Sets the reducer that sums gradients over replicas. Each replica calls `fit` with its own data, batch size and shuffling.
    ///
    /// Replicas wait for each other in every step, so all must run the same number of steps. A callback that stops training must
    /// stop every replica after the same step. If `fit` fails, it calls [`abort`](GradientReducer::abort), and the reducer tells
    /// the replicas that wait.
    ///
    /// ```
    /// # use engraft_data::Arrays;
    /// # use engraft_nn::prelude::*;
    /// use engraft_nn::{Result, Weight};
    /// use engraft_plan::{BatchPlace, GradientReducer};
    /// use engraft_train::{Fit, Train};
    ///
    /// /// Stands for a second replica that always computes the same gradients as this one.
    /// struct Mirrored;
    ///
    /// impl GradientReducer for Mirrored {
    ///     fn place(&self, samples: usize) -> BatchPlace {
    ///         BatchPlace { first: 0, total: 2 * samples }
    ///     }
    ///     fn collect(&mut self, _weight: &Weight, gradient: &mut [f32]) -> Result<()> {
    ///         gradient.iter_mut().for_each(|value| *value *= 2.0);
    ///         Ok(())
    ///     }
    /// }
    /// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
    /// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    /// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
    /// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
    /// # let data = Arrays::new(x, y)?;
    /// let history = model.fit(&data, Fit::new().epochs(2).reducer(&mut Mirrored))?;
    /// assert_eq!(history.epochs(), 2);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn reducer(mut self, reducer: &'a mut dyn GradientReducer) -> Self {
        self.reducer = Some(reducer);
        self
    }

    /// The memory that training `model` with these options needs, including validation. `trainability` says which layers would be
    /// trained; the model stays as it is.
    ///
    /// ```
    /// use engraft_nn::Trainability;
    /// use engraft_nn::prelude::*;
    /// use engraft_train::Fit;
    /// let layers = Sequential::new().add(Input::new([64])).add(Dense::new(64).named("base"));
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [])?;
    /// let all = Trainability::all(&model);
    /// let head_only = all.clone().with(&model.get_layer("base")?, false);
    /// let memory = |trainability| Fit::new().batch_size(16).memory(&model, trainability);
    /// assert!(memory(&head_only)?.total() < memory(&all)?.total());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A model that isn't compiled, or that can't be trained with these options.
    pub fn memory(&self, model: &Model, trainability: &Trainability) -> Result<Memory> {
        let (compiled, runtime) = (model.compiled_or_error()?, runtime_or_shared(self.runtime)?);
        let batch_size = self.settings.batch_size;
        self.plans(model, &compiled, &runtime, trainability, batch_size).map(|(_, memory)| memory)
    }

    /// The program after the layer given to [`from_layer`](Self::from_layer), or the whole program.
    fn cut_at_boundary(&self, program: Program) -> Result<Program> {
        match self.from_layer {
            Some(layer) => program.starting_at(layer),
            None => Ok(program),
        }
    }

    /// Checks that no weights before the boundary are trainable: the program doesn't contain them.
    fn check_boundary(&self, program: &Program, trainable: &[Weight]) -> Result<()> {
        let Some(boundary) = self.from_layer else { return Ok(()) };
        let in_program: Vec<usize> = program.weights().iter().map(|param| param.weight.id()).collect();
        let below: Vec<String> =
            trainable.iter().filter(|weight| !in_program.contains(&weight.id())).map(Weight::path).take(10).collect();
        if below.is_empty() {
            return Ok(());
        }
        let expected = format!("layers before `{boundary}` that are frozen");
        Err(Error::new("from_layer", expected, format_args!("trainable weights {}", below.join(", ")))
            .hint("freeze them with set_trainable(false), or train from the input"))
    }

    /// The plans of training and validation, and their memory. If they need more than the runtime has, low-memory plans take
    /// their place.
    fn plans(
        &self,
        model: &Model,
        compiled: &Compiled,
        runtime: &Runtime,
        trainability: &Trainability,
        batch: usize,
    ) -> Result<(FitPlans, Memory)> {
        let folds = self.reducer.as_ref().is_none_or(|reducer| !reducer.needs_gradients());
        let options = runtime.plan_options();
        let options = PlanOptions { fold_updates: options.fold_updates && folds, ..options };
        let (optimizer, loss) = (compiled.optimizer_or_error()?.clone(), compiled.loss_or_error()?);
        let program = self.cut_at_boundary(Program::for_training(model, self.settings.seed, trainability)?)?;
        self.check_boundary(&program, &trainability.trainable_weights(model))?;
        let train = Plan::new(program, Purpose::Train { optimizer, loss }, batch, &options)?;
        let evaluate = match self.settings.validation {
            Some(_) => {
                let program = self.cut_at_boundary(Program::of(model, false, 0)?)?;
                Some(Plan::new(program, Purpose::Evaluate { loss }, batch, &options)?)
            }
            None => None,
        };
        let plans = FitPlans { train, evaluate };
        let memory = plans.memory(runtime);
        if runtime.available_memory().is_none_or(|available| memory.total() <= available) {
            return Ok((plans, memory));
        }
        let evaluate = plans.evaluate.map(Plan::low_memory).transpose()?;
        let plans = FitPlans { train: plans.train.low_memory()?, evaluate };
        let memory = plans.memory(runtime);
        Ok((plans, memory))
    }

    /// Trains `model`; see [`Train::fit`](crate::Train::fit). The reducer learns of every error, so that no other replica waits.
    pub(crate) fn run(mut self, model: &Model, data: &dyn Dataset) -> Result<History> {
        let history = self.train(model, data);
        if let (Err(error), Some(reducer)) = (&history, self.reducer) {
            reducer.abort(error);
        }
        history
    }

    fn train(&mut self, model: &Model, data: &dyn Dataset) -> Result<History> {
        let (compiled, runtime) = (model.compiled_or_error()?, runtime_or_shared(self.runtime)?);
        self.check(model, data)?;
        // A batch has at most as many samples as the dataset. Sessions that earlier calls cached are dropped to free memory.
        self.settings.batch_size = self.settings.batch_size.min(data.len());
        model.cache().clear();
        let batch_size = self.settings.batch_size;
        let trainability = Trainability::of(model);
        let (plans, memory) = self.plans(model, &compiled, &runtime, &trainability, batch_size)?;
        if let Some(available) = runtime.available_memory() {
            ensure_fits(&memory, available, batch_size, |batch| {
                self.plans(model, &compiled, &runtime, &trainability, batch).map(|(_, memory)| memory.total())
            })?;
        }
        let mut training = runtime.executor().prepare(plans.train)?;
        let mut validation = plans.evaluate.map(|plan| runtime.executor().prepare(plan)).transpose()?;
        let begin = TrainBegin {
            initial_epoch: self.settings.initial_epoch,
            epochs: self.settings.epochs,
            steps: data.len().div_ceil(batch_size),
            samples: data.len(),
            memory,
        };
        let (mut single, prefetcher) = (SingleReplica, Prefetcher::new(&runtime)?);
        let training_loop = TrainingLoop {
            model,
            data,
            loss: compiled.loss_or_error()?,
            metrics: &compiled.metrics,
            settings: &self.settings,
            training: &mut *training,
            validation: validation.as_deref_mut(),
            reducer: self.reducer.as_deref_mut().unwrap_or(&mut single),
            callbacks: self.callbacks.iter_mut().map(|callback| &mut **callback).collect(),
            prefetcher: &prefetcher,
            stop: Stop::No,
        };
        training_loop.run(&begin)
    }

    fn check(&self, model: &Model, data: &dyn Dataset) -> Result<()> {
        if data.is_empty() {
            return Err(Error::new("fit", "at least one sample", 0));
        }
        if self.settings.batch_size == 0 {
            return Err(Error::new("fit", "a batch size of at least 1", 0));
        }
        if model.trainable_weights().is_empty() {
            return Err(Error::because("fit", "no layer is trainable")
                .with_kind(ErrorKind::InvalidState)
                .hint("unfreeze at least the head: set_trainable(true)"));
        }
        // A single output is for two classes.
        let classes = model.output_shape().iter().product::<usize>().max(2);
        match self.settings.class_weights {
            Some(weights) if weights.len() != classes => {
                Err(Error::new("class weights", format_args!("{classes} numbers"), weights.len()))
            }
            _ => Ok(()),
        }
    }
}

/// The plans of a call of `fit`.
struct FitPlans {
    train: Plan,
    evaluate: Option<Plan>,
}

impl FitPlans {
    /// The memory of both plans. They share weights and input batches; buffers and working space add up.
    fn memory(&self, runtime: &Runtime) -> Memory {
        let mut memory = runtime.executor().memory(&self.train);
        if let Some(evaluate) = &self.evaluate {
            let evaluation = runtime.executor().memory(evaluate);
            memory.buffers += evaluation.buffers;
            memory.scratch += evaluation.scratch;
        }
        memory
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

    /// A frozen base of one layer, with a head of two.
    fn model() -> Model {
        // With fixed seeds, so that every model made in this test starts from the same weights.
        let dense = |units, seed| {
            let initializer = Initializer::RandomNormal { mean: 0.0, stddev: 0.5, seed: Some(seed) };
            Dense::new(units).kernel_initializer(initializer)
        };
        let layers = Sequential::new().add(Input::new([4])).add(dense(6, 1).activation(Tanh).named("base"));
        let model = layers.add(dense(5, 2).activation(Relu)).add(dense(2, 3).activation(Softmax)).build().unwrap();
        model.get_layer("base").unwrap().set_trainable(false);
        model.compile(Adam::new(0.05), Loss::sparse_categorical_crossentropy(), [Metric::Accuracy]).unwrap();
        model
    }

    #[test]
    fn training_from_a_boundary_gives_the_bits_of_training_from_the_input() {
        let mut rng = engraft_nn::random::Rng::new(1);
        let x = Tensor::new([12, 4], (0..48).map(|_| rng.normal()).collect()).unwrap();
        let y = Tensor::new([12, 1], (0..12).map(|i| (i % 2) as f32).collect()).unwrap();
        let trained = |from: Option<&str>| {
            let model = model();
            let x = from.map_or_else(|| x.clone(), |layer| model.features(&x, layer, 32).unwrap());
            let data = Arrays::new(x, y.clone()).unwrap();
            let fit = Fit::new().epochs(3).batch_size(5).validation(&data);
            let fit = from.into_iter().fold(fit, Fit::from_layer);
            let history = model.fit(&data, fit).unwrap();
            let weights: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
            (history, weights)
        };
        assert_eq!(trained(Some("base")), trained(None));

        let unfrozen = model();
        unfrozen.set_trainable(true);
        let data = Arrays::new(Tensor::zeros([2, 6]), Tensor::zeros([2, 1])).unwrap();
        let error = unfrozen.fit(&data, Fit::new().from_layer("base")).unwrap_err().to_string();
        assert!(
            error.contains("layers before `base` that are frozen, received trainable weights base/kernel"),
            "{error}"
        );
    }
}
