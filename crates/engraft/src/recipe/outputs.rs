//! [`Outputs`]: what the numbers that a model gives for a photo mean.

use crate::ir::{self, Op};
use crate::prelude::*;
use crate::{OutputActivation, Program, Result};

/// What the numbers that a model gives for a photo mean.
///
/// ```
/// use engraft::OutputActivation;
/// use engraft::prelude::*;
/// use engraft::recipe::Outputs;
/// let model = |activation| Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(activation)).build();
/// assert_eq!(Outputs::of(&model(Softmax)?)?, Outputs::Probabilities);
/// assert_eq!(Outputs::of(&model(ActivationFn::Linear)?)?, Outputs::Logits(OutputActivation::Softmax));
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// The probability of each class.
    Probabilities,
    /// Logits: this activation makes probabilities of them.
    Logits(OutputActivation),
    /// Numbers that stand for themselves, such as those of a regression.
    Values,
    /// Features of the photo: no layer at the end tells classes apart.
    Features,
}

impl Outputs {
    /// The meaning that the loss of a compiled model gives its outputs, or else its last layer.
    ///
    /// Without a loss, a `Dense` layer without activation ends in logits: those of a sigmoid if it has one unit, else of a softmax.
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn of(model: &Model) -> Result<Self> {
        let compiled = model.compiled();
        if let Some(loss) = compiled.as_ref().and_then(|compiled| compiled.loss) {
            return Ok(match loss.is_from_logits() {
                true => Self::Logits(loss.from_logits(false).output_activation()),
                false => Self::Probabilities,
            });
        }
        if last_op(model)?.is_some_and(|op| matches!(op, Op::Softmax | Op::Activation(ir::Activation::Sigmoid))) {
            return Ok(Self::Probabilities);
        }
        if compiled.is_some_and(|compiled| compiled.unknown.has_regression_loss()) {
            return Ok(Self::Values);
        }
        Ok(match last_layer(model) {
            Some(dense) if dense.def().config()["activation"] == "linear" => {
                Self::Logits(match model.output_shape()[..] {
                    [1] => OutputActivation::Sigmoid,
                    _ => OutputActivation::Softmax,
                })
            }
            Some(_) => Self::Values,
            None => Self::Features,
        })
    }

    /// The word for these outputs in a file's metadata: `probabilities`, `logits`, `values` or `features`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Logits(_) => "logits",
            Self::Values => "values",
            Self::Features => "features",
        }
    }

    /// Whether the outputs are independent of each other: a sigmoid's, or its logits. A photo can have several labels then.
    pub(super) fn are_independent(self, model: &Model) -> Result<bool> {
        let is_sigmoid = || Ok(last_op(model)? == Some(Op::Activation(ir::Activation::Sigmoid)));
        let loss = model.compiled().and_then(|compiled| compiled.loss);
        match self {
            Self::Logits(activation) => Ok(activation == OutputActivation::Sigmoid),
            Self::Probabilities if loss.is_none_or(|loss| loss.output_activation() == OutputActivation::Sigmoid) => {
                is_sigmoid()
            }
            _ => Ok(false),
        }
    }
}

/// The operation that gives the output of a model; `None` for a model without layers.
fn last_op(model: &Model) -> Result<Option<Op>> {
    let program = Program::of(model, false, 0)?;
    let last = program.steps.last().filter(|last| program.outputs == [last.output]);
    Ok(last.map(|last| last.op.clone()))
}

/// The `Dense` layer that gives the output, below layers that change nothing in prediction; `None` if another layer does.
fn last_layer(model: &Model) -> Option<Layer> {
    let mut call = model.output().clone();
    loop {
        let layer = call.layer().clone();
        if let Some(graph) = layer.def().graph() {
            call = graph.outputs().first()?.clone();
            continue;
        }
        let is_identity = match layer.class_name() {
            "Activation" => layer.def().config()["activation"] == "linear",
            "Dropout" => true,
            _ => false,
        };
        match layer.class_name() {
            "Dense" => return Some(layer),
            _ if is_identity => call = call.inputs().first()?.clone(),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(layers: impl FnOnce(Sequential) -> Sequential) -> Model {
        layers(Sequential::new().add(Input::new([6]))).build().unwrap()
    }

    fn outputs(layers: impl FnOnce(Sequential) -> Sequential) -> Outputs {
        Outputs::of(&model(layers)).unwrap()
    }

    #[test]
    fn without_a_loss_the_last_layer_tells() {
        let softmax = Outputs::Logits(OutputActivation::Softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3))), softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(1))), Outputs::Logits(OutputActivation::Sigmoid));
        // As mixed precision asks for: the last activation in float32, and one that changes nothing.
        assert_eq!(outputs(|layers| layers.add(Dense::new(3)).add(Activation::new(ActivationFn::Linear))), softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3)).add(Dropout::new(0.5))), softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3)).add(Activation::new(Softmax))), Outputs::Probabilities);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3).activation(Sigmoid))), Outputs::Probabilities);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3).activation(Relu))), Outputs::Values);
        let inner = model(|layers| layers.add(Dense::new(3)));
        assert_eq!(outputs(|layers| layers.add(inner)), softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3)).add(BatchNormalization::new())), Outputs::Features);
        assert_eq!(outputs(|layers| layers.add(Reshape::new([2, 3])).add(Flatten::new())), Outputs::Features);
    }

    #[test]
    fn a_loss_tells_more_than_the_last_layer() {
        let of = |loss: Loss| {
            let model = model(|layers| layers.add(Dense::new(3)));
            model.compile(Sgd::new(0.1), loss, []).unwrap();
            let outputs = Outputs::of(&model).unwrap();
            (outputs, outputs.are_independent(&model).unwrap())
        };
        assert_eq!(of(Loss::categorical_crossentropy()), (Outputs::Probabilities, false));
        let sparse = Loss::sparse_categorical_crossentropy().from_logits(true);
        assert_eq!(of(sparse), (Outputs::Logits(OutputActivation::Softmax), false));
        let binary = Loss::binary_crossentropy().from_logits(true);
        assert_eq!(of(binary), (Outputs::Logits(OutputActivation::Sigmoid), true));
    }

    #[test]
    fn the_numbers_of_a_regression_stand_for_themselves() {
        let model = model(|layers| layers.add(Dense::new(1)));
        model.compile(Sgd::new(0.1), Loss::binary_crossentropy(), []).unwrap();
        let with_loss = |name: &str| {
            let unknown = crate::UnknownParts { loss: Some(name.into()), ..Default::default() };
            let compiled =
                model.compiled().map(|compiled| crate::Compiled { loss: None, unknown: unknown.into(), ..compiled });
            model.set_compiled(compiled);
            Outputs::of(&model).unwrap()
        };
        assert_eq!(with_loss("mean_squared_error"), Outputs::Values);
        assert_eq!(with_loss("my_loss"), Outputs::Logits(OutputActivation::Sigmoid), "no loss that is known");
        let unknown = crate::UnknownParts { loss: Some("mse".into()), ..Default::default() };
        let softmax = Sequential::new().add(Input::new([6])).add(Dense::new(3).activation(Softmax)).build().unwrap();
        softmax.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        let compiled = softmax.compiled().map(|of| crate::Compiled { loss: None, unknown: unknown.into(), ..of });
        softmax.set_compiled(compiled);
        assert_eq!(Outputs::of(&softmax).unwrap(), Outputs::Probabilities, "a softmax tells more than such a loss");
    }
}
