//! The door between plans and the machines that run them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use engraft_ir::Precision;
use engraft_nn::{OptimizerState, Result, Tensor};

use crate::{GradientReducer, Local, Memory, Plan, PlanOptions};

/// Something that can run plans: a CPU, later a GPU. It takes a *whole* plan, never single operations, so that one with
/// fusions, memory or an autodiff of its own fits as well.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::{Error, Result};
/// use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};
/// # use engraft_ir::Precision;
///
/// /// Plans and tells how much memory that takes, but runs nothing.
/// #[derive(Debug)]
/// struct DryRun;
///
/// impl Executor for DryRun {
///     fn plan_options(&self) -> PlanOptions {
///         PlanOptions::default().low_memory(true)
///     }
///     fn prepare(&self, _plan: Plan) -> Result<Box<dyn Session>> {
///         Err(Error::because("dry run", "nothing is computed"))
///     }
///     fn memory(&self, plan: &Plan) -> Memory {
///         plan.memory()
///     }
/// #     fn check_precision(&self, _precision: Precision) -> Result<()> {
/// #         Ok(())
/// #     }
/// #     fn available_memory(&self) -> Option<usize> {
/// #         None
/// #     }
/// #     fn name(&self) -> &str {
/// #         "dry run"
/// #     }
/// #     fn threads(&self) -> usize {
/// #         1
/// #     }
///     // `check_precision`, `available_memory`, `name` and `threads` are left out here.
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &DryRun.plan_options())?;
/// assert_eq!(DryRun.memory(&plan).weights, 4 * (4 * 2 + 2));
/// assert!(DryRun.prepare(plan).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Executor: fmt::Debug + Send + Sync {
    /// What suits its caches and kernels. Only the executor knows those.
    fn plan_options(&self) -> PlanOptions;

    /// Whether it can compute products in this number format.
    ///
    /// # Errors
    /// It can't, with what it would need.
    fn check_precision(&self, precision: Precision) -> Result<()>;

    /// Makes ready to run `plan`: buffers are allocated once, here.
    ///
    /// # Errors
    /// There is no room for them, or the plan is in a precision that this executor can't compute.
    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>>;

    /// What `plan` takes on this executor, its working space included.
    fn memory(&self, plan: &Plan) -> Memory;

    /// Bytes that plans may use of the memory that they run in, those in use by this process included; `None` where that isn't known.
    fn available_memory(&self) -> Option<usize>;

    /// What it computes with, such as `avx512`.
    fn name(&self) -> &str;

    /// Threads that it works with.
    fn threads(&self) -> usize;

    /// Billions of floating-point operations a second that it can do at most, as measured now; `None` where that isn't measured.
    fn peak_gflops(&self) -> Option<f64> {
        None
    }
}

/// A plan with its buffers, ready to run any number of times.
///
/// Batches may be smaller than the plan's, never larger.
///
/// A training step is [`forward_backward`](Self::forward_backward), then [`apply`](Self::apply). The weights of the model and the
/// optimizer's state are at home in the model; an executor may keep copies where it computes, uploads what is newer at home
/// (by [`Weight::version`](engraft_nn::Weight::version) and [`OptimizerState::version`]), and brings its own home when
/// [`synchronize`](Self::synchronize) asks for them.
///
/// ```
/// # use engraft_nn::prelude::*;
/// use engraft_nn::{OptimizerState, Result, Tensor};
/// use engraft_plan::{Gradients, LabelledBatch, Plan, PlanOptions, Session, StepOutput, Update};
/// # use engraft_plan::GradientReducer;
///
/// /// Answers zeros to everything: a stand-in for tests.
/// struct Zeros(Plan);
///
/// impl Session for Zeros {
///     fn plan(&self) -> &Plan {
///         &self.0
///     }
///     fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
///         let program = self.0.program();
///         let shape = |output: &usize| [&[inputs[0].batch()], program.shapes[*output].as_slice()].concat();
///         Ok(program.outputs.iter().map(|output| Tensor::zeros(shape(output))).collect())
///     }
/// #     fn evaluate(&mut self, _batch: &LabelledBatch<'_>) -> Result<StepOutput> {
/// #         unimplemented!()
/// #     }
/// #     fn forward_backward(
/// #         &mut self,
/// #         _batch: &LabelledBatch<'_>,
/// #         _iteration: u64,
/// #         _reducer: &mut dyn GradientReducer,
/// #     ) -> Result<StepOutput> {
/// #         unimplemented!()
/// #     }
/// #     fn apply(&mut self, _update: Update, _state: &OptimizerState) -> Result<()> {
/// #         unimplemented!()
/// #     }
/// #     fn gradients(&mut self, _inputs: &[&Tensor], _upstream: &[&Tensor], _iteration: u64) -> Result<Gradients> {
/// #         unimplemented!()
/// #     }
/// #     fn fork(&self) -> Result<Box<dyn Session>> {
/// #         Ok(Box::new(Self(self.0.clone())))
/// #     }
///     // `evaluate`, `forward_backward`, `apply`, `gradients` and `fork` are left out here.
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let mut session = Zeros(Plan::predict(&model, 16, &PlanOptions::default())?);
/// // Fewer samples than the plan is for.
/// assert_eq!(session.predict(&[&Tensor::zeros([3, 4])])?, [Tensor::zeros([3, 2])]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Session: Send {
    /// The plan it runs.
    fn plan(&self) -> &Plan;

    /// The outputs for a batch: one tensor an output, `[n, ..]`.
    ///
    /// # Errors
    /// Inputs of another number or shape than the plan's, or more samples than it is for.
    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Loss and output for a batch of a plan with a loss; nothing is changed.
    ///
    /// # Errors
    /// A plan without a loss, or a batch that doesn't fit.
    fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput>;

    /// The first part of a training step: forward pass, loss and backward pass. Gradients are offered to `reducer` as each becomes
    /// final, and collected from it at the end. No weight, no moving statistic and no optimizer state changes.
    ///
    /// Random layers draw by (`iteration`, place in the global batch).
    ///
    /// # Errors
    /// A plan of another purpose, a batch that doesn't fit, a loss that is not finite, what the reducer gives. The step can't be
    /// applied then.
    fn forward_backward(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput>;

    /// The second part: changes weights, moving statistics and the optimizer's slots by the gradients of the last
    /// [`forward_backward`](Self::forward_backward). Counting the iteration is the caller's.
    ///
    /// # Errors
    /// No gradients since the last `apply`, or a state that belongs to another optimizer. Nothing is changed: the
    /// gradients can still be applied to the right one.
    fn apply(&mut self, update: Update, state: &OptimizerState) -> Result<()>;

    /// Both parts, for the only replica there is, and counts the step.
    ///
    /// # Errors
    /// Those of both parts. Nothing is changed.
    fn train_step(
        &mut self,
        batch: &LabelledBatch<'_>,
        learning_rate: f64,
        state: &OptimizerState,
    ) -> Result<StepOutput> {
        let iteration = state.iterations();
        let output = self.forward_backward(batch, iteration, &mut Local)?;
        self.apply(Update { learning_rate, iteration }, state)?;
        state.count_step();
        Ok(output)
    }

    /// The third part, when the model itself is wanted: brings weights and the optimizer's slots home from wherever the executor
    /// keeps them. Nothing happens where they are at home already, as the CPU's are.
    ///
    /// # Errors
    /// The device that keeps them can't be read.
    fn synchronize(&mut self, _state: &OptimizerState) -> Result<()> {
        Ok(())
    }

    /// Outputs, and the gradients of `sum(output * upstream)`, for a plan of gradients. In training mode the moving statistics of batch
    /// normalization move, as in every forward pass of training.
    ///
    /// # Errors
    /// A plan of another purpose, or inputs and upstream gradients that don't fit.
    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients>;

    /// Another session of the same plan, with buffers of its own, which are made at its first run; what is derived from weights and
    /// never changes is shared.
    ///
    /// # Errors
    /// The executor can't.
    fn fork(&self) -> Result<Box<dyn Session>>;

    /// What each step of the plan took in the last run; empty where that isn't measured.
    fn step_times(&self) -> &[StepTime] {
        &[]
    }
}

/// What one step of a plan took in a run.
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
    /// In the forward pass, all chunks of the batch together.
    pub forward: Duration,
    /// In the backward pass, updates of its weights included.
    pub backward: Duration,
}

/// Samples with their targets.
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
    /// `[n, ..]` for each input.
    pub inputs: &'a [&'a Tensor],
    /// Targets in the form the loss wants.
    pub targets: &'a Tensor,
    /// A weight for each sample's loss; all 1 if absent.
    pub sample_weights: Option<&'a [f32]>,
}

impl<'a> LabelledBatch<'a> {
    /// Samples that count alike.
    pub fn new(inputs: &'a [&'a Tensor], targets: &'a Tensor) -> Self {
        Self { inputs, targets, sample_weights: None }
    }

    /// With a weight for each sample's loss.
    #[must_use]
    pub fn sample_weights(self, sample_weights: Option<&'a [f32]>) -> Self {
        Self { sample_weights, ..self }
    }
}

/// How the gradients of a step are applied.
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
    /// Size of the step.
    pub learning_rate: f64,
    /// Steps made before this one: Adam corrects its moments by it.
    pub iteration: u64,
}

/// Result of a forward pass with a loss.
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
    /// Mean loss of the batch, of this replica's own samples alone, penalties included.
    pub loss: f64,
    /// The model's output, `[n, ..]`.
    pub output: Tensor,
}

/// Result of [`Session::gradients`].
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
    /// The outputs.
    pub outputs: Vec<Tensor>,
    /// With respect to each input; empty unless they were asked for.
    pub inputs: Vec<Tensor>,
    /// With respect to each trainable weight, under the weight's id; empty unless they were asked for.
    pub weights: HashMap<usize, Vec<f32>>,
    /// With respect to the output of each layer that was asked for, in that order.
    pub layers: Vec<LayerGradient>,
}

/// A layer's output and the gradient with respect to it.
///
/// ```
/// use engraft_nn::Tensor;
/// use engraft_plan::LayerGradient;
/// let layer = LayerGradient {
///     value: Tensor::new([1, 2], vec![3.0, 5.0])?,
///     gradient: Tensor::new([1, 2], vec![0.5, -1.0])?,
/// };
/// // Grad-CAM: values weighted by their gradients, of which the positive part counts.
/// let pairs = layer.value.data().iter().zip(layer.gradient.data());
/// let positive: Vec<f32> = pairs.map(|(value, gradient)| (value * gradient).max(0.0)).collect();
/// assert_eq!(positive, [1.5, 0.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradient {
    /// What the layer made, `[n, ..]`.
    pub value: Tensor,
    /// The gradient with respect to it, of the same shape.
    pub gradient: Tensor,
}
