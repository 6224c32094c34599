//! One run of a plan over a batch, forward and back.

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

/// One run over a batch.
pub(crate) struct Pass<'a> {
    pub(crate) values: Values<'a>,
    workspace: &'a mut Workspace,
    iteration: u64,
    reducer: &'a mut dyn GradientReducer,
    statistics: BatchStatistics,
    /// Gradients that the caller wants and that the backward pass goes on to overwrite.
    overwritten: HashMap<ValueId, Tensor>,
}

/// By step, the batch's statistics that it normalized by. In order: a layer called twice moves its stored ones twice.
#[derive(Default)]
pub(crate) struct BatchStatistics(BTreeMap<usize, Arc<Statistics>>);

impl BatchStatistics {
    /// Updates the moving mean and variance of every batch normalization that used the statistics of the batch.
    pub(crate) fn move_stored(&self, plan: &Plan, samples: usize) {
        for (&index, batch) in &self.0 {
            ops::move_statistics(&StepCall::new(plan, &plan.program().steps[index], samples), batch);
        }
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        values: Values<'a>,
        workspace: &'a mut Workspace,
        iteration: u64,
        reducer: &'a mut dyn GradientReducer,
    ) -> Self {
        let (statistics, overwritten) = (BatchStatistics::default(), HashMap::new());
        Self { values, workspace, iteration, reducer, statistics, overwritten }
    }

    /// Where the samples stand in the batch of all replicas.
    pub(crate) fn place(&self) -> BatchPlace {
        self.reducer.place(self.values.samples)
    }

    /// The statistics that the run has normalized by.
    pub(crate) fn take_statistics(&mut self) -> BatchStatistics {
        std::mem::take(&mut self.statistics)
    }

    /// The gradient with respect to a value that the caller wants, after the backward pass.
    pub(crate) fn gradient(&self, value: ValueId) -> Tensor {
        self.overwritten.get(&value).cloned().unwrap_or_else(|| self.values.gradient(value))
    }

    /// The prefix a chunk at a time, then everything else.
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

    /// What a step makes of some samples: for the first time, or for the backward pass again.
    fn compute(&mut self, index: usize, first: usize, samples: usize) -> Result<()> {
        let plan = self.values.plan;
        let step = &plan.program().steps[index];
        // A reshaped value stands where the original does: there is nothing to do.
        if plan.root(step.output) != step.output {
            return Ok(());
        }
        let mut call = self.call_of_samples(index, first, samples);
        if call.statistics.is_none() {
            let x = self.values.inputs_of_samples(step, first, samples);
            call.statistics = ops::batch_statistics(&call, x[0], self.reducer)?.map(Arc::new);
            self.statistics.0.extend(call.statistics.clone().map(|statistics| (index, statistics)));
        }
        let slot = self.values.slot(step.output).expect("every value but an input has a slot");
        let range = self.values.range(step.output, first, samples);
        let mut buffer = self.values.buffers.take(slot);
        let x = self.values.inputs_of_samples(step, first, samples);
        ops::forward(&call, &x, &mut buffer[range], self.workspace);
        self.values.buffers.put_back(slot, buffer);
        Ok(())
    }

    /// Step `index` and the next, some rows at a time.
    fn forward_streamed(&mut self, index: usize, rows: usize, first: usize, samples: usize) {
        let plan = self.values.plan;
        let calls = [index, index + 1].map(|index| self.call_of_samples(index, first, samples));
        let [between, y] = [&calls[0], &calls[1]].map(|call| call.step.output);
        let slots = [between, y].map(|value| plan.slot(value).expect("every value but an input has a slot"));
        let [mut rows_between, mut buffer] = slots.map(|slot| self.values.buffers.take(slot));
        let x = self.values.inputs_of_samples(calls[0].step, first, samples);
        let y = &mut buffer[self.values.range(y, first, samples)];
        let times = ops::stream::forward([&calls[0], &calls[1]], rows, x[0], &mut rows_between, y, self.workspace);
        for (index, time) in [index, index + 1].into_iter().zip(times) {
            self.workspace.times[index].forward += time;
        }
        self.values.buffers.put_back(slots[0], rows_between);
        self.values.buffers.put_back(slots[1], buffer);
    }

    /// Back through all differentiated steps, the gradient with respect to the outputs given. Gradients with respect to weights are
    /// offered to the reducer as each becomes final, and replaced by what it makes of them at the end.
    pub(crate) fn backward(&mut self) -> Result<()> {
        let plan = self.values.plan;
        let steps = &plan.program().steps;
        let mut begun: HashSet<ValueId> = plan.program().outputs.iter().map(|&output| plan.root(output)).collect();
        let mut offered = Vec::new();
        self.values.backward = true;
        for (index, step) in steps.iter().enumerate().rev() {
            if plan.differentiates(index) && plan.root(step.output) == step.output {
                plan.recomputed_steps(index).iter().try_for_each(|&again| self.recompute(again))?;
                self.backward_step(index, &mut begun, &mut offered)?;
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
        begun: &mut HashSet<ValueId>,
        offered: &mut Vec<&'a Weight>,
    ) -> Result<()> {
        let began = Instant::now();
        let plan = self.values.plan;
        let call = self.call(index);
        let output = call.step.output;
        let slot = plan.gradient_slot(output).expect("a differentiated step's output has a gradient");
        let mut buffer = self.values.buffers.take(slot);
        let dy = &mut buffer[..self.values.length(output)];
        if call.step.activation != Activation::Linear && wants_gradient(plan, output) {
            self.overwritten.insert(output, self.values.tensor_of(output, dy));
        }
        if !plan.gradient_in_place(output) {
            ops::activation_gradient(&call, self.values.get(output), dy);
        }
        let trainable = |position: &usize| call.step.weights[*position].trainable;
        // Before the gradients with respect to the inputs, which may be written over those.
        for position in (0..call.step.weights.len()).filter(trainable) {
            self.weight_gradient(&call, index, position, dy);
        }
        let mut positions = 0..call.step.inputs.len();
        let carried = positions.try_for_each(|position| match plan.gradient_in_place(call.step.inputs[position]) {
            true => {
                self.replace_input(&call, dy);
                Ok(())
            }
            false => self.input_gradient(&call, index, position, dy, begun),
        });
        // After an error of the reducer as well: the session can then run again.
        self.values.buffers.put_back(slot, buffer);
        carried?;
        for param in call.step.weights.iter().filter(|param| param.trainable) {
            self.offer(&param.weight, index, offered)?;
        }
        self.workspace.times[index].backward += began.elapsed();
        Ok(())
    }

    /// Offers the gradient with respect to a weight to the reducer, if it is gathered and step `index` was the last to add to it.
    fn offer(&mut self, weight: &'a Weight, index: usize, offered: &mut Vec<&'a Weight>) -> Result<()> {
        let plan = self.values.plan;
        let Some(slot) = plan.weight_gradient_slot(weight.id()) else { return Ok(()) };
        if plan.last_use(weight.id()) != Some(index) || offered.iter().any(|known| known.id() == weight.id()) {
            return Ok(());
        }
        offered.push(weight);
        self.reducer.offer(weight, &self.values.buffers.get(slot)[..weight.count()])
    }

    /// Replaces the gradient with respect to a weight by what the reducer has made of all replicas'.
    fn collect(&mut self, weight: &Weight) -> Result<()> {
        let slot = self.values.plan.weight_gradient_slot(weight.id()).expect("only gathered gradients are offered");
        let mut buffer = self.values.buffers.take(slot);
        let collected = self.reducer.collect(weight, &mut buffer[..weight.count()]);
        self.values.buffers.put_back(slot, buffer);
        collected
    }

    fn input_gradient(
        &mut self,
        call: &StepCall<'_>,
        index: usize,
        position: usize,
        dy: &[f32],
        begun: &mut HashSet<ValueId>,
    ) -> Result<()> {
        let plan = self.values.plan;
        let input = call.step.inputs[position];
        let Some(target) = plan.gradient_slot(input) else { return Ok(()) };
        let first = begun.insert(plan.root(input));
        let slot = if first { target } else { plan.contribution_slot(index).expect("planned for later contributions") };
        let length = self.values.length(input);
        let mut buffer = self.values.buffers.take(slot);
        let b = Backward { x: &self.values.inputs_of(call.step), y: self.values.get(call.step.output), dy };
        let scratch = &mut self.workspace.scratch;
        let computed = ops::input_gradient(call, position, &b, &mut buffer[..length], scratch, self.reducer);
        if !first {
            let mut sum = self.values.buffers.take(target);
            add_assign(&mut sum[..length], &buffer[..length]);
            self.values.buffers.put_back(target, sum);
        }
        self.values.buffers.put_back(slot, buffer);
        computed
    }

    fn replace_input(&mut self, call: &StepCall<'_>, dy: &[f32]) {
        let plan = self.values.plan;
        let input = call.step.inputs[0];
        let slot = plan.gradient_slot(input).expect("a value that is replaced has a slot");
        let relu = plan.made_by_relu(input);
        let mut buffer = self.values.buffers.take(slot);
        let b = Backward { x: &[], y: self.values.get(call.step.output), dy };
        let x = &mut buffer[..self.values.length(input)];
        ops::replace_input(call, &b, relu, x, &mut self.workspace.scratch);
        self.values.buffers.put_back(slot, buffer);
    }

    /// Adds to the gradient with respect to a weight, where it is gathered.
    fn weight_gradient(&mut self, call: &StepCall<'_>, index: usize, position: usize, dy: &[f32]) {
        let plan = self.values.plan;
        let weight = &call.step.weights[position].weight;
        let Some(slot) = plan.weight_gradient_slot(weight.id()) else { return };
        let mut buffer = self.values.buffers.take(slot);
        let (sum, further) = buffer.split_at_mut(weight.count());
        let first = plan.first_use(weight.id()) == Some(index);
        let target = if first { &mut *sum } else { &mut further[..weight.count()] };
        let b = Backward { x: &self.values.inputs_of(call.step), y: self.values.get(call.step.output), dy };
        ops::weight_gradient(call, position, &b, target, &mut self.workspace.scratch);
        if !first {
            add_assign(sum, &further[..weight.count()]);
        }
        self.values.buffers.put_back(slot, buffer);
    }

    fn call_of_samples(&self, index: usize, first: usize, samples: usize) -> StepCall<'a> {
        StepCall { samples, first_sample: self.place().first + first, ..self.call(index) }
    }

    fn call(&self, index: usize) -> StepCall<'a> {
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

/// Whether the caller reads the gradient with respect to a layer's output.
fn wants_gradient(plan: &Plan, value: ValueId) -> bool {
    matches!(plan.purpose(), Purpose::Gradients { values, .. } if values.contains(&value))
}
