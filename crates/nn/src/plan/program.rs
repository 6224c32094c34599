//! A model as a flat list of operations.

use std::collections::HashSet;

use engraft_kernels::{Activation, PoolKind};

use super::lowering::Lowering;
use super::{Band, Op};
use crate::compile::{Head, Loss};
use crate::layer::Shape;
use crate::weight::Weight;
use crate::{Error, Model, Result};

/// Index of a value in [`Program::shapes`].
pub type ValueId = usize;

/// A weight as a step uses it.
#[derive(Clone, Debug)]
pub struct Param {
    /// The weight.
    pub weight: Weight,
    /// Whether training changes it, by its layer's flag and those of all models around it.
    pub trainable: bool,
}

/// One operation, what it reads and what it makes.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// Applied to the result of a `Conv2d` or `Dense`; linear for all others.
    pub activation: Activation,
    /// Values read.
    pub inputs: Vec<ValueId>,
    /// The value made.
    pub output: ValueId,
    /// Weights, in the layer's order.
    pub weights: Vec<Param>,
    /// Name of the layer it comes from.
    pub layer: String,
}

impl Step {
    /// Whether its backward pass reads what its forward pass read.
    pub(super) fn reads_inputs_backward(&self) -> bool {
        match &self.op {
            Op::Conv2d { .. } | Op::Dense => self.weights.first().is_some_and(|kernel| kernel.trainable),
            Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => *kind == PoolKind::Max,
            Op::BatchNorm { .. } | Op::Multiply => true,
            Op::Activation(function) => !function.gradient_from_output(),
            _ => false,
        }
    }

    /// Whether its backward pass reads what its forward pass made.
    pub(super) fn reads_output_backward(&self) -> bool {
        match &self.op {
            Op::Conv2d { .. } | Op::Dense => self.activation != Activation::Linear,
            Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => *kind == PoolKind::Max,
            Op::Activation(function) => function.gradient_from_output(),
            Op::Softmax => true,
            _ => false,
        }
    }
}

/// Operations in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The operations.
    pub steps: Vec<Step>,
    /// Shape of every value, the batch axis left out.
    pub shapes: Vec<Shape>,
    /// Values that are fed.
    pub inputs: Vec<ValueId>,
    /// Values that are wanted.
    pub outputs: Vec<ValueId>,
    /// What each layer's call made, nested ones included.
    pub(crate) layer_outputs: Vec<(String, ValueId)>,
}

impl Program {
    /// The program of a model, in training mode or not.
    pub fn of(model: &Model, training: bool, seed: u64) -> Result<Self> {
        Lowering::run(model, training, seed)
    }

    /// A weight is one variable wherever it is used: trained by one step, it is differentiated in all, as in Keras.
    pub(super) fn train_shared_weights(&mut self) {
        let trained: HashSet<usize> =
            self.weights_of_steps().filter(|param| param.trainable).map(|param| param.weight.id()).collect();
        let params = self.steps.iter_mut().flat_map(|step| &mut step.weights);
        params.for_each(|param| param.trainable = trained.contains(&param.weight.id()));
    }

    fn weights_of_steps(&self) -> impl Iterator<Item = &Param> {
        self.steps.iter().flat_map(|step| &step.weights)
    }

    /// The same program up to the output of layer `name`.
    pub(crate) fn until(mut self, name: &str) -> Result<Self> {
        let Some(&(_, value)) = self.layer_outputs.iter().find(|(layer, _)| layer == name) else {
            let names: Vec<&str> = self.layer_outputs.iter().map(|(layer, _)| layer.as_str()).collect();
            return Err(Error::because("layer", format_args!("no layer called `{name}`"))
                .hint(format_args!("the layers are {}", names.join(", "))));
        };
        let mut wanted = HashSet::from([value]);
        let mut keep = vec![false; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate().rev() {
            if wanted.contains(&step.output) {
                keep[i] = true;
                wanted.extend(&step.inputs);
            }
        }
        let mut keep = keep.into_iter();
        self.steps.retain(|_| keep.next().unwrap_or(false));
        self.outputs = vec![value];
        Ok(self)
    }

    /// Every weight once.
    pub fn weights(&self) -> Vec<&Param> {
        let mut seen = HashSet::new();
        self.weights_of_steps().filter(|param| seen.insert(param.weight.id())).collect()
    }

    /// How many numbers a value holds for each sample.
    pub fn size(&self, value: ValueId) -> usize {
        self.shapes[value].iter().product()
    }

    /// Takes the last softmax or sigmoid off where the loss can be had from its input.
    pub(super) fn split_head(&mut self, loss: &Loss) -> Head {
        let Some(last) = self.steps.last_mut() else { return Head::None };
        if self.outputs != [last.output] {
            return Head::None;
        }
        match (loss.head(), &last.op, last.activation) {
            (Head::Softmax, Op::Softmax, _) => {
                self.outputs = last.inputs.clone();
                self.steps.pop();
                Head::Softmax
            }
            (Head::Sigmoid, Op::Dense | Op::Conv2d { .. }, Activation::Sigmoid) => {
                last.activation = Activation::Linear;
                Head::Sigmoid
            }
            (Head::Sigmoid, Op::Activation(Activation::Sigmoid), _) => {
                self.outputs = last.inputs.clone();
                self.steps.pop();
                Head::Sigmoid
            }
            _ => Head::None,
        }
    }

    /// Which steps the backward pass goes through: those with a trainable weight, and all that depend on one.
    pub(super) fn differentiated(&self, by_inputs: bool) -> Vec<bool> {
        let mut carrying: HashSet<ValueId> =
            if by_inputs { self.inputs.iter().copied().collect() } else { HashSet::new() };
        self.steps
            .iter()
            .map(|step| {
                let differentiated = step.weights.iter().any(|param| param.trainable)
                    || step.inputs.iter().any(|input| carrying.contains(input));
                if differentiated {
                    carrying.insert(step.output);
                }
                differentiated
            })
            .collect()
    }

    /// How many steps at the front can run a few samples at a time: nothing differentiated, no sample coupled to
    /// another, and no Dense, which wants as many samples as it can get for each reading of its kernel.
    pub(super) fn prefix(&self, differentiated: &[bool]) -> usize {
        self.steps
            .iter()
            .zip(differentiated)
            .take_while(|(step, differentiated)| {
                !**differentiated && !step.op.couples_samples() && !matches!(step.op, Op::Dense)
            })
            .count()
    }

    /// The most that one of the first steps, of which some run in bands, reads and writes, in bytes a sample.
    pub(super) fn widest_step_bytes(&self, bands: &[Option<Band>]) -> usize {
        self.step_bytes(bands).into_iter().max().unwrap_or(0)
    }

    /// The first step from which on none of these runs in bands, or reads and writes more than so many bytes a sample.
    pub(super) fn narrow_from(&self, bands: &[Option<Band>], bytes: usize) -> usize {
        let last_band = bands.iter().rposition(Option::is_some).map_or(0, |first| first + 2);
        let wide = self.step_bytes(bands).iter().rposition(|&step| step > bytes).map_or(0, |step| step + 1);
        wide.max(last_band)
    }

    /// What each of the first steps reads and writes as a whole, in bytes a sample.
    fn step_bytes(&self, bands: &[Option<Band>]) -> Vec<usize> {
        let steps = || self.steps.iter().zip(bands);
        let in_bands: HashSet<ValueId> =
            steps().filter(|(_, band)| band.is_some()).map(|(step, _)| step.output).collect();
        let floats = |step: &Step| {
            let values = step.inputs.iter().chain([&step.output]).filter(|value| !in_bands.contains(value));
            values.map(|&value| self.size(value)).sum::<usize>()
        };
        steps().map(|(step, _)| size_of::<f32>() * floats(step)).collect()
    }
}
