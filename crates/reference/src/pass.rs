//! One run of a program over a batch, forward and backward.

use std::collections::{BTreeMap, HashMap};

use engraft_ir::ValueId;
use engraft_nn::{Error, Program, Result, Weight};
use engraft_plan::GradientReducer;

use crate::array::Array;
use crate::ops::{self, Call, RngKey, Statistics};
use crate::unfused::{Node, UnfusedProgram};
use crate::update;
use crate::weights::Weights;

/// The batch statistics that batch normalizations used, by the node's index.
///
/// The map is ordered, because a layer that is called twice updates its moving statistics twice, in the order of the calls.
pub(crate) type BatchStatistics = BTreeMap<usize, Statistics>;

/// A finished forward pass with all its values.
pub(crate) struct ForwardPass<'a> {
    program: &'a UnfusedProgram,
    weights: &'a Weights,
    rng_key: RngKey,
    samples: usize,
    values: HashMap<ValueId, Array>,
    pub(crate) statistics: BatchStatistics,
}

/// The gradients of a backward pass.
pub(crate) struct PassGradients {
    /// Gradients with respect to the values that the pass reached.
    pub(crate) values: HashMap<ValueId, Array>,
    /// Gradients with respect to trainable weights, in the order in which they became final.
    pub(crate) weights: Vec<(Weight, Array)>,
}

impl<'a> ForwardPass<'a> {
    /// Runs all operations on a batch of `samples` samples with these inputs.
    pub(crate) fn run(
        program: &'a UnfusedProgram,
        weights: &'a Weights,
        samples: usize,
        inputs: HashMap<ValueId, Array>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<Self> {
        let rng_key = RngKey { iteration, first_sample: reducer.place(samples).first };
        let mut pass = Self { program, weights, rng_key, samples, values: inputs, statistics: BTreeMap::new() };
        for (index, node) in program.nodes.iter().enumerate() {
            let input = node.inputs.first().map(|&input| pass.value(input)).transpose()?;
            let statistics = input.map_or(Ok(None), |input| ops::batch_statistics(&node.op, input, reducer))?;
            pass.statistics.extend(statistics.map(|statistics| (index, statistics)));
            let output = ops::forward(&pass.call(index, node)?)?;
            pass.values.insert(node.output, output);
        }
        Ok(pass)
    }

    /// An input or a computed value.
    ///
    /// # Errors
    /// Where no step of the program computes the value.
    pub(crate) fn value(&self, value: ValueId) -> Result<&Array> {
        self.values.get(&value).ok_or_else(|| Error::because("program", format_args!("no step computes value {value}")))
    }

    /// The sum of the regularization penalties of all trainable weights.
    pub(crate) fn penalty(&self, program: &Program) -> Result<f64> {
        let trainable = program.weights().into_iter().filter(|param| param.trainable);
        let regularized = trainable.filter_map(|param| Some((&param.weight, param.weight.regularizer()?)));
        regularized
            .map(|(weight, regularizer)| {
                Ok(update::penalty(regularizer, weight.shape(), self.weights.get(weight)?.data()))
            })
            .sum()
    }

    /// Runs the backward pass through all differentiated operations, from `upstream`, gradients with respect to some values.
    ///
    /// Each gradient with respect to a trainable weight is rounded to f32 and offered to the reducer as soon as it is final.
    pub(crate) fn backward(
        &self,
        upstream: HashMap<ValueId, Array>,
        reducer: &mut dyn GradientReducer,
    ) -> Result<PassGradients> {
        let first_uses = self.first_uses();
        let mut partial_sums: HashMap<usize, Array> = HashMap::new();
        let mut backward = PassGradients { values: upstream, weights: Vec::new() };
        for (index, node) in self.program.nodes.iter().enumerate().rev().filter(|(_, node)| node.differentiated) {
            let dy = backward.values.get(&node.output).cloned();
            let dy = dy.unwrap_or_else(|| Array::zeros(self.shape(node.output)));
            let gradients = ops::backward(&self.call(index, node)?, &dy, reducer)?;
            for (&input, dx) in node.inputs.iter().zip(gradients.inputs) {
                accumulate(&mut backward.values, input, dx);
            }
            for (param, gradient) in node.weights.iter().zip(gradients.weights).filter(|(param, _)| param.trainable) {
                accumulate(&mut partial_sums, param.weight.id(), gradient);
            }
            for param in &node.weights {
                if first_uses.get(&param.weight.id()) == Some(&index)
                    && let Some(gradient) = partial_sums.remove(&param.weight.id())
                {
                    reducer.offer(&param.weight, &gradient.to_f32())?;
                    backward.weights.push((param.weight.clone(), gradient));
                }
            }
        }
        Ok(backward)
    }

    /// The first node that uses each weight, by the weight's id. The backward pass reaches it last, which makes the gradient
    /// final.
    fn first_uses(&self) -> HashMap<usize, usize> {
        let nodes = self.program.nodes.iter().enumerate().rev();
        nodes.flat_map(|(index, node)| node.weights.iter().map(move |param| (param.weight.id(), index))).collect()
    }

    fn call(&'a self, index: usize, node: &'a Node) -> Result<Call<'a>> {
        Ok(Call {
            op: &node.op,
            x: node.inputs.iter().map(|&input| self.value(input)).collect::<Result<_>>()?,
            weights: node.weights.iter().map(|param| self.weights.get(&param.weight)).collect::<Result<_>>()?,
            output: self.shape(node.output),
            rng_key: self.rng_key,
            statistics: self.statistics.get(&index),
        })
    }

    /// The shape of a value, batch included.
    fn shape(&self, value: ValueId) -> Vec<usize> {
        [&[self.samples], self.program.shapes[value].as_slice()].concat()
    }
}

/// Adds `contribution` to the sum for `key`.
pub(crate) fn accumulate(sums: &mut HashMap<usize, Array>, key: usize, contribution: Array) {
    match sums.get_mut(&key) {
        Some(sum) => sum.add(&contribution),
        None => {
            sums.insert(key, contribution);
        }
    }
}
