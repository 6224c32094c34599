//! [`Program`]: a model as a flat list of operations, the input of `engraft-plan`.

use std::collections::{HashMap, HashSet};

use engraft_ir::{Activation, Op, Shape, ValueId};

use crate::lowering::Lowering;
use crate::trainability::Trainability;
use crate::weight::Weight;
use crate::{Constraint, Error, ErrorKind, Model, Regularizer, Result};

/// A weight in a step, and whether training updates it there.
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
    /// Whether training updates the weight: its layer and the outermost model are trainable.
    pub trainable: bool,
}

/// One operation of a program, with its inputs, output and weights.
///
/// ```
/// use engraft_ir::{Activation, Op};
/// use engraft_nn::{Program, prelude::{Dense, Input, LayerDefExt, Relu, Sequential}};
/// let hidden = Dense::new(8).activation(Relu).named("hidden");
/// let model = Sequential::new().add(Input::new([4])).add(hidden).build()?;
/// let step = &Program::of(&model, false, 0)?.steps[0];
/// // The layer's activation is a step of its own; a plan may fuse both.
/// assert_eq!((&step.op, step.activation, step.layer.as_str()), (&Op::Dense, Activation::Linear, "hidden"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// Activation that a plan has fused into a `Conv2d` or `Dense` step. Lowering sets it to linear and adds activations as steps
    /// of their own.
    pub activation: Activation,
    /// Input values.
    pub inputs: Vec<ValueId>,
    /// Output value.
    pub output: ValueId,
    /// Weights, in the layer's order.
    pub weights: Vec<Param>,
    /// Batch normalization that a plan has folded into the kernel and bias of a `Conv2d` step. It comes before the activation.
    /// Lowering sets it to `None` and adds normalizations as steps of their own.
    pub normalization: Option<FoldedNormalization>,
    /// Name of the layer that was lowered to this step.
    pub layer: String,
}

impl Step {
    /// The weights of the step, then those of the normalization that is folded into it.
    ///
    /// ```
    /// use engraft_nn::{Program, prelude::*};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let step = &Program::of(&model, false, 0)?.steps[0];
    /// let names: Vec<&str> = step.all_weights().map(|param| param.weight.name()).collect();
    /// assert_eq!(names, ["kernel", "bias"]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn all_weights(&self) -> impl Iterator<Item = &Param> {
        self.weights.iter().chain(self.normalization.iter().flat_map(|folded| &folded.weights))
    }
}

/// A batch normalization with moving statistics, folded into the convolution before it.
///
/// It scales and shifts each output channel by constants. So the convolution computes the same values with a scaled kernel and
/// another bias.
///
/// ```
/// use engraft_nn::{FoldedNormalization, Program, prelude::*};
/// let layers = Sequential::new().add(Input::new([4, 4, 3])).add(Conv2D::new(8, 3)).add(BatchNormalization::new());
/// let mut steps = Program::of(&layers.build()?, false, 0)?.steps;
/// let (norm, conv) = (steps.remove(1), &mut steps[0]);
/// // This is what a plan does.
/// conv.normalization = Some(FoldedNormalization { op: norm.op, weights: norm.weights });
/// conv.output = norm.output;
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FoldedNormalization {
    /// The operation, an [`Op::BatchNorm`] without batch statistics.
    pub op: Op,
    /// Its weights, in the operation's order.
    pub weights: Vec<Param>,
}

/// The operations of a model in topological order, each after those whose outputs it reads.
///
/// ```
/// use engraft_nn::Program;
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(8).named("hidden")).add(Dense::new(2)).build()?;
/// let program = Program::of(&model, false, 0)?;
/// assert_eq!((program.steps.len(), program.weights().len()), (2, 4));
/// let hidden = program.layer_output("hidden")?;
/// assert_eq!(program.size(hidden), 8);
/// let top = program.starting_at("hidden")?;
/// assert_eq!((top.steps.len(), &top.inputs[..]), (1, &[hidden][..]));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The operations, in the order in which they run.
    pub steps: Vec<Step>,
    /// Shape of every value, without the batch axis; a [`ValueId`] is an index into this list.
    pub shapes: Vec<Shape>,
    /// Values that the caller provides.
    pub inputs: Vec<ValueId>,
    /// Values that the program computes for the caller.
    pub outputs: Vec<ValueId>,
    /// Name of the layer and output value of every layer call, nested layers included.
    pub(crate) layer_outputs: Vec<(String, ValueId)>,
    /// Penalties on the outputs of layers (Keras' `activity_regularizer`), as the steps that compute them for each sample.
    pub(crate) penalties: Vec<Step>,
    /// Layers with a penalty on their output that isn't implemented, and the classes of these penalties.
    pub(crate) unknown_penalties: Vec<(String, String)>,
}

impl Program {
    /// Lowers a model. With `training`, random layers act; the seeds of those without a seed of their own derive from `seed`.
    ///
    /// # Errors
    /// More layer calls than a program may have, or a layer that can't be lowered.
    pub fn of(model: &Model, training: bool, seed: u64) -> Result<Self> {
        Lowering::run(model, training, seed, None)
    }

    /// Lowers a model in training mode, with the flags of `trainability` instead of the layers' own `trainable` flags.
    ///
    /// ```
    /// use engraft_nn::{Program, Trainability, prelude::*};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// let frozen = Trainability::of(&model).with(&model.get_layer("top")?, false);
    /// let program = Program::for_training(&model, 0, &frozen)?;
    /// assert!(program.weights().iter().all(|param| !param.trainable));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn for_training(model: &Model, seed: u64, trainability: &Trainability) -> Result<Self> {
        Lowering::run(model, true, seed, Some(trainability))
    }

    /// Checks that the loss of the program and, with `training`, its training steps need nothing that isn't implemented.
    ///
    /// Files keep such options of layers. Predictions need none of them.
    ///
    /// ```
    /// use engraft_nn::{Program, layers::from_config, prelude::*};
    /// let config = serde_json::json!({"name": "top", "units": 2, "kernel_constraint": {"class_name": "RadialConstraint"}});
    /// let top = from_config("Dense", config.as_object().unwrap().clone())?;
    /// let program = Program::of(&Sequential::new().add(Input::new([4])).add(&top).build()?, true, 0)?;
    /// assert!(program.check_implemented(false).is_ok(), "a loss alone needs no constraint");
    /// let error = program.check_implemented(true).unwrap_err().to_string();
    /// assert!(error.starts_with("weight `top/kernel`: its constraint RadialConstraint is not implemented"));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A trainable weight with an unknown regularizer or constraint, or a layer with an unknown penalty on its output.
    pub fn check_implemented(&self, training: bool) -> Result<()> {
        let refused = |place: String, reason: String| {
            Err(Error::because(place, reason).with_kind(ErrorKind::Unsupported).hint(
                "the model predicts as it is; to train or evaluate it, freeze the layer or save the model without this option",
            ))
        };
        if let Some((layer, class)) = self.unknown_penalties.first() {
            let reason = format!("its activity_regularizer {class} is not implemented for training and losses");
            return refused(layer.clone(), reason);
        }
        for Param { weight, .. } in self.weights().into_iter().filter(|param| param.trainable) {
            let place = || format!("weight `{}`", weight.path());
            let of = |kind, class: String| format!("its {kind} {class} is not implemented");
            if let Some(Regularizer::Unknown(object)) = weight.regularizer() {
                return refused(place(), of("regularizer", object.class_name()));
            }
            if weight.regularizer().is_some_and(|regularizer| !regularizer.is_elementwise())
                && weight.shape().len() != 2
            {
                let expected = "a matrix, for the OrthogonalRegularizer";
                return Err(Error::new(place(), expected, format_args!("shape {:?}", weight.shape())));
            }
            match weight.constraint().filter(|_| training) {
                Some(Constraint::Unknown(object)) => return refused(place(), of("constraint", object.class_name())),
                Some(constraint) if !constraint.fits(weight.shape().len()) => {
                    let expected = format!("axes of the shape {:?}", weight.shape());
                    return Err(Error::new(place(), expected, format_args!("{constraint:?}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the penalties on the outputs of layers (Keras' `activity_regularizer`) part of the program.
    ///
    /// Their steps follow the steps that compute the penalized values. Their outputs, one number for each sample, follow the model's
    /// outputs. A loss adds their sum divided by the number of samples.
    ///
    /// ```
    /// use engraft_nn::{Program, prelude::*, layers::ActivityRegularization};
    /// let layers = Sequential::new().add(Input::new([4])).add(ActivityRegularization::new().l2(0.1)).add(Dense::new(2));
    /// let program = Program::of(&layers.build()?, true, 0)?;
    /// assert_eq!((program.steps.len(), program.outputs.len()), (1, 1));
    /// let program = program.with_penalties();
    /// assert_eq!((program.steps.len(), program.outputs.len()), (2, 2));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn with_penalties(mut self) -> Self {
        if self.penalties.is_empty() {
            return self;
        }
        let mut by_value: HashMap<ValueId, Vec<Step>> = HashMap::new();
        for penalty in std::mem::take(&mut self.penalties) {
            self.outputs.push(penalty.output);
            by_value.entry(penalty.inputs[0]).or_default().push(penalty);
        }
        let steps = std::mem::take(&mut self.steps);
        let mut of = |value: ValueId| by_value.remove(&value).unwrap_or_default();
        self.steps = self.inputs.iter().flat_map(|&input| of(input)).collect();
        for step in steps {
            let output = step.output;
            self.steps.push(step);
            self.steps.extend(of(output));
        }
        self
    }

    fn weights_of_steps(&self) -> impl Iterator<Item = &Param> {
        self.steps.iter().flat_map(Step::all_weights)
    }

    /// The output of layer `name`, of its first call if there are several.
    ///
    /// # Errors
    /// No layer with this name, nested models included.
    pub fn layer_output(&self, name: &str) -> Result<ValueId> {
        self.layer_outputs(name).map(|values| values[0])
    }

    /// The outputs of layer `name`, one for each of its calls in the order of the program; at least one.
    ///
    /// ```
    /// use engraft_nn::{Program, prelude::*};
    /// let shared = Dense::new(4).named("shared");
    /// let x = Input::new([4]);
    /// let model = Model::new(&x, &shared.call(&shared.call(&x)?)?)?;
    /// let program = Program::of(&model, false, 0)?;
    /// let outputs = program.layer_outputs("shared")?;
    /// assert_eq!(outputs, [program.layer_output("shared")?, program.outputs[0]]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No layer with this name, nested models included.
    pub fn layer_outputs(&self, name: &str) -> Result<Vec<ValueId>> {
        let calls = self.layer_outputs.iter().filter(|(layer, _)| layer == name);
        let values: Vec<ValueId> = calls.map(|&(_, value)| value).collect();
        if values.is_empty() {
            let names: Vec<&str> = self.layer_outputs.iter().map(|(layer, _)| layer.as_str()).collect();
            return Err(Error::because("layer", format_args!("no layer called `{name}`"))
                .with_kind(ErrorKind::NotFound)
                .hint(format_args!("the layers are {}", names.join(", "))));
        }
        Ok(values)
    }

    /// Cuts the program after the first call of layer `name`. The output of this call becomes the only output.
    ///
    /// ```
    /// use engraft_nn::{Program, prelude::*};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(8).named("hidden")).add(Dense::new(2)).build()?;
    /// let features = Program::of(&model, false, 0)?.until("hidden")?;
    /// assert_eq!(features.steps.len(), 1);
    /// assert_eq!(features.shapes[features.outputs[0]], [8]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No layer with this name.
    pub fn until(mut self, name: &str) -> Result<Self> {
        self.outputs = vec![self.layer_output(name)?];
        self.remove_dead_steps();
        Ok(self)
    }

    /// Cuts the program after the first call of layer `name` and keeps the steps that follow. The output of this call becomes the
    /// only input.
    ///
    /// # Errors
    /// No layer with this name, or a path from one of the model's inputs to an output that bypasses the call.
    pub fn starting_at(mut self, name: &str) -> Result<Self> {
        let boundary = self.layer_output(name)?;
        self.steps.retain(|step| step.output != boundary);
        let model_inputs = std::mem::replace(&mut self.inputs, vec![boundary]);
        let needed = self.remove_dead_steps();
        if model_inputs.iter().any(|input| *input != boundary && needed.contains(input)) {
            return Err(Error::because(
                format_args!("layer `{name}`"),
                "a path from the model's input to its output bypasses this layer",
            )
            .hint("choose a layer that every path from the input goes through"));
        }
        Ok(self)
    }

    /// Dead code elimination: removes the steps that no output depends on. Returns the values that outputs depend on.
    fn remove_dead_steps(&mut self) -> HashSet<ValueId> {
        self.remove_steps_without_use(&self.outputs.clone())
    }

    /// Removes the steps that none of `wanted` depends on. Returns the values that they depend on.
    pub(crate) fn remove_steps_without_use(&mut self, wanted: &[ValueId]) -> HashSet<ValueId> {
        let mut needed: HashSet<ValueId> = wanted.iter().copied().collect();
        let mut keep = vec![false; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate().rev() {
            if needed.contains(&step.output) {
                keep[i] = true;
                needed.extend(&step.inputs);
            }
        }
        let mut keep = keep.into_iter();
        self.steps.retain(|_| keep.next().unwrap_or(false));
        self.penalties.retain(|penalty| needed.contains(&penalty.inputs[0]));
        needed
    }

    /// The weights of all steps; a shared weight is listed once.
    pub fn weights(&self) -> Vec<&Param> {
        let mut seen = HashSet::new();
        self.weights_of_steps().filter(|param| seen.insert(param.weight.id())).collect()
    }

    /// Number of elements of a value for one sample.
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
    fn penalties_follow_the_values_that_they_are_on() {
        use crate::layers::ActivityRegularization;
        let penalty = |l1: f32| ActivityRegularization::new().l1(l1).into_layer();
        let layers = Sequential::new().add(Input::new([4])).add(penalty(1.0)).add(Dense::new(3).named("hidden"));
        let model = layers.add(penalty(2.0)).add(Dense::new(2)).add(penalty(3.0)).build().unwrap();
        let ops = |program: Program| program.steps.into_iter().map(|step| step.op).collect::<Vec<_>>();
        let [first, second, third] = [1.0, 2.0, 3.0].map(|l1| Op::Penalty { l1, l2: 0.0 });
        let program = Program::of(&model, true, 0).unwrap();
        let all = vec![first, Op::Dense, second.clone(), Op::Dense, third.clone()];
        assert_eq!(ops(program.clone().with_penalties()), all);
        // The penalty on the boundary counts, those before it are constant.
        assert_eq!(ops(program.starting_at("hidden").unwrap().with_penalties()), [second, Op::Dense, third]);
    }

    #[test]
    fn a_boundary_that_a_path_goes_around_is_refused() {
        let x = Input::new([4]);
        let y = Dense::new(4).named("inner").call(&x).unwrap();
        let y = Add::new().call([&x, &y]).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let error = Program::of(&model, true, 0).unwrap().starting_at("inner").unwrap_err().to_string();
        assert!(error.contains("layer `inner`") && error.contains("bypasses this layer"), "{error}");
        assert!(Program::of(&model, true, 0).unwrap().starting_at("outer").unwrap_err().to_string().contains("inner"));
    }
}
