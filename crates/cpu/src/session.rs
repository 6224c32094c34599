//! A plan with its buffers, ready to run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engraft_kernels::add_assign;
use engraft_nn::plan::{Plan, Purpose, ValueId};
use engraft_nn::{Error, Gradients, LabelledBatch, OptimizerState, Result, Session, StepOutput, StepTime, Tensor};

use crate::buffers::Buffers;
use crate::loss;
use crate::pass::{Pass, Sink};
use crate::update::Update;
use crate::values::Values;
use crate::workers::Workers;
use crate::workspace::{Keeps, Workspace};

pub(crate) struct CpuSession {
    plan: Plan,
    workers: Arc<Workers>,
    buffers: Buffers,
    workspace: Workspace,
}

impl CpuSession {
    pub(crate) fn new(plan: Plan, workers: Arc<Workers>, scratch: usize) -> Result<Self> {
        let buffers = Buffers::new(plan.buffers())?;
        let workspace = Workspace::new(scratch, Keeps::of(&plan))?;
        Ok(Self { plan, workers, buffers, workspace })
    }

    /// Runs `work` over these inputs on this session's threads. Random layers draw by `iteration`.
    fn run<R: Send>(
        &mut self,
        inputs: &[&Tensor],
        iteration: u64,
        work: impl FnOnce(&Plan, &mut Pass<'_>) -> Result<R> + Send,
    ) -> Result<R> {
        let Self { plan, workers, buffers, workspace } = self;
        let values = Values::new(plan, buffers, inputs)?;
        workspace.begin_run(plan.program().steps.len());
        workers.run(|| work(plan, &mut Pass::new(values, workspace, iteration)))
    }
}

impl Session for CpuSession {
    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.run(inputs, 0, |_, pass| {
            pass.forward();
            Ok(outputs(&pass.values))
        })
    }

    fn test_step(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
        self.run(batch.inputs, 0, |_, pass| {
            pass.forward();
            let loss = mean_loss(&pass.values, batch, None)?;
            Ok(StepOutput { loss, output: outputs(&pass.values).remove(0) })
        })
    }

    fn train_step(&mut self, batch: &LabelledBatch<'_>, state: &mut OptimizerState) -> Result<StepOutput> {
        self.run(batch.inputs, state.iterations, |plan, pass| {
            let Purpose::Train { optimizer, .. } = plan.purpose() else {
                return Err(Error::new("train_step", "a plan of training", format_args!("{:?}", plan.purpose())));
            };
            pass.forward();
            let output = plan.program().outputs[0];
            // Without a slot nothing is trainable: there is a loss, but nothing to update.
            let slot = plan.gradient_slot(output);
            let mut gradient = slot.map(|slot| pass.values.buffers.take(slot)).unwrap_or_default();
            let loss = mean_loss(&pass.values, batch, gradient.get_mut(..pass.values.length(output)));
            if let Some(slot) = slot {
                pass.values.buffers.put_back(slot, gradient);
            }
            let step = StepOutput { loss: loss?, output: outputs(&pass.values).remove(0) };
            if !step.loss.is_finite() {
                return Err(not_finite(step.loss, state.iterations + 1));
            }
            let update = Update::new(optimizer, state, plan.program().weights())?;
            pass.backward(&mut Sink::Update(update));
            pass.move_statistics();
            state.iterations += 1;
            Ok(step)
        })
    }

    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], step: u64) -> Result<Gradients> {
        self.run(inputs, step, |plan, pass| {
            if !matches!(plan.purpose(), Purpose::Gradients) {
                return Err(Error::new("gradients", "a plan of gradients", format_args!("{:?}", plan.purpose())));
            }
            pass.forward();
            begin_gradients(&mut pass.values, upstream)?;
            let outputs = outputs(&pass.values);
            let mut weights = HashMap::new();
            pass.backward(&mut Sink::Keep(&mut weights));
            pass.move_statistics();
            let inputs = plan.program().inputs.iter().map(|&input| pass.values.gradient(input)).collect();
            Ok(Gradients { outputs, inputs, weights })
        })
    }

    fn step_times(&self) -> &[StepTime] {
        &self.workspace.times
    }
}

/// Writes the gradients by the outputs. A value that is an output twice, reshaped or not, has their sum.
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

/// Mean loss of a batch, penalties included. Writes the gradient by the program's last value where asked.
fn mean_loss(values: &Values<'_>, batch: &LabelledBatch<'_>, gradient: Option<&mut [f32]>) -> Result<f64> {
    let plan = values.plan;
    let (Purpose::Train { loss, .. } | Purpose::Evaluate { loss }) = plan.purpose() else {
        return Err(Error::new("step", "a plan with a loss", format_args!("{:?}", plan.purpose())));
    };
    if let Some(weights) = batch.sample_weights.filter(|weights| weights.len() != values.samples) {
        return Err(Error::new("sample weights", format_args!("{} numbers", values.samples), weights.len()));
    }
    let output = plan.program().outputs[0];
    let width = plan.program().size(output);
    let mean = loss::mean_loss(loss, plan.head(), width, values.get(output), batch, gradient)?;
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
    Error::because(format_args!("training step {step}"), format_args!("the loss is {loss}: {cause}")).hint(hint)
}
