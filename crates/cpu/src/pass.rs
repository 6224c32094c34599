//! One run of a plan over a batch, forward and back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use engraft_kernels::add_assign;
use engraft_nn::plan::ValueId;

use crate::ops::{self, Backward, Statistics, StepCall};
use crate::update::Update;
use crate::values::Values;
use crate::workspace::Workspace;

/// Where the gradients by weights go.
pub(crate) enum Sink<'a> {
    /// Into the optimizer, as soon as each is complete.
    Update(Update<'a>),
    /// To the caller, under the weights' ids.
    Keep(&'a mut HashMap<usize, Vec<f32>>),
}

/// One run over a batch.
pub(crate) struct Pass<'a> {
    pub(crate) values: Values<'a>,
    workspace: &'a mut Workspace,
    iteration: u64,
    /// By step, the batch's statistics that it normalised by. In order: a layer called twice moves its own twice.
    statistics: BTreeMap<usize, Arc<Statistics>>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(values: Values<'a>, workspace: &'a mut Workspace, iteration: u64) -> Self {
        Self { values, workspace, iteration, statistics: BTreeMap::new() }
    }

    /// The prefix a chunk at a time, then everything else.
    pub(crate) fn forward(&mut self) {
        let plan = self.values.plan;
        let (prefix, chunk) = (plan.prefix(), plan.chunk());
        if !prefix.is_empty() {
            for first in (0..self.values.samples).step_by(chunk) {
                let samples = chunk.min(self.values.samples - first);
                for index in prefix.clone() {
                    match plan.band(index) {
                        Some(band) => self.forward_band(index, band.rows, first, samples),
                        None if index > 0 && plan.band(index - 1).is_some() => {}
                        None => self.forward_step(index, first, samples),
                    }
                }
            }
        }
        (prefix.end..plan.program().steps.len()).for_each(|index| self.forward_step(index, 0, self.values.samples));
    }

    fn forward_step(&mut self, index: usize, first: usize, samples: usize) {
        let began = Instant::now();
        self.compute(index, first, samples);
        self.workspace.times[index].forward += began.elapsed();
    }

    /// What a step makes of some samples: for the first time, or for the backward pass again.
    fn compute(&mut self, index: usize, first: usize, samples: usize) {
        let plan = self.values.plan;
        let step = &plan.program().steps[index];
        // A reshaped value stands where the original does: there is nothing to do.
        if plan.root(step.output) != step.output {
            return;
        }
        let mut call = StepCall { samples, first_sample: first, ..self.call(index) };
        if call.statistics.is_none() {
            let x = self.values.inputs_of_samples(step, first, samples);
            call.statistics = ops::batch_statistics(&call, x[0]).map(Arc::new);
            self.statistics.extend(call.statistics.clone().map(|statistics| (index, statistics)));
        }
        let slot = self.values.slot(step.output).expect("every value but an input has a slot");
        let range = self.values.range(step.output, first, samples);
        let mut buffer = self.values.buffers.take(slot);
        let x = self.values.inputs_of_samples(step, first, samples);
        ops::forward(&call, &x, &mut buffer[range], self.workspace);
        self.values.buffers.put_back(slot, buffer);
    }

    /// Step `index` and the next, some rows at a time.
    fn forward_band(&mut self, index: usize, rows: usize, first: usize, samples: usize) {
        let plan = self.values.plan;
        let calls = [index, index + 1].map(|index| StepCall { samples, first_sample: first, ..self.call(index) });
        let [between, y] = [&calls[0], &calls[1]].map(|call| call.step.output);
        let slots = [between, y].map(|value| plan.slot(value).expect("every value but an input has a slot"));
        let [mut rows_between, mut buffer] = slots.map(|slot| self.values.buffers.take(slot));
        let x = self.values.inputs_of_samples(calls[0].step, first, samples);
        let y = &mut buffer[self.values.range(y, first, samples)];
        let times = ops::band::forward([&calls[0], &calls[1]], rows, x[0], &mut rows_between, y, self.workspace);
        for (index, time) in [index, index + 1].into_iter().zip(times) {
            self.workspace.times[index].forward += time;
        }
        self.values.buffers.put_back(slots[0], rows_between);
        self.values.buffers.put_back(slots[1], buffer);
    }

    /// Moves the stored statistics of every batch normalisation that used the batch's.
    pub(crate) fn move_statistics(&self) {
        for (&index, batch) in &self.statistics {
            ops::move_statistics(&self.call(index), batch);
        }
    }

    /// Back through all differentiated steps, the gradient by the outputs given.
    pub(crate) fn backward(&mut self, sink: &mut Sink<'_>) {
        let plan = self.values.plan;
        let steps = &plan.program().steps;
        let mut begun: HashSet<ValueId> = plan.program().outputs.iter().map(|&output| plan.root(output)).collect();
        self.values.backward = true;
        for (index, step) in steps.iter().enumerate().rev() {
            if plan.differentiates(index) && plan.root(step.output) == step.output {
                plan.running_again(index).iter().for_each(|&again| self.run_again(again));
                self.backward_step(index, &mut begun, sink);
            }
        }
    }

    fn run_again(&mut self, index: usize) {
        let began = Instant::now();
        self.compute(index, 0, self.values.samples);
        self.workspace.times[index].backward += began.elapsed();
    }

    fn backward_step(&mut self, index: usize, begun: &mut HashSet<ValueId>, sink: &mut Sink<'_>) {
        let began = Instant::now();
        let plan = self.values.plan;
        let call = self.call(index);
        let output = call.step.output;
        let slot = plan.gradient_slot(output).expect("a differentiated step's output has a gradient");
        let mut buffer = self.values.buffers.take(slot);
        let dy = &mut buffer[..self.values.length(output)];
        if !plan.gradient_replaces(output) {
            ops::activation_gradient(&call, self.values.get(output), dy);
        }
        let trainable = |position: &usize| call.step.weights[*position].trainable;
        // Before the gradients by the inputs, which may be written over those; updates after, as they need the weights.
        for position in (0..call.step.weights.len()).filter(trainable) {
            self.weight_gradient(&call, index, position, dy);
        }
        for position in 0..call.step.inputs.len() {
            match plan.gradient_replaces(call.step.inputs[position]) {
                true => self.replace_input(&call, dy),
                false => self.input_gradient(&call, index, position, dy, begun),
            }
        }
        for position in (0..call.step.weights.len()).filter(trainable) {
            self.use_gradient(&call, index, position, dy, sink);
        }
        self.values.buffers.put_back(slot, buffer);
        self.workspace.times[index].backward += began.elapsed();
    }

    fn input_gradient(
        &mut self,
        call: &StepCall<'_>,
        index: usize,
        position: usize,
        dy: &[f32],
        begun: &mut HashSet<ValueId>,
    ) {
        let plan = self.values.plan;
        let input = call.step.inputs[position];
        let Some(target) = plan.gradient_slot(input) else { return };
        let first = begun.insert(plan.root(input));
        let slot = if first { target } else { plan.contribution_slot(index).expect("planned for later contributions") };
        let length = self.values.length(input);
        let mut buffer = self.values.buffers.take(slot);
        let b = Backward { x: &self.values.inputs_of(call.step), y: self.values.get(call.step.output), dy };
        ops::input_gradient(call, position, &b, &mut buffer[..length], &mut self.workspace.scratch);
        if !first {
            let mut sum = self.values.buffers.take(target);
            add_assign(&mut sum[..length], &buffer[..length]);
            self.values.buffers.put_back(target, sum);
        }
        self.values.buffers.put_back(slot, buffer);
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

    /// Adds to the gradient by a weight, where it is gathered.
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

    /// Gives the gradient by a weight to the sink once it is complete. One that is not gathered is computed as it is used.
    fn use_gradient(&mut self, call: &StepCall<'_>, index: usize, position: usize, dy: &[f32], sink: &mut Sink<'_>) {
        let plan = self.values.plan;
        let param = &call.step.weights[position];
        let id = param.weight.id();
        let Some(slot) = plan.weight_gradient_slot(id) else {
            let Sink::Update(update) = sink else { unreachable!("a plan of gradients gathers all of them") };
            return update.apply_folded(call, &Backward { x: &self.values.inputs_of(call.step), y: &[], dy });
        };
        if plan.last_use(id) != Some(index) {
            return;
        }
        let mut buffer = self.values.buffers.take(slot);
        let sum = &mut buffer[..param.weight.count()];
        match sink {
            Sink::Update(update) => update.apply(param, sum),
            Sink::Keep(weights) => {
                weights.insert(id, sum.to_vec());
            }
        }
        self.values.buffers.put_back(slot, buffer);
    }

    fn call(&self, index: usize) -> StepCall<'a> {
        let plan = self.values.plan;
        StepCall {
            iteration: self.iteration,
            chunked: plan.prefix().contains(&index),
            statistics: self.statistics.get(&index).cloned(),
            ..StepCall::new(plan, &plan.program().steps[index], self.values.samples)
        }
    }
}
