//! `BatchRun`: the forward and backward pass of a plan over one batch. The optimizer step is in [`update`](crate::update).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use engraft_ir::{Activation, ValueId};
use engraft_kernels::add_assign;
use engraft_nn::{Result, Tensor, Weight};
use engraft_plan::{BatchPlace, GradientReducer, Plan, Purpose};

use crate::ops::{self, Backward};
use crate::step_call::{Statistics, StepCall};
use crate::values::Values;
use crate::workspace::Workspace;

/// The forward and backward pass of a plan over one batch.
pub(crate) struct BatchRun<'a> {
    pub(crate) values: Values<'a>,
    workspace: &'a mut Workspace,
    iteration: u64,
    reducer: &'a mut dyn GradientReducer,
    statistics: BatchStatistics,
    /// Copies of requested gradients that the backward pass overwrites later.
    saved_gradients: HashMap<ValueId, Tensor>,
}

/// Batch statistics of each batch normalization in training mode, by step index.
///
/// Ordered by step: a layer that is called twice updates its moving statistics twice, in the order of the calls.
#[derive(Default)]
pub(crate) struct BatchStatistics(BTreeMap<usize, Arc<Statistics>>);

impl BatchStatistics {
    /// Updates the moving mean and variance of every batch normalization that ran in training mode.
    pub(crate) fn update_moving_statistics(&self, plan: &Plan, samples: usize) {
        for (&index, batch) in &self.0 {
            ops::update_moving_statistics(&StepCall::new(plan, &plan.program().steps[index], samples), batch);
        }
    }
}

impl<'a> BatchRun<'a> {
    pub(crate) fn new(
        values: Values<'a>,
        workspace: &'a mut Workspace,
        iteration: u64,
        reducer: &'a mut dyn GradientReducer,
    ) -> Self {
        let (statistics, saved_gradients) = (BatchStatistics::default(), HashMap::new());
        Self { values, workspace, iteration, reducer, statistics, saved_gradients }
    }

    /// The position of this batch's samples in the global batch of all replicas.
    pub(crate) fn place(&self) -> BatchPlace {
        self.reducer.place(self.values.samples)
    }

    /// Moves the batch statistics out of the run.
    pub(crate) fn take_statistics(&mut self) -> BatchStatistics {
        std::mem::take(&mut self.statistics)
    }

    /// A requested gradient with respect to a value, after the backward pass.
    pub(crate) fn gradient(&self, value: ValueId) -> Tensor {
        self.saved_gradients.get(&value).cloned().unwrap_or_else(|| self.values.gradient(value))
    }

    /// Forward pass: the steps of the prefix chunk by chunk, then the other steps for the whole batch.
    pub(crate) fn forward(&mut self) -> Result<()> {
        let plan = self.values.plan;
        let (prefix, chunk) = (plan.prefix(), plan.chunk());
        if !prefix.is_empty() {
            for first in (0..self.values.samples).step_by(chunk) {
                let samples = chunk.min(self.values.samples - first);
                for index in prefix.clone() {
                    match plan.stream(index) {
                        Some(stream) => self.forward_streamed(index, stream.rows, first, samples),
                        None if index > 0 && plan.stream(index - 1).is_some() => {}
                        None => self.forward_step(index, first, samples)?,
                    }
                }
            }
        }
        let mut rest = prefix.end..plan.program().steps.len();
        rest.try_for_each(|index| self.forward_step(index, 0, self.values.samples))
    }

    fn forward_step(&mut self, index: usize, first: usize, samples: usize) -> Result<()> {
        let began = Instant::now();
        self.compute(index, first, samples)?;
        self.workspace.times[index].forward += began.elapsed();
        Ok(())
    }

    /// Computes a step's output for some samples, in the forward pass or again for the backward pass.
    fn compute(&mut self, index: usize, first: usize, samples: usize) -> Result<()> {
        let plan = self.values.plan;
        let step = &plan.program().steps[index];
        // A reshaped value shares the buffer of the original: there is nothing to compute.
        if plan.root(step.output) != step.output {
            return Ok(());
        }
        let mut call = self.step_call_for(index, first, samples);
        if call.statistics.is_none() {
            let x = self.values.inputs_of_samples(step, first, samples);
            call.statistics = ops::batch_statistics(&call, &x, self.reducer)?.map(Arc::new);
            self.statistics.0.extend(call.statistics.clone().map(|statistics| (index, statistics)));
        }
        let slot = self.values.slot(step.output).expect("every value but an input has a slot");
        let range = self.values.range(step.output, first, samples);
        let mut buffer = self.values.buffers.take(slot);
        let x = self.values.inputs_of_samples(step, first, samples);
        ops::forward(&call, &x, &mut buffer[range], self.workspace);
        self.values.buffers.restore(slot, buffer);
        Ok(())
    }

    /// Computes step `index` and the next as a row-streamed pair.
    fn forward_streamed(&mut self, index: usize, rows: usize, first: usize, samples: usize) {
        let plan = self.values.plan;
        let calls = [index, index + 1].map(|index| self.step_call_for(index, first, samples));
        let [intermediate, y] = [&calls[0], &calls[1]].map(|call| call.step.output);
        let slots = [intermediate, y].map(|value| plan.slot(value).expect("every value but an input has a slot"));
        let [mut window, mut buffer] = slots.map(|slot| self.values.buffers.take(slot));
        let x = self.values.inputs_of_samples(calls[0].step, first, samples);
        let y = &mut buffer[self.values.range(y, first, samples)];
        let times = ops::stream::forward([&calls[0], &calls[1]], rows, x[0], &mut window, y, self.workspace);
        for (index, time) in [index, index + 1].into_iter().zip(times) {
            self.workspace.times[index].forward += time;
        }
        self.values.buffers.restore(slots[0], window);
        self.values.buffers.restore(slots[1], buffer);
    }

    /// Backward pass through all differentiated steps. The gradients with respect to the outputs must be in their slots.
    ///
    /// The gradient with respect to each weight is offered to the reducer as soon as it is final.
    /// At the end, the reducer's sum over all replicas replaces it.
    pub(crate) fn backward(&mut self) -> Result<()> {
        let plan = self.values.plan;
        let steps = &plan.program().steps;
        // Values whose gradient slot holds a contribution already; further contributions are added.
        let mut written: HashSet<ValueId> = plan.program().outputs.iter().map(|&output| plan.root(output)).collect();
        let mut offered = Vec::new();
        self.values.backward = true;
        for (index, step) in steps.iter().enumerate().rev() {
            if plan.differentiates(index) && plan.root(step.output) == step.output {
                plan.recomputed_steps(index).iter().try_for_each(|&step| self.recompute(step))?;
                self.backward_step(index, &mut written, &mut offered)?;
            }
        }
        offered.into_iter().try_for_each(|weight| self.collect(weight))
    }

    fn recompute(&mut self, index: usize) -> Result<()> {
        let began = Instant::now();
        self.compute(index, 0, self.values.samples)?;
        self.workspace.times[index].backward += began.elapsed();
        Ok(())
    }

    fn backward_step(
        &mut self,
        index: usize,
        written: &mut HashSet<ValueId>,
        offered: &mut Vec<&'a Weight>,
    ) -> Result<()> {
        let began = Instant::now();
        let plan = self.values.plan;
        let call = self.step_call(index);
        let output = call.step.output;
        let slot = plan.gradient_slot(output).expect("a differentiated step's output has a gradient");
        let mut buffer = self.values.buffers.take(slot);
        let dy = &mut buffer[..self.values.length(output)];
        if call.step.activation != Activation::Linear && is_requested(plan, output) {
            self.saved_gradients.insert(output, self.values.tensor_of(output, dy));
        }
        if !plan.gradient_in_place(output) {
            ops::activation_gradient(&call, self.values.get(output), dy);
        }
        let trainable = |position: &usize| call.step.weights[*position].trainable;
        // Gradients with respect to weights come first, because they read the step's inputs. The gradient with respect to an
        // input may overwrite the input.
        for position in (0..call.step.weights.len()).filter(trainable) {
            self.weight_gradient(&call, index, position, dy);
        }
        let mut positions = 0..call.step.inputs.len();
        let result = positions.try_for_each(|position| match plan.gradient_in_place(call.step.inputs[position]) {
            true => {
                self.input_gradient_in_place(&call, dy);
                Ok(())
            }
            false => self.input_gradient(&call, index, position, dy, written),
        });
        // The buffer goes back even after an error of the reducer, so that the session can run again.
        self.values.buffers.restore(slot, buffer);
        result?;
        for param in call.step.weights.iter().filter(|param| param.trainable) {
            self.offer(&param.weight, index, offered)?;
        }
        self.workspace.times[index].backward += began.elapsed();
        Ok(())
    }

    /// Offers the gradient with respect to a weight to the reducer, if step `index` was the last to contribute to it.
    ///
    /// A kernel whose update is folded has no gradient to offer.
    fn offer(&mut self, weight: &'a Weight, index: usize, offered: &mut Vec<&'a Weight>) -> Result<()> {
        let plan = self.values.plan;
        let Some(slot) = plan.weight_gradient_slot(weight.id()) else { return Ok(()) };
        if plan.last_use(weight.id()) != Some(index) || offered.iter().any(|known| known.id() == weight.id()) {
            return Ok(());
        }
        offered.push(weight);
        self.reducer.offer(weight, &self.values.buffers.get(slot)[..weight.count()])
    }

    /// Replaces the gradient with respect to a weight by the reducer's sum over all replicas.
    fn collect(&mut self, weight: &Weight) -> Result<()> {
        let slot = self.values.plan.weight_gradient_slot(weight.id()).expect("only materialized gradients are offered");
        let mut buffer = self.values.buffers.take(slot);
        let collected = self.reducer.collect(weight, &mut buffer[..weight.count()]);
        self.values.buffers.restore(slot, buffer);
        collected
    }

    fn input_gradient(
        &mut self,
        call: &StepCall<'_>,
        index: usize,
        position: usize,
        dy: &[f32],
        written: &mut HashSet<ValueId>,
    ) -> Result<()> {
        let plan = self.values.plan;
        let input = call.step.inputs[position];
        let Some(target) = plan.gradient_slot(input) else { return Ok(()) };
        let first = written.insert(plan.root(input));
        let slot = if first { target } else { plan.contribution_slot(index).expect("planned for later contributions") };
        let length = self.values.length(input);
        let mut buffer = self.values.buffers.take(slot);
        let b = Backward { x: &self.values.inputs_of(call.step), y: self.values.get(call.step.output), dy };
        let scratch = &mut self.workspace.scratch;
        let computed = ops::input_gradient(call, position, &b, &mut buffer[..length], scratch, self.reducer);
        if !first {
            let mut sum = self.values.buffers.take(target);
            add_assign(&mut sum[..length], &buffer[..length]);
            self.values.buffers.restore(target, sum);
        }
        self.values.buffers.restore(slot, buffer);
        computed
    }

    /// Overwrites the step's input with the gradient with respect to it.
    fn input_gradient_in_place(&mut self, call: &StepCall<'_>, dy: &[f32]) {
        let plan = self.values.plan;
        let input = call.step.inputs[0];
        let slot = plan.gradient_slot(input).expect("a value that its gradient overwrites has a slot");
        let relu = plan.is_fused_relu_output(input);
        let mut buffer = self.values.buffers.take(slot);
        let b = Backward { x: &[], y: self.values.get(call.step.output), dy };
        let x = &mut buffer[..self.values.length(input)];
        ops::input_gradient_in_place(call, &b, relu, x, &mut self.workspace.scratch);
        self.values.buffers.restore(slot, buffer);
    }

    /// Computes the step's contribution to the gradient with respect to a weight: the first one is written, later ones are added.
    ///
    /// A kernel whose update is folded has no gradient buffer, so nothing is computed for it here.
    fn weight_gradient(&mut self, call: &StepCall<'_>, index: usize, position: usize, dy: &[f32]) {
        let plan = self.values.plan;
        let weight = &call.step.weights[position].weight;
        let Some(slot) = plan.weight_gradient_slot(weight.id()) else { return };
        let mut buffer = self.values.buffers.take(slot);
        // If several steps share the weight, the buffer has a second half for contributions after the first.
        let (sum, contribution) = buffer.split_at_mut(weight.count());
        let first = plan.first_use(weight.id()) == Some(index);
        let target = if first { &mut *sum } else { &mut contribution[..weight.count()] };
        let b = Backward { x: &self.values.inputs_of(call.step), y: self.values.get(call.step.output), dy };
        ops::weight_gradient(call, position, &b, target, &mut self.workspace.scratch);
        if !first {
            add_assign(sum, &contribution[..weight.count()]);
        }
        self.values.buffers.restore(slot, buffer);
    }

    /// A call of step `index` for `samples` samples of the batch, from `first` on.
    fn step_call_for(&self, index: usize, first: usize, samples: usize) -> StepCall<'a> {
        StepCall { samples, first_sample: self.place().first + first, ..self.step_call(index) }
    }

    /// A call of step `index` for the whole batch.
    fn step_call(&self, index: usize) -> StepCall<'a> {
        let plan = self.values.plan;
        StepCall {
            iteration: self.iteration,
            chunked: plan.prefix().contains(&index),
            first_sample: self.place().first,
            statistics: self.statistics.0.get(&index).cloned(),
            ..StepCall::new(plan, &plan.program().steps[index], self.values.samples)
        }
    }
}

/// Whether the caller asked for the gradient with respect to a value.
fn is_requested(plan: &Plan, value: ValueId) -> bool {
    matches!(plan.purpose(), Purpose::Gradients { values, .. } if values.contains(&value))
}
