//! `CpuSession`: a plan with its buffers, ready to run. Implements [`Session`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engraft_ir::ValueId;
use engraft_kernels::add_assign;
use engraft_nn::{Error, OptimizerState, Result, Tensor};
use engraft_plan::{
    GradientReducer, Gradients, LabelledBatch, LayerGradient, Plan, Purpose, Session, SingleReplica, StepOutput,
    StepTime, Update, checks,
};

use crate::batch_run::{BatchRun, BatchStatistics};
use crate::buffers::Buffers;
use crate::loss;
use crate::thread_pools::ThreadPools;
use crate::update::Updater;
use crate::values::Values;
use crate::workspace::{KernelCachePolicy, Workspace};

/// A plan with its buffers, ready to run.
pub(crate) struct CpuSession {
    plan: Arc<Plan>,
    pools: Arc<ThreadPools>,
    buffers: Buffers,
    workspace: Workspace,
    /// The last training step, until `apply` uses its gradients. Any other run overwrites the gradients and sets this to `None`.
    unapplied: Option<UnappliedStep>,
}

/// A training step whose gradients are in the buffers and not yet applied.
struct UnappliedStep {
    samples: usize,
    statistics: BatchStatistics,
    /// Copies of the program's inputs that folded updates read.
    inputs: HashMap<ValueId, Vec<f32>>,
}

impl CpuSession {
    pub(crate) fn new(plan: Plan, pools: Arc<ThreadPools>, scratch: usize) -> Result<Self> {
        let buffers = Buffers::new(plan.buffers())?;
        let workspace = Workspace::new(scratch, KernelCachePolicy::of(&plan))?;
        Ok(Self { plan: Arc::new(plan), pools, buffers, workspace, unapplied: None })
    }

    /// Allocates buffers and scratch space, unless they exist. A fork has none before its first run.
    fn allocate(&mut self) -> Result<()> {
        if self.buffers.is_empty() {
            self.buffers = Buffers::new(self.plan.buffers())?;
        }
        self.workspace.allocate()
    }

    /// Calls `work` with a run over `inputs`, on the threads of this session.
    ///
    /// `iteration` is part of the seed of random layers.
    fn run<R: Send>(
        &mut self,
        inputs: &[&Tensor],
        iteration: u64,
        reducer: &mut dyn GradientReducer,
        work: impl FnOnce(&Plan, &mut BatchRun<'_>) -> Result<R> + Send,
    ) -> Result<R> {
        self.unapplied = None;
        self.allocate()?;
        let Self { plan, pools, buffers, workspace, .. } = self;
        let values = Values::new(plan, buffers, inputs)?;
        workspace.begin_run(plan.program().steps.len());
        pools.run(|| work(plan, &mut BatchRun::new(values, workspace, iteration, reducer)))
    }
}

impl CpuSession {
    /// Does the work of [`Session::forward_backward`], which passes errors to the reducer.
    fn step(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput> {
        self.unapplied = None;
        checks::reducible(&self.plan, reducer)?;
        let (step, unapplied) = self.run(batch.inputs, iteration, reducer, |plan, run| {
            run.forward()?;
            let output = plan.program().outputs[0];
            // The output has no gradient slot if nothing is trainable. Then only the loss is computed.
            let slot = plan.gradient_slot(output);
            let mut gradient = slot.map(|slot| run.values.buffers.take(slot)).unwrap_or_default();
            let total = run.place().total;
            let loss = mean_loss(&run.values, batch, total, gradient.get_mut(..run.values.length(output)));
            if let Some(slot) = slot {
                run.values.buffers.restore(slot, gradient);
            }
            write_penalty_gradients(&mut run.values, total);
            let step = StepOutput { loss: loss?, output: outputs(&run.values).remove(0) };
            checks::finite_loss(step.loss, iteration)?;
            run.backward()?;
            let inputs = run.values.copy_folded_inputs();
            let (samples, statistics) = (run.values.samples, run.take_statistics());
            Ok((step, UnappliedStep { samples, statistics, inputs }))
        })?;
        self.unapplied = Some(unapplied);
        Ok(step)
    }
}

impl Session for CpuSession {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.run(inputs, 0, &mut SingleReplica, |_, run| {
            run.forward()?;
            Ok(outputs(&run.values))
        })
    }

    fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
        self.run(batch.inputs, 0, &mut SingleReplica, |_, run| {
            run.forward()?;
            let loss = mean_loss(&run.values, batch, run.values.samples, None)?;
            Ok(StepOutput { loss, output: outputs(&run.values).remove(0) })
        })
    }

    fn forward_backward(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput> {
        let step = self.step(batch, iteration, reducer);
        step.inspect_err(|error| reducer.abort(error))
    }

    fn apply(&mut self, update: Update, state: &OptimizerState) -> Result<()> {
        let Self { plan, pools, buffers, workspace, unapplied } = self;
        let Some(UnappliedStep { samples, statistics, inputs }) = unapplied else {
            return Err(checks::no_gradients());
        };
        let values = Values::after_backward(plan, buffers, *samples, inputs);
        pools.run(|| {
            state.update_slots(|slots| {
                Updater::new(plan, update, slots)?.run(values, &mut workspace.times);
                Ok(())
            })?;
            statistics.update_moving_statistics(plan, *samples);
            Ok(())
        })?;
        *unapplied = None;
        Ok(())
    }

    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients> {
        self.run(inputs, iteration, &mut SingleReplica, |plan, run| {
            let Purpose::Gradients { inputs, values } = plan.purpose() else {
                return Err(checks::wrong_purpose("gradients", "a plan of gradients", plan));
            };
            run.forward()?;
            write_upstream(&mut run.values, upstream)?;
            // The outputs are copied before the backward pass, which may overwrite values with gradients.
            let outputs = outputs(&run.values);
            run.backward()?;
            run.take_statistics().update_moving_statistics(plan, run.values.samples);
            let values = values
                .iter()
                .map(|&value| LayerGradient { value: run.values.tensor(value), gradient: run.gradient(value) });
            let inputs = plan.program().inputs.iter().filter(|_| *inputs);
            Ok(Gradients {
                outputs,
                inputs: inputs.map(|&input| run.values.gradient(input)).collect(),
                weights: run.values.weight_gradients(),
                layers: values.collect(),
            })
        })
    }

    fn fork(&self) -> Result<Box<dyn Session>> {
        let (buffers, workspace) = (Buffers::default(), self.workspace.fork());
        let (plan, pools) = (Arc::clone(&self.plan), Arc::clone(&self.pools));
        Ok(Box::new(Self { plan, pools, buffers, workspace, unapplied: None }))
    }

    fn step_times(&self) -> &[StepTime] {
        &self.workspace.times
    }
}

/// Copies the upstream gradients into the gradient slots of the outputs.
///
/// Outputs that share a buffer (one value twice, or a value and its reshaped form) get the sum of their gradients.
fn write_upstream(values: &mut Values<'_>, upstream: &[&Tensor]) -> Result<()> {
    let outputs = &values.plan.program().outputs;
    if upstream.len() != outputs.len() {
        return Err(Error::new("upstream", format_args!("{} tensors", outputs.len()), upstream.len()));
    }
    let mut written = HashSet::new();
    for (&output, upstream) in outputs.iter().zip(upstream) {
        let length = values.length(output);
        if upstream.data().len() != length {
            return Err(Error::new("upstream", format_args!("{length} numbers"), upstream.data().len()));
        }
        let Some(slot) = values.plan.gradient_slot(output) else { continue };
        let mut gradient = values.buffers.take(slot);
        match written.insert(values.plan.root(output)) {
            true => gradient[..length].copy_from_slice(upstream.data()),
            false => add_assign(&mut gradient[..length], upstream.data()),
        }
        values.buffers.restore(slot, gradient);
    }
    Ok(())
}

/// Mean loss of a batch plus the penalties of regularizers.
///
/// If `gradient` is given, writes the gradient with respect to the program's output into it. The gradient is that of the mean
/// over `total` samples, which are the samples of all replicas.
fn mean_loss(
    values: &Values<'_>,
    batch: &LabelledBatch<'_>,
    total: usize,
    gradient: Option<&mut [f32]>,
) -> Result<f64> {
    let plan = values.plan;
    let Some(loss) = plan.purpose().loss() else {
        return Err(checks::wrong_purpose("step", "a plan with a loss", plan));
    };
    checks::sample_weights(batch, values.samples)?;
    let output = plan.program().outputs[0];
    let width = plan.program().size(output);
    let mean = loss::mean_loss(loss, plan.output_activation(), width, values.get(output), batch, total, gradient)?;
    Ok(mean + loss::penalty(plan.program()) + mean_output_penalty(values))
}

/// The penalties on the outputs of layers, divided by the number of samples. They are the program's outputs after the first.
fn mean_output_penalty(values: &Values<'_>) -> f64 {
    let penalties = values.plan.program().outputs[1..].iter().flat_map(|&penalty| values.get(penalty));
    penalties.map(|&penalty| f64::from(penalty)).sum::<f64>() / values.samples.max(1) as f64
}

/// Writes the gradient of the loss with respect to each penalty on an output of a layer: the loss has their sum over `total` samples.
fn write_penalty_gradients(values: &mut Values<'_>, total: usize) {
    let plan = values.plan;
    for &penalty in &plan.program().outputs[1..] {
        let Some(slot) = plan.gradient_slot(penalty) else { continue };
        let length = values.length(penalty);
        let mut gradient = values.buffers.take(slot);
        gradient[..length].fill(1.0 / total as f32);
        values.buffers.restore(slot, gradient);
    }
}

/// The model's outputs: the program's outputs, after the output activation if the plan split one off.
fn outputs(values: &Values<'_>) -> Vec<Tensor> {
    let (plan, program) = (values.plan, values.plan.program());
    let output = |&output: &ValueId| {
        let mut tensor = values.tensor(output);
        loss::apply_output_activation(plan.output_activation(), program.size(output), tensor.data_mut());
        tensor
    };
    program.outputs.iter().map(output).collect()
}
