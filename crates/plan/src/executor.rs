//! The door between plans and the machines that run them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use engraft_ir::Precision;
use engraft_nn::{OptimizerState, Result, Tensor};

use crate::{GradientReducer, Local, Memory, Plan, PlanOptions};

/// Something that can run plans: a CPU, later a GPU. It takes a *whole* plan, never single operations, so that one with
/// fusions, memory or an autodiff of its own fits as well.
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

    /// Bytes of the memory that plans run in which may still come to be used; `None` where that isn't known.
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Size of the step.
    pub learning_rate: f64,
    /// Steps made before this one: Adam corrects its moments by it.
    pub iteration: u64,
}

/// Result of a forward pass with a loss.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// Mean loss of the batch, of this replica's own samples alone, penalties included.
    pub loss: f64,
    /// The model's output, `[n, ..]`.
    pub output: Tensor,
}

/// Result of [`Session::gradients`].
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
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradient {
    /// What the layer made, `[n, ..]`.
    pub value: Tensor,
    /// The gradient with respect to it, of the same shape.
    pub gradient: Tensor,
}
