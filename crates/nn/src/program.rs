//! A model as a flat list of operations.

use std::collections::HashSet;

use engraft_ir::{Activation, Op, Shape, ValueId};

use crate::lowering::Lowering;
use crate::trainability::Trainability;
use crate::weight::Weight;
use crate::{Error, ErrorKind, Model, Result};

/// A weight as a step uses it.
///
/// ```
/// use engraft_nn::{Program, prelude::*};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// model.set_trainable(false);
/// let program = Program::of(&model, true, 0)?;
/// let [kernel, bias] = &program.steps[0].weights[..] else { panic!("a kernel and a bias") };
/// assert_eq!((kernel.weight.shape(), bias.weight.shape()), (&[4, 2][..], &[2][..]));
/// assert!(!kernel.trainable && !bias.trainable);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Param {
    /// The weight.
    pub weight: Weight,
    /// Whether training changes it, by its layer's flag and those of all models around it.
    pub trainable: bool,
}

/// One operation, what it reads and what it makes.
///
/// ```
/// use engraft_ir::{Activation, Op};
/// use engraft_nn::{Program, prelude::{Dense, Input, LayerDefExt, Relu, Sequential}};
/// let hidden = Dense::new(8).activation(Relu).named("hidden");
/// let model = Sequential::new().add(Input::new([4])).add(hidden).build()?;
/// let step = &Program::of(&model, false, 0)?.steps[0];
/// assert_eq!((&step.op, step.activation), (&Op::Dense, Activation::Relu));
/// assert_eq!(step.layer, "hidden");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
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

/// Operations in an order in which they can run.
///
/// ```
/// use engraft_nn::Program;
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(8).named("hidden")).add(Dense::new(2)).build()?;
/// let program = Program::of(&model, false, 0)?;
/// assert_eq!(program.steps.len(), 2);
/// let head = program.starting_at("hidden")?;
/// assert_eq!(head.shapes[head.inputs[0]], [8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
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
    /// The value that each layer's call made, nested layers included.
    pub(crate) layer_outputs: Vec<(String, ValueId)>,
}

impl Program {
    /// The program of a model, in training mode or not. `seed` decides what random layers without a seed of their own draw.
    ///
    /// # Errors
    /// More calls of layers than a program may hold, or a layer that can't be lowered.
    pub fn of(model: &Model, training: bool, seed: u64) -> Result<Self> {
        Lowering::run(model, training, seed, None)
    }

    /// The program in training mode of a model of which `trainability` says what may be trained, whatever its own flags are.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn for_training(model: &Model, seed: u64, trainability: &Trainability) -> Result<Self> {
        Lowering::run(model, true, seed, Some(trainability))
    }

    /// Makes a weight trainable in every step that uses it if it is in one: as in Keras, it is one variable wherever it is used.
    pub(crate) fn train_shared_weights(&mut self) {
        let trained: HashSet<usize> =
            self.weights_of_steps().filter(|param| param.trainable).map(|param| param.weight.id()).collect();
        let params = self.steps.iter_mut().flat_map(|step| &mut step.weights);
        params.for_each(|param| param.trainable = trained.contains(&param.weight.id()));
    }

    fn weights_of_steps(&self) -> impl Iterator<Item = &Param> {
        self.steps.iter().flat_map(|step| &step.weights)
    }

    /// The value that layer `name` makes, in its first call.
    ///
    /// # Errors
    /// No layer of that name, nested ones included.
    pub fn layer_output(&self, name: &str) -> Result<ValueId> {
        let found = self.layer_outputs.iter().find(|(layer, _)| layer == name);
        found.map(|&(_, value)| value).ok_or_else(|| {
            let names: Vec<&str> = self.layer_outputs.iter().map(|(layer, _)| layer.as_str()).collect();
            Error::because("layer", format_args!("no layer called `{name}`"))
                .with_kind(ErrorKind::NotFound)
                .hint(format_args!("the layers are {}", names.join(", ")))
        })
    }

    /// The same program up to the output of layer `name`, which becomes its only output.
    ///
    /// # Errors
    /// No layer of that name.
    pub fn until(mut self, name: &str) -> Result<Self> {
        self.outputs = vec![self.layer_output(name)?];
        self.keep_needed_steps();
        Ok(self)
    }

    /// The same program from the output of layer `name` on, which becomes its only input: its values are fed instead of the
    /// model's input.
    ///
    /// # Errors
    /// No layer of that name, or outputs that need the model's input by a way around that layer.
    pub fn starting_at(mut self, name: &str) -> Result<Self> {
        let boundary = self.layer_output(name)?;
        self.steps.retain(|step| step.output != boundary);
        let model_inputs = std::mem::replace(&mut self.inputs, vec![boundary]);
        let needed = self.keep_needed_steps();
        if model_inputs.iter().any(|input| *input != boundary && needed.contains(input)) {
            return Err(Error::because(
                format_args!("layer `{name}`"),
                "the model's output also depends on its input by a way around this layer",
            )
            .hint("choose a layer that every path from the input goes through"));
        }
        Ok(self)
    }

    /// Removes the steps that no output needs. Gives the values that are needed.
    fn keep_needed_steps(&mut self) -> HashSet<ValueId> {
        let mut needed: HashSet<ValueId> = self.outputs.iter().copied().collect();
        let mut keep = vec![false; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate().rev() {
            if needed.contains(&step.output) {
                keep[i] = true;
                needed.extend(&step.inputs);
            }
        }
        let mut keep = keep.into_iter();
        self.steps.retain(|_| keep.next().unwrap_or(false));
        needed
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn a_boundary_cuts_off_what_stands_before_it() {
        let x = Input::new([4]);
        let y = Dense::new(3).named("below").call(&x).unwrap();
        let y = Flatten::new().named("boundary").call(&y).unwrap();
        let y = Dense::new(2).named("above").call(&y).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let program = Program::of(&model, true, 0).unwrap().starting_at("boundary").unwrap();
        let layers: Vec<&str> = program.steps.iter().map(|step| step.layer.as_str()).collect();
        assert_eq!((layers, program.shapes[program.inputs[0]].clone()), (vec!["above"], vec![3]));
    }

    #[test]
    fn a_boundary_that_a_path_goes_around_is_refused() {
        let x = Input::new([4]);
        let y = Dense::new(4).named("inner").call(&x).unwrap();
        let y = Add::new().call([&x, &y]).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let error = Program::of(&model, true, 0).unwrap().starting_at("inner").unwrap_err().to_string();
        assert!(error.contains("layer `inner`") && error.contains("a way around this layer"), "{error}");
        assert!(Program::of(&model, true, 0).unwrap().starting_at("outer").unwrap_err().to_string().contains("inner"));
    }
}
