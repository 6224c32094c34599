//! One run of a program over a batch, forward and backward.

use std::collections::{BTreeMap, HashMap};

use engraft_ir::ValueId;
use engraft_nn::{Error, Program, Result, Weight};
use engraft_plan::GradientReducer;

use crate::array::Array;
use crate::ops::{self, Call, Draw, Statistics};
use crate::unfused::{Node, Unfused};
use crate::update;
use crate::weights::Weights;

/// The statistics that nodes have normalized by, by the nodes' numbers. In order: a layer called twice moves its stored ones twice.
pub(crate) type BatchStatistics = BTreeMap<usize, Statistics>;

/// A forward pass that has been run: all values are kept.
pub(crate) struct Pass<'a> {
    program: &'a Unfused,
    weights: &'a Weights,
    draw: Draw,
    samples: usize,
    values: HashMap<ValueId, Array>,
    pub(crate) statistics: BatchStatistics,
}

/// What a backward pass gives.
pub(crate) struct Backward {
    /// Gradients with respect to the values that it reached.
    pub(crate) values: HashMap<ValueId, Array>,
    /// Gradients with respect to trainable weights, in the order in which they became final.
    pub(crate) weights: Vec<(Weight, Array)>,
}

impl<'a> Pass<'a> {
    /// Runs all operations over a batch of `samples` samples, whose inputs are in `values`.
    pub(crate) fn forward(
        program: &'a Unfused,
        weights: &'a Weights,
        samples: usize,
        inputs: HashMap<ValueId, Array>,
        iteration: u64,
        reducer: &mut dyn GradientReducer,
    ) -> Result<Self> {
        let draw = Draw { iteration, first_sample: reducer.place(samples).first };
        let mut pass = Self { program, weights, draw, samples, values: inputs, statistics: BTreeMap::new() };
        for (index, node) in program.nodes.iter().enumerate() {
            let statistics = ops::batch_statistics(&node.op, pass.value(node.inputs[0])?, reducer)?;
            pass.statistics.extend(statistics.map(|statistics| (index, statistics)));
            let output = ops::forward(&pass.call(index, node)?)?;
            pass.values.insert(node.output, output);
        }
        Ok(pass)
    }

    /// A value that was fed or computed.
    ///
    /// # Errors
    /// The program makes no such value.
    pub(crate) fn value(&self, value: ValueId) -> Result<&Array> {
        self.values.get(&value).ok_or_else(|| Error::because("program", format_args!("no step makes value {value}")))
    }

    /// The penalties of all regularized weights that are trainable.
    pub(crate) fn penalty(&self, program: &Program) -> Result<f64> {
        let trainable = program.weights().into_iter().filter(|param| param.trainable);
        let regularized = trainable.filter_map(|param| Some((&param.weight, param.weight.regularizer()?)));
        regularized
            .map(|(weight, regularizer)| Ok(update::penalty(regularizer, self.weights.get(weight)?.data())))
            .sum()
    }

    /// Carries `upstream`, the gradients with respect to some values, back through all differentiated operations.
    ///
    /// Gradients with respect to trainable weights are offered to the reducer as each becomes final, rounded.
    pub(crate) fn backward(
        &self,
        upstream: HashMap<ValueId, Array>,
        reducer: &mut dyn GradientReducer,
    ) -> Result<Backward> {
        let first_uses = self.first_uses();
        let mut gathered: HashMap<usize, Array> = HashMap::new();
        let mut backward = Backward { values: upstream, weights: Vec::new() };
        for (index, node) in self.program.nodes.iter().enumerate().rev().filter(|(_, node)| node.differentiated) {
            let dy = backward.values.get(&node.output).cloned();
            let dy = dy.unwrap_or_else(|| Array::zeros(self.shape(node.output)));
            let gradients = ops::backward(&self.call(index, node)?, &dy, reducer)?;
            for (&input, dx) in node.inputs.iter().zip(gradients.inputs) {
                accumulate(&mut backward.values, input, dx);
            }
            for (param, gradient) in node.weights.iter().zip(gradients.weights).filter(|(param, _)| param.trainable) {
                accumulate(&mut gathered, param.weight.id(), gradient);
            }
            for param in &node.weights {
                if first_uses.get(&param.weight.id()) == Some(&index)
                    && let Some(gradient) = gathered.remove(&param.weight.id())
                {
                    reducer.offer(&param.weight, &gradient.to_f32())?;
                    backward.weights.push((param.weight.clone(), gradient));
                }
            }
        }
        Ok(backward)
    }

    /// By weight, the first node that uses it: the last to contribute to its gradient.
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
            draw: self.draw,
            statistics: self.statistics.get(&index),
        })
    }

    /// The shape of a value, batch included.
    fn shape(&self, value: ValueId) -> Vec<usize> {
        [&[self.samples], self.program.shapes[value].as_slice()].concat()
    }
}

/// Adds a contribution to the sum under `key`.
pub(crate) fn accumulate(sums: &mut HashMap<usize, Array>, key: usize, contribution: Array) {
    match sums.get_mut(&key) {
        Some(sum) => sum.add(&contribution),
        None => {
            sums.insert(key, contribution);
        }
    }
}
