//! The door between plans and the machines that run them.

use std::collections::HashMap;
use std::time::Duration;

use crate::compile::OptimizerState;
use crate::plan::{Memory, Plan};
use crate::{Result, Tensor};

/// Something that can run plans: a CPU, later a GPU. It takes a *whole* plan, never single operations, so that one with
/// fusions, memory or an autodiff of its own fits as well.
pub trait Executor: Send + Sync {
    /// Makes ready to run `plan`: buffers are allocated once, here.
    ///
    /// # Errors
    /// There is no room for them, or the plan is in a precision that this executor can't compute.
    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>>;

    /// What `plan` will take on this executor, its working space included.
    fn memory(&self, plan: &Plan) -> Memory;
}

/// A plan with its buffers, ready to run any number of times.
///
/// Batches may be smaller than the plan's, never larger.
pub trait Session: Send {
    /// The outputs for a batch: one tensor an output, `[n, ..]`.
    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Loss and output for a batch of a training plan, nothing changed.
    fn test_step(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput>;

    /// One step of training: forward, loss, backward, update. Nothing is changed where the loss is not finite.
    fn train_step(&mut self, batch: &LabelledBatch<'_>, state: &mut OptimizerState) -> Result<StepOutput>;

    /// Outputs, and the gradients of `sum(output * upstream)`, for a plan of gradients.
    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], step: u64) -> Result<Gradients>;

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
#[derive(Clone, Copy, Debug)]
pub struct LabelledBatch<'a> {
    /// `[n, ..]` for each input.
    pub inputs: &'a [&'a Tensor],
    /// Targets in the form the loss wants.
    pub targets: &'a Tensor,
    /// A weight for each sample's loss; all 1 if absent.
    pub sample_weights: Option<&'a [f32]>,
}

/// What a step tells.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// Mean loss of the batch, penalties included.
    pub loss: f64,
    /// The model's output, `[n, ..]`.
    pub output: Tensor,
}

/// What [`Session::gradients`] gives.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The outputs.
    pub outputs: Vec<Tensor>,
    /// By each input.
    pub inputs: Vec<Tensor>,
    /// By each trainable weight, under the weight's id.
    pub weights: HashMap<usize, Vec<f32>>,
}
