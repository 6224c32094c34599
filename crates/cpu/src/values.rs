//! `Values`: the values of one run, which are in the session's buffers or in the caller's input tensors.

use std::collections::HashMap;
use std::ops::Range;

use engraft_ir::ValueId;
use engraft_nn::{Result, Step, Tensor};
use engraft_plan::{Plan, Slot, checks};

use crate::buffers::Buffers;

/// The values of a run over `samples` samples, and where each of them is stored.
pub(crate) struct Values<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) samples: usize,
    /// Whether the backward pass has begun. In it, a recomputed value has another buffer slot than in the forward pass.
    pub(crate) backward: bool,
    inputs: HashMap<ValueId, &'a [f32]>,
}

impl<'a> Values<'a> {
    /// The values of a run over these inputs.
    ///
    /// # Errors
    /// The inputs differ from the program's in number or shape, or hold more samples than the plan's batch.
    pub(crate) fn new(plan: &'a Plan, buffers: &'a mut Buffers, inputs: &'a [&'a Tensor]) -> Result<Self> {
        let samples = checks::inputs(plan, inputs)?;
        let inputs = plan.program().inputs.iter().copied().zip(inputs.iter().map(|input| input.data())).collect();
        Ok(Self { plan, buffers, samples, backward: false, inputs })
    }

    /// The values that a backward pass over `samples` samples left in the buffers, for the optimizer step.
    ///
    /// `inputs` come from [`copy_folded_inputs`](Self::copy_folded_inputs).
    pub(crate) fn after_backward(
        plan: &'a Plan,
        buffers: &'a mut Buffers,
        samples: usize,
        inputs: &'a HashMap<ValueId, Vec<f32>>,
    ) -> Self {
        let inputs = inputs.iter().map(|(&value, input)| (value, input.as_slice())).collect();
        Self { plan, buffers, samples, backward: true, inputs }
    }

    /// Copies of the program's inputs that folded updates read.
    pub(crate) fn copy_folded_inputs(&self) -> HashMap<ValueId, Vec<f32>> {
        let read = self.inputs.iter().filter(|(value, _)| self.plan.keeps_input(**value));
        read.map(|(&value, input)| (value, input.to_vec())).collect()
    }

    /// Copies of the gradients with respect to trainable weights, by the weights' ids. Folded kernels have none.
    pub(crate) fn weight_gradients(&self) -> HashMap<usize, Vec<f32>> {
        let weights = self.plan.program().weights().into_iter().map(|param| &param.weight);
        let materialized = weights.filter_map(|weight| Some((weight, self.plan.weight_gradient_slot(weight.id())?)));
        materialized.map(|(weight, slot)| (weight.id(), self.buffers.get(slot)[..weight.count()].to_vec())).collect()
    }

    /// The slot of a value in the current pass; `None` for an input, which the caller owns.
    pub(crate) fn slot(&self, value: ValueId) -> Option<Slot> {
        if self.backward { self.plan.slot_backward(value) } else { self.plan.slot(value) }
    }

    /// A value for the whole batch. Empty while its buffer is taken out.
    pub(crate) fn get(&self, value: ValueId) -> &[f32] {
        self.get_samples(value, 0, self.samples)
    }

    /// A value for `samples` samples, from sample `first` on.
    pub(crate) fn get_samples(&self, value: ValueId, first: usize, samples: usize) -> &[f32] {
        let range = self.range(value, first, samples);
        match self.slot(value) {
            Some(slot) => self.buffers.get(slot).get(range).unwrap_or_default(),
            None => self.inputs.get(&value).and_then(|input| input.get(range)).unwrap_or_default(),
        }
    }

    /// The inputs of a step for the whole batch.
    pub(crate) fn inputs_of(&self, step: &Step) -> Vec<&[f32]> {
        step.inputs.iter().map(|&value| self.get(value)).collect()
    }

    /// The inputs of a step for `samples` samples, from sample `first` on.
    pub(crate) fn inputs_of_samples(&self, step: &Step, first: usize, samples: usize) -> Vec<&[f32]> {
        step.inputs.iter().map(|&value| self.get_samples(value, first, samples)).collect()
    }

    /// The range of some samples in the buffer of a value.
    ///
    /// Buffers within the prefix hold one chunk, so their range starts at 0.
    pub(crate) fn range(&self, value: ValueId, first: usize, samples: usize) -> Range<usize> {
        let size = self.plan.program().size(value);
        let whole_batch = self.plan.slot(value).is_none() || self.plan.leaves_prefix(value);
        let first = if whole_batch { first } else { 0 };
        first * size..(first + samples) * size
    }

    /// Number of elements of a value for the whole batch.
    pub(crate) fn length(&self, value: ValueId) -> usize {
        self.samples * self.plan.program().size(value)
    }

    /// A copy of a value for the whole batch.
    pub(crate) fn tensor(&self, value: ValueId) -> Tensor {
        self.tensor_of(value, self.get(value))
    }

    /// A copy of the gradient with respect to a value; zeros if nothing depends on the value.
    pub(crate) fn gradient(&self, value: ValueId) -> Tensor {
        match self.plan.gradient_slot(value) {
            Some(slot) => self.tensor_of(value, &self.buffers.get(slot)[..self.length(value)]),
            None => Tensor::zeros(self.shape(value)),
        }
    }

    /// A tensor in the shape of `value` with a copy of `data`.
    pub(crate) fn tensor_of(&self, value: ValueId, data: &[f32]) -> Tensor {
        Tensor::new(self.shape(value), data.to_vec()).expect("the data has the length of the value's shape")
    }

    fn shape(&self, value: ValueId) -> Vec<usize> {
        std::iter::once(self.samples).chain(self.plan.program().shapes[value].iter().copied()).collect()
    }
}
