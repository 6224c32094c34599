//! A plan with its buffers, ready to run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engraft_ir::ValueId;
use engraft_kernels::add_assign;
use engraft_nn::{Error, ErrorKind, OptimizerState, Result, Tensor};
use engraft_plan::{
    GradientReducer, Gradients, LabelledBatch, LayerGradient, Local, Plan, Purpose, Session, StepOutput, StepTime,
    Update,
};

use crate::buffers::Buffers;
use crate::loss;
use crate::pass::{BatchStatistics, Pass};
use crate::update::Updater;
use crate::values::Values;
use crate::workers::Workers;
use crate::workspace::{Keeps, Workspace};

pub(crate) struct CpuSession {
    plan: Arc<Plan>,
    workers: Arc<Workers>,
    buffers: Buffers,
    workspace: Workspace,
    /// What the last `forward_backward` left to be applied; gone after any other run.
    pending: Option<Pending>,
}

/// What a step that is not applied yet has beside its buffers.
struct Pending {
    samples: usize,
    statistics: BatchStatistics,
    /// Inputs that a folded update reads.
    inputs: HashMap<ValueId, Vec<f32>>,
}

impl CpuSession {
    pub(crate) fn new(plan: Plan, workers: Arc<Workers>, scratch: usize) -> Result<Self> {
        let buffers = Buffers::new(plan.buffers())?;
        let workspace = Workspace::new(scratch, Keeps::of(&plan))?;
        Ok(Self { plan: Arc::new(plan), workers, buffers, workspace, pending: None })
    }

    /// Makes the buffers, where there are none yet.
    fn allocate(&mut self) -> Result<()> {
        if self.buffers.is_empty() {
            self.buffers = Buffers::new(self.plan.buffers())?;
        }
        self.workspace.allocate()
    }

    /// Runs `work` over these inputs on this session's threads. Random layers draw by `iteration`.
    fn run<R: Send>(
        &mut self,
        inputs: &[&Tensor],
        iteration: u64,
        reducer: &mut dyn GradientReducer,
        work: impl FnOnce(&Plan, &mut Pass<'_>) -> Result<R> + Send,
    ) -> Result<R> {
        self.pending = None;
        self.allocate()?;
        let Self { plan, workers, buffers, workspace, .. } = self;
        let values = Values::new(plan, buffers, inputs)?;
        workspace.begin_run(plan.program().steps.len());
        workers.run(|| work(plan, &mut Pass::new(values, workspace, iteration, reducer)))
    }
}

impl CpuSession {
    /// See [`Session::forward_backward`].
    fn step(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput> {
        self.pending = None;
        check_reducible(&self.plan, reducer)?;
        let (step, pending) = self.run(batch.inputs, iteration, reducer, |plan, pass| {
            pass.forward()?;
            let output = plan.program().outputs[0];
            // Without a slot nothing is trainable: there is a loss, but nothing to update.
            let slot = plan.gradient_slot(output);
            let mut gradient = slot.map(|slot| pass.values.buffers.take(slot)).unwrap_or_default();
            let total = pass.place().total;
            let loss = mean_loss(&pass.values, batch, total, gradient.get_mut(..pass.values.length(output)));
            if let Some(slot) = slot {
                pass.values.buffers.put_back(slot, gradient);
            }
            let step = StepOutput { loss: loss?, output: outputs(&pass.values).remove(0) };
            if !step.loss.is_finite() {
                return Err(not_finite(step.loss, iteration + 1));
            }
            pass.backward()?;
            let inputs = pass.values.kept_inputs();
            let (samples, statistics) = (pass.values.samples, pass.take_statistics());
            Ok((step, Pending { samples, statistics, inputs }))
        })?;
        self.pending = Some(pending);
        Ok(step)
    }
}

impl Session for CpuSession {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.run(inputs, 0, &mut Local, |_, pass| {
            pass.forward()?;
            Ok(outputs(&pass.values))
        })
    }

    fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
        self.run(batch.inputs, 0, &mut Local, |_, pass| {
            pass.forward()?;
            let loss = mean_loss(&pass.values, batch, pass.values.samples, None)?;
            Ok(StepOutput { loss, output: outputs(&pass.values).remove(0) })
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
        let Self { plan, workers, buffers, workspace, pending } = self;
        let Some(Pending { samples, statistics, inputs }) = pending else {
            return Err(Error::because("apply", "there are no gradients to apply")
                .with_kind(ErrorKind::InvalidState)
                .hint("call forward_backward before it"));
        };
        let values = Values::of_backward(plan, buffers, *samples, inputs);
        workers.run(|| {
            let updater = Updater::new(plan, update, state)?;
            updater.run(values, &mut workspace.times);
            statistics.move_stored(plan, *samples);
            Ok(())
        })?;
        *pending = None;
        Ok(())
    }

    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients> {
        self.run(inputs, iteration, &mut Local, |plan, pass| {
            let Purpose::Gradients { inputs, values } = plan.purpose() else {
                return Err(Error::new("gradients", "a plan of gradients", format_args!("{:?}", plan.purpose())));
            };
            pass.forward()?;
            begin_gradients(&mut pass.values, upstream)?;
            // Before gradients are written over values.
            let outputs = outputs(&pass.values);
            pass.backward()?;
            pass.take_statistics().move_stored(plan, pass.values.samples);
            let values = values
                .iter()
                .map(|&value| LayerGradient { value: pass.values.tensor(value), gradient: pass.gradient(value) });
            let inputs = plan.program().inputs.iter().filter(|_| *inputs);
            Ok(Gradients {
                outputs,
                inputs: inputs.map(|&input| pass.values.gradient(input)).collect(),
                weights: pass.values.weight_gradients(),
                layers: values.collect(),
            })
        })
    }

    fn fork(&self) -> Result<Box<dyn Session>> {
        let (buffers, workspace) = (Buffers::default(), self.workspace.fork());
        let (plan, workers) = (Arc::clone(&self.plan), Arc::clone(&self.workers));
        Ok(Box::new(Self { plan, workers, buffers, workspace, pending: None }))
    }

    fn step_times(&self) -> &[StepTime] {
        &self.workspace.times
    }
}

/// A plan that is trained, whose gradients exist if the reducer needs them.
fn check_reducible(plan: &Plan, reducer: &dyn GradientReducer) -> Result<()> {
    if !matches!(plan.purpose(), Purpose::Train { .. }) {
        return Err(Error::new("forward_backward", "a plan of training", format_args!("{:?}", plan.purpose())));
    }
    let folds = (0..plan.program().steps.len()).any(|index| plan.folds_update(index));
    if folds && reducer.needs_gradients() {
        return Err(Error::because("forward_backward", "the plan folds updates, so that not all gradients exist")
            .hint("plan with `fold_updates(false)` to sum gradients over replicas"));
    }
    Ok(())
}

/// Writes the gradients with respect to the outputs. A value that is an output twice, reshaped or not, has their sum.
fn begin_gradients(values: &mut Values<'_>, upstream: &[&Tensor]) -> Result<()> {
    let outputs = &values.plan.program().outputs;
    if upstream.len() != outputs.len() {
        return Err(Error::new("upstream", format_args!("{} tensors", outputs.len()), upstream.len()));
    }
    let mut begun = HashSet::new();
    for (&output, upstream) in outputs.iter().zip(upstream) {
        let length = values.length(output);
        if upstream.data().len() != length {
            return Err(Error::new("upstream", format_args!("{length} numbers"), upstream.data().len()));
        }
        let Some(slot) = values.plan.gradient_slot(output) else { continue };
        let mut gradient = values.buffers.take(slot);
        match begun.insert(values.plan.root(output)) {
            true => gradient[..length].copy_from_slice(upstream.data()),
            false => add_assign(&mut gradient[..length], upstream.data()),
        }
        values.buffers.put_back(slot, gradient);
    }
    Ok(())
}

/// Mean loss of a batch, penalties included. Writes the gradient with respect to the program's last value where asked: of the mean
/// over `total` samples, those of other replicas included.
fn mean_loss(
    values: &Values<'_>,
    batch: &LabelledBatch<'_>,
    total: usize,
    gradient: Option<&mut [f32]>,
) -> Result<f64> {
    let plan = values.plan;
    let Some(loss) = plan.purpose().loss() else {
        return Err(Error::new("step", "a plan with a loss", format_args!("{:?}", plan.purpose())));
    };
    if let Some(weights) = batch.sample_weights.filter(|weights| weights.len() != values.samples) {
        return Err(Error::new("sample weights", format_args!("{} numbers", values.samples), weights.len()));
    }
    let output = plan.program().outputs[0];
    let width = plan.program().size(output);
    let mean = loss::mean_loss(loss, plan.head(), width, values.get(output), batch, total, gradient)?;
    Ok(mean + loss::penalty(plan.program()))
}

/// The model's outputs: the program's, through the head where one was split off.
fn outputs(values: &Values<'_>) -> Vec<Tensor> {
    let (plan, program) = (values.plan, values.plan.program());
    let output = |&output: &ValueId| {
        let mut tensor = values.tensor(output);
        loss::apply_head(plan.head(), program.size(output), tensor.data_mut());
        tensor
    };
    program.outputs.iter().map(output).collect()
}

fn not_finite(loss: f64, step: u64) -> Error {
    let (cause, hint) = match step {
        1 => (
            "nothing was learned yet, so the inputs or the weights hold values that are not finite or far too large",
            "check the weights file, and that pixels are scaled as the network expects",
        ),
        _ => ("the weights have most likely run away", "use a smaller learning rate, for example a tenth of this one"),
    };
    Error::because(format_args!("training step {step}"), format_args!("the loss is {loss}: {cause}"))
        .with_kind(ErrorKind::NonFinite)
        .hint(hint)
}
