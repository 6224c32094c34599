//! The interface of executors: [`Executor`], [`Session`] and the types of their arguments and results.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use engraft_ir::Precision;
use engraft_nn::{OptimizerState, Result, Tensor};

use crate::{GradientReducer, Memory, Plan, PlanOptions, SingleReplica};

/// Runs plans: on a CPU, later on a GPU. It takes whole plans, never single operations, so that an executor with its own fusions,
/// memory management or autodiff fits as well.
///
/// ```
/// use engraft_ir::Precision;
/// use engraft_nn::prelude::*;
/// use engraft_nn::{Error, Result};
/// use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};
///
/// /// Tells how much memory plans need, but runs none.
/// #[derive(Debug)]
/// struct DryRun;
///
/// impl Executor for DryRun {
///     fn plan_options(&self) -> PlanOptions {
///         PlanOptions::default().low_memory(true)
///     }
///     fn check_precision(&self, _precision: Precision) -> Result<()> {
///         Ok(())
///     }
///     fn prepare(&self, _plan: Plan) -> Result<Box<dyn Session>> {
///         Err(Error::because("dry run", "nothing is computed"))
///     }
///     fn memory(&self, plan: &Plan) -> Memory {
///         plan.memory()
///     }
///     fn available_memory(&self) -> Option<usize> {
///         None
///     }
///     fn name(&self) -> &str {
///         "dry run"
///     }
///     fn threads(&self) -> usize {
///         1
///     }
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &DryRun.plan_options())?;
/// assert_eq!(DryRun.memory(&plan).weights, 4 * (4 * 2 + 2));
/// assert!(DryRun.prepare(plan).is_err());
/// assert_eq!(DryRun.peak_gflops(), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Executor: fmt::Debug + Send + Sync {
    /// The plan options that suit the executor's caches and kernels.
    fn plan_options(&self) -> PlanOptions;

    /// Checks that the executor can compute matrix products and convolutions in this number format.
    ///
    /// # Errors
    /// The executor can't. The error says what hardware it needs.
    fn check_precision(&self, precision: Precision) -> Result<()>;

    /// Makes a session that runs `plan`, and allocates its buffers.
    ///
    /// # Errors
    /// Out of memory, or a plan in a precision that this executor can't compute.
    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>>;

    /// The memory that `plan` needs on this executor, including working space.
    fn memory(&self, plan: &Plan) -> Memory;

    /// Bytes of memory that plans may use, including memory that this process uses already; `None` if unknown.
    fn available_memory(&self) -> Option<usize>;

    /// The name of the executor's hardware or instruction set, such as `avx512`.
    fn name(&self) -> &str;

    /// The number of threads that run plans.
    fn threads(&self) -> usize;

    /// The peak rate in GFLOP/s (10⁹ floating-point operations per second), measured by this call; `None` if not measured.
    fn peak_gflops(&self) -> Option<f64> {
        None
    }
}

/// A plan with its buffers, ready to run any number of times, with batches of up to the plan's size.
///
/// A training step is [`forward_backward`](Self::forward_backward), then [`apply`](Self::apply).
///
/// The model owns the weights and the optimizer's state. An executor may keep copies, on a device for instance. It compares
/// versions ([`Weight::version`](engraft_nn::Weight::version), [`OptimizerState::version`]) to see which copies are stale, and
/// copies trained weights back to the model in [`synchronize`](Self::synchronize).
///
/// ```
/// use std::collections::HashMap;
/// use engraft_nn::prelude::*;
/// use engraft_nn::{OptimizerState, Result};
/// use engraft_plan::{GradientReducer, Gradients, LabelledBatch, Plan, PlanOptions, Session, StepOutput, Update};
///
/// /// A baseline for classifiers: gives every class the same probability, and is never trained.
/// struct Uniform(Plan);
///
/// impl Uniform {
///     fn classes(&self) -> usize {
///         let program = self.0.program();
///         program.size(program.outputs[0])
///     }
/// }
///
/// impl Session for Uniform {
///     fn plan(&self) -> &Plan {
///         &self.0
///     }
///     fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
///         let (samples, classes) = (inputs[0].batch(), self.classes());
///         Ok(vec![Tensor::new([samples, classes], vec![1.0 / classes as f32; samples * classes])?])
///     }
///     fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
///         // The cross-entropy of equal probabilities.
///         Ok(StepOutput { loss: (self.classes() as f64).ln(), output: self.predict(batch.inputs)?.remove(0) })
///     }
///     fn forward_backward(
///         &mut self,
///         batch: &LabelledBatch<'_>,
///         _iteration: u64,
///         _reducer: &mut dyn GradientReducer,
///     ) -> Result<StepOutput> {
///         self.evaluate(batch)
///     }
///     fn apply(&mut self, _update: Update, _state: &OptimizerState) -> Result<()> {
///         Ok(())
///     }
///     fn gradients(&mut self, inputs: &[&Tensor], _upstream: &[&Tensor], _iteration: u64) -> Result<Gradients> {
///         let outputs = self.predict(inputs)?;
///         Ok(Gradients { outputs, inputs: Vec::new(), weights: HashMap::new(), layers: Vec::new() })
///     }
///     fn fork(&self) -> Result<Box<dyn Session>> {
///         Ok(Box::new(Self(self.0.clone())))
///     }
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax)).build()?;
/// let loss = Loss::categorical_crossentropy();
/// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 16, 0, &PlanOptions::default())?;
/// let (mut session, state) = (Uniform(plan), OptimizerState::default());
///
/// // A batch of 3 samples, with a plan for up to 16.
/// let (x, y) = (Tensor::zeros([3, 4]), Tensor::new([3, 2], vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0])?);
/// let step = session.train_step(&LabelledBatch::new(&[&x], &y), 0.1, &state)?;
/// assert_eq!((step.loss, state.iterations()), (2.0f64.ln(), 1));
/// assert_eq!(session.predict(&[&x])?[0].row(2), [0.5, 0.5]);
/// session.synchronize(&state)?;
/// // This session measures no times.
/// assert!(session.step_times().is_empty());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Session: Send {
    /// The plan that the session runs.
    fn plan(&self) -> &Plan;

    /// Computes the outputs for a batch of `n` samples: one tensor of shape `[n, ..]` for each output.
    ///
    /// # Errors
    /// A wrong number of inputs, a wrong shape, or more samples than the plan's batch.
    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Computes loss and output for a batch, and changes nothing. The plan must have a loss.
    ///
    /// # Errors
    /// A plan without a loss, or a batch that doesn't fit the plan.
    fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput>;

    /// Runs the first part of a training step: forward pass, loss and backward pass.
    ///
    /// Each gradient is offered to `reducer` as soon as it is final, and collected from it after the backward pass. Weights,
    /// moving statistics and the optimizer's state stay as they are. What random layers draw follows from `iteration` and the
    /// sample's index in the global batch.
    ///
    /// # Errors
    /// A plan that isn't for training, a batch that doesn't fit it, a loss that is not finite, an error of the reducer. The step
    /// can't be applied then. The session passes every error to [`GradientReducer::abort`], so that other replicas don't wait.
    fn forward_backward(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput>;

    /// Runs the second part of a training step: updates weights, moving statistics and optimizer slots with the gradients of the
    /// last [`forward_backward`](Self::forward_backward).
    ///
    /// The iteration counter of `state` stays as it is: the caller increments it.
    ///
    /// # Errors
    /// No gradients since the last `apply`, or the state of another optimizer. After an error, nothing has changed, and the
    /// gradients can still be applied with the right state.
    fn apply(&mut self, update: Update, state: &OptimizerState) -> Result<()>;

    /// Runs a whole training step without other replicas, and counts it in `state`.
    ///
    /// # Errors
    /// Those of [`forward_backward`](Self::forward_backward) and [`apply`](Self::apply). After an error, nothing has changed.
    fn train_step(
        &mut self,
        batch: &LabelledBatch<'_>,
        learning_rate: f64,
        state: &OptimizerState,
    ) -> Result<StepOutput> {
        let iteration = state.iterations();
        let output = self.forward_backward(batch, iteration, &mut SingleReplica)?;
        self.apply(Update { learning_rate, iteration }, state)?;
        state.count_step();
        Ok(output)
    }

    /// Copies weights and optimizer slots from the executor back to the model, before the model is read.
    ///
    /// By default it does nothing: an executor for CPUs updates them in the model itself.
    ///
    /// # Errors
    /// The device that keeps the copies can't be read.
    fn synchronize(&mut self, _state: &OptimizerState) -> Result<()> {
        Ok(())
    }

    /// Computes outputs, and the gradients of `sum(output * upstream)`.
    ///
    /// The purpose of the plan must be [`Purpose::Gradients`](crate::Purpose::Gradients).
    ///
    /// In training mode this updates the moving statistics of batch normalization, as every forward pass of training does.
    ///
    /// # Errors
    /// A plan with another purpose, or inputs or upstream gradients that don't fit the plan.
    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients>;

    /// Makes another session of the same plan, with its own buffers, allocated at its first run. The sessions may share data
    /// derived from weights, such as transformed filters.
    ///
    /// # Errors
    /// The executor can't fork sessions.
    fn fork(&self) -> Result<Box<dyn Session>>;

    /// The time of each step of the plan in the last run; empty if not measured.
    fn step_times(&self) -> &[StepTime] {
        &[]
    }
}

/// The time that one step of a plan took in a run.
///
/// ```
/// use std::time::Duration;
/// use engraft_plan::StepTime;
/// let frozen = StepTime { forward: Duration::from_millis(4), ..StepTime::default() };
/// let trained = StepTime { forward: Duration::from_millis(2), backward: Duration::from_millis(3) };
/// let total: Duration = [frozen, trained].iter().map(|time| time.forward + time.backward).sum();
/// assert_eq!(total, Duration::from_millis(9));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Time in the forward pass, summed over all chunks of the batch.
    pub forward: Duration,
    /// Time in the backward pass, including recomputation of the step's output and updates of its weights.
    pub backward: Duration,
}

/// A batch of samples with their targets.
///
/// ```
/// use engraft_nn::Tensor;
/// use engraft_plan::LabelledBatch;
/// let (x, y) = (Tensor::zeros([4, 8]), Tensor::zeros([4, 2]));
/// let inputs = [&x];
/// let batch = LabelledBatch::new(&inputs, &y).sample_weights(Some(&[1.0, 1.0, 0.5, 0.5]));
/// assert_eq!(batch.inputs[0].batch(), 4);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LabelledBatch<'a> {
    /// One tensor of shape `[n, ..]` for each input.
    pub inputs: &'a [&'a Tensor],
    /// Targets in the form that the loss expects: one-hot rows, class indices, or 0 and 1.
    pub targets: &'a Tensor,
    /// The weight of each sample's loss; all 1 if absent.
    pub sample_weights: Option<&'a [f32]>,
}

impl<'a> LabelledBatch<'a> {
    /// A batch without sample weights.
    pub fn new(inputs: &'a [&'a Tensor], targets: &'a Tensor) -> Self {
        Self { inputs, targets, sample_weights: None }
    }

    /// Sets the weight of each sample's loss.
    #[must_use]
    pub fn sample_weights(self, sample_weights: Option<&'a [f32]>) -> Self {
        Self { sample_weights, ..self }
    }
}

/// The learning rate and iteration of an update.
///
/// ```
/// use engraft_plan::Update;
/// // A linear warm-up over the first 100 steps.
/// let update = |iteration: u64| Update { learning_rate: 0.5 * (iteration as f64 / 100.0).min(1.0), iteration };
/// assert_eq!(update(50).learning_rate, 0.25);
/// assert_eq!(update(1000), Update { learning_rate: 0.5, iteration: 1000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The number of steps before this one. Adam needs it to correct the bias of its moments.
    pub iteration: u64,
}

/// Loss and output of a forward pass.
///
/// ```
/// use engraft_nn::Tensor;
/// use engraft_plan::StepOutput;
/// let step = StepOutput { loss: 0.4, output: Tensor::new([2, 2], vec![0.9, 0.1, 0.3, 0.7])? };
/// // The class with the highest probability, sample by sample.
/// let class = |sample| usize::from(step.output.row(sample)[1] > step.output.row(sample)[0]);
/// assert_eq!([class(0), class(1)], [0, 1]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// Mean loss of this replica's own samples, including regularization penalties.
    pub loss: f64,
    /// The model's output, `[n, ..]`.
    pub output: Tensor,
}

/// Outputs and gradients, the result of [`Session::gradients`].
///
/// ```
/// use std::collections::HashMap;
/// use engraft_nn::Tensor;
/// use engraft_plan::Gradients;
/// let gradients = Gradients {
///     outputs: vec![Tensor::zeros([1, 2])],
///     inputs: vec![Tensor::new([1, 3], vec![0.1, -0.8, 0.0])?],
///     weights: HashMap::new(),
///     layers: Vec::new(),
/// };
/// // A saliency map: how strongly each value of the input counts.
/// let saliency: Vec<f32> = gradients.inputs[0].data().iter().map(|gradient| gradient.abs()).collect();
/// assert_eq!(saliency, [0.1, 0.8, 0.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The model's outputs.
    pub outputs: Vec<Tensor>,
    /// The gradient with respect to each input; empty unless requested.
    pub inputs: Vec<Tensor>,
    /// The gradient with respect to each trainable weight, by the weight's id; empty unless requested.
    pub weights: HashMap<usize, Vec<f32>>,
    /// Output and gradient of each requested layer, in the order of the request.
    pub layers: Vec<LayerGradient>,
}

/// The output of a layer, and the gradient with respect to it.
///
/// ```
/// use engraft_nn::Tensor;
/// use engraft_plan::LayerGradient;
/// let layer = LayerGradient {
///     value: Tensor::new([1, 2], vec![3.0, 5.0])?,
///     gradient: Tensor::new([1, 2], vec![0.5, -1.0])?,
/// };
/// // As in Grad-CAM: the positive part of values times gradients.
/// let pairs = layer.value.data().iter().zip(layer.gradient.data());
/// let positive: Vec<f32> = pairs.map(|(value, gradient)| (value * gradient).max(0.0)).collect();
/// assert_eq!(positive, [1.5, 0.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradient {
    /// The layer's output, `[n, ..]`.
    pub value: Tensor,
    /// The gradient with respect to `value`, of the same shape.
    pub gradient: Tensor,
}
