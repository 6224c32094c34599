//! [`ReferenceSession`]: runs a plan on its own copies of weights and optimizer slots.

use std::collections::HashMap;
use std::sync::Arc;

use engraft_ir::ValueId;
use engraft_nn::{Error, OptimizerState, Result, Tensor};
use engraft_plan::{
    GradientReducer, Gradients, LabelledBatch, LayerGradient, Plan, Purpose, Session, SingleReplica, StepOutput,
    Update, checks,
};

use crate::array::Array;
use crate::loss::{self, BatchLoss};
use crate::ops;
use crate::pass::{BatchStatistics, ForwardPass, accumulate};
use crate::unfused::UnfusedProgram;
use crate::update;
use crate::weights::{OptimizerSlots, Weights};

#[derive(Debug)]
pub(crate) struct ReferenceSession {
    plan: Arc<Plan>,
    program: Arc<UnfusedProgram>,
    weights: Weights,
    slots: OptimizerSlots,
    /// The result of the last `forward_backward`, until `apply`.
    pending: Option<Pending>,
}

/// Gradients and statistics that are computed but not applied yet.
#[derive(Debug)]
struct Pending {
    /// The gradient with respect to each weight, summed over replicas; the key is the id of the weight.
    gradients: HashMap<usize, Array>,
    statistics: BatchStatistics,
}

impl ReferenceSession {
    pub(crate) fn new(plan: Plan) -> Self {
        let program = Arc::new(UnfusedProgram::of(&plan));
        let (weights, slots) = (Weights::default(), OptimizerSlots::default());
        Self { plan: Arc::new(plan), program, weights, slots, pending: None }
    }

    /// Copies weights that changed in the model, and runs the forward pass.
    fn forward(
        &mut self,
        inputs: &[&Tensor],
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<ForwardPass<'_>> {
        let samples = checks::inputs(&self.plan, inputs)?;
        self.weights.upload(self.plan.program().weights());
        let values = self.plan.program().inputs.iter().copied();
        let values = values.zip(inputs.iter().map(|input| Array::from_f32(input.shape(), input.data()))).collect();
        ForwardPass::run(&self.program, &self.weights, samples, values, iteration, reducer)
    }

    /// Does the work of [`Session::forward_backward`], which passes errors to the reducer.
    fn step(
        &mut self,
        batch: &LabelledBatch<'_>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<StepOutput> {
        self.pending = None;
        let plan = Arc::clone(&self.plan);
        checks::reducible(&plan, reducer)?;
        let pass = self.forward(batch.inputs, iteration, reducer)?;
        let (step, gradient) = step_output(&plan, &pass, batch, reducer)?;
        checks::finite_loss(step.loss, iteration)?;
        let mut upstream = HashMap::from([(plan.program().outputs[0], gradient)]);
        let total = reducer.place(batch.inputs.first().map_or(0, |input| input.batch())).total;
        for &penalty in &plan.program().outputs[1..] {
            // The loss has the sum of the penalties, divided by the number of samples.
            upstream.insert(penalty, pass.value(penalty)?.map(|_| 1.0 / total as f64));
        }
        let backward = pass.backward(upstream, reducer)?;
        let statistics = pass.statistics;
        let mut gradients = HashMap::new();
        for (weight, gradient) in backward.weights {
            let mut sum = gradient.to_f32();
            reducer.collect(&weight, &mut sum)?;
            gradients.insert(weight.id(), Array::from_f32(weight.shape(), &sum));
        }
        self.pending = Some(Pending { gradients, statistics });
        Ok(step)
    }
}

impl Session for ReferenceSession {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let plan = Arc::clone(&self.plan);
        outputs(&plan, &self.forward(inputs, 0, &mut SingleReplica)?)
    }

    fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
        let plan = Arc::clone(&self.plan);
        let pass = self.forward(batch.inputs, 0, &mut SingleReplica)?;
        Ok(step_output(&plan, &pass, batch, &SingleReplica)?.0)
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
        let Purpose::Train { optimizer, .. } = self.plan.purpose() else {
            return Err(checks::wrong_purpose("apply", "a plan of training", &self.plan));
        };
        let Some(Pending { gradients, statistics }) = &self.pending else {
            return Err(checks::no_gradients());
        };
        let params = self.plan.program().weights();
        self.slots.upload(optimizer, &params, state)?;
        self.weights.upload(params.iter().copied());
        for param in params {
            let Some(gradient) = gradients.get(&param.weight.id()) else { continue };
            let (values, slots) = (self.weights.get_mut(&param.weight)?, self.slots.get_mut(&param.weight));
            let regularizer = param.weight.regularizer();
            let shape = param.weight.shape();
            update::apply(optimizer, update, regularizer, gradient.data(), shape, values.data_mut(), slots);
            if let Some(constraint) = param.weight.constraint() {
                update::constrain(constraint, param.weight.shape(), values.data_mut());
            }
        }
        update_moving_statistics(&self.program, &mut self.weights, statistics)?;
        self.pending = None;
        Ok(())
    }

    fn synchronize(&mut self, state: &OptimizerState) -> Result<()> {
        self.weights.upload(self.plan.program().weights());
        self.slots.download(state)?;
        self.weights.download();
        Ok(())
    }

    fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients> {
        let plan = Arc::clone(&self.plan);
        let Purpose::Gradients { inputs: with_inputs, values: requested } = plan.purpose() else {
            return Err(checks::wrong_purpose("gradients", "a plan of gradients", &plan));
        };
        let pass = self.forward(inputs, iteration, &mut SingleReplica)?;
        let outputs = outputs(&plan, &pass)?;
        let backward = pass.backward(upstream_gradients(&plan, &pass, upstream)?, &mut SingleReplica)?;
        let gradient = |&value: &ValueId| match backward.values.get(&value) {
            Some(gradient) => gradient.to_tensor(),
            // The backward pass didn't reach the value, because no output depends on it.
            None => Ok(Tensor::zeros(pass.value(value)?.shape())),
        };
        let layer =
            |value: &ValueId| Ok(LayerGradient { value: pass.value(*value)?.to_tensor()?, gradient: gradient(value)? });
        let gradients = Gradients {
            outputs,
            inputs: plan.program().inputs.iter().filter(|_| *with_inputs).map(gradient).collect::<Result<_>>()?,
            weights: backward.weights.iter().map(|(weight, gradient)| (weight.id(), gradient.to_f32())).collect(),
            layers: requested.iter().map(layer).collect::<Result<_>>()?,
        };
        let statistics = pass.statistics;
        update_moving_statistics(&self.program, &mut self.weights, &statistics)?;
        Ok(gradients)
    }

    fn fork(&self) -> Result<Box<dyn Session>> {
        let (plan, program) = (Arc::clone(&self.plan), Arc::clone(&self.program));
        Ok(Box::new(Self { plan, program, weights: self.weights.clone(), slots: self.slots.clone(), pending: None }))
    }
}

/// Updates the moving mean and variance of every batch normalization that used the statistics of the batch.
fn update_moving_statistics(
    program: &UnfusedProgram,
    weights: &mut Weights,
    statistics: &BatchStatistics,
) -> Result<()> {
    for (&index, batch) in statistics {
        let node = &program.nodes[index];
        let current = node.weights.iter().map(|param| weights.get(&param.weight)).collect::<Result<Vec<_>>>()?;
        for (position, updated) in ops::moving_statistics(&node.op, &current, batch)? {
            *weights.get_mut(&node.weights[position].weight)? = updated;
        }
    }
    Ok(())
}

/// The model's outputs: the program's outputs, after the output activation if the plan split one off.
fn outputs(plan: &Plan, pass: &ForwardPass<'_>) -> Result<Vec<Tensor>> {
    let output =
        |&output: &ValueId| loss::apply_output_activation(plan.output_activation(), pass.value(output)?).to_tensor();
    plan.program().outputs.iter().map(output).collect()
}

/// The loss and output of a forward pass, and the gradient of the loss with respect to the program's output.
fn step_output(
    plan: &Plan,
    pass: &ForwardPass<'_>,
    batch: &LabelledBatch<'_>,
    reducer: &dyn GradientReducer,
) -> Result<(StepOutput, Array)> {
    let Some(loss) = plan.purpose().loss() else {
        return Err(checks::wrong_purpose("evaluate", "a plan with a loss", plan));
    };
    let values = pass.value(plan.program().outputs[0])?;
    let total = reducer.place(values.shape()[0]).total;
    let BatchLoss { mean, gradient } = loss::batch_loss(loss, plan.output_activation(), values, batch, total)?;
    let output = outputs(plan, pass)?.remove(0);
    let penalties =
        plan.program().outputs[1..].iter().map(|&penalty| Ok(pass.value(penalty)?.data().iter().sum::<f64>()));
    let on_outputs = penalties.sum::<Result<f64>>()? / values.shape()[0].max(1) as f64;
    Ok((StepOutput { loss: mean + pass.penalty(plan.program())? + on_outputs, output }, gradient))
}

/// The upstream gradients by output value. Those of a value that is an output twice are summed.
fn upstream_gradients(plan: &Plan, pass: &ForwardPass<'_>, upstream: &[&Tensor]) -> Result<HashMap<ValueId, Array>> {
    let outputs = &plan.program().outputs;
    if upstream.len() != outputs.len() {
        return Err(Error::new("upstream", format_args!("{} tensors", outputs.len()), upstream.len()));
    }
    let mut gradients = HashMap::new();
    for (&output, upstream) in outputs.iter().zip(upstream) {
        let shape = pass.value(output)?.shape();
        if upstream.shape() != shape {
            return Err(Error::new("upstream", format_args!("{shape:?}"), format_args!("{:?}", upstream.shape())));
        }
        accumulate(&mut gradients, output, Array::from_f32(shape, upstream.data()));
    }
    Ok(gradients)
}
