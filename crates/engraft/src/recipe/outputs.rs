//! [`Outputs`]: what the numbers that a model gives for a photo mean.

mod meaning;

use self::meaning::End;
use crate::prelude::*;
use crate::{OutputActivation, Program, Result};

pub(super) use self::meaning::is_vector;

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
    /// The meaning that the loss of a compiled model gives its outputs, or else its last layers.
    ///
    /// Without a loss, a `Dense` layer without activation gives logits. So does a convolution that is one at each place. A `Dense` layer
    /// on several places, such as tokens, gives features. A single output is the logit of a sigmoid, several are those of a softmax.
    /// Constants may scale and shift logits, as a temperature does, and logits may be averaged over places. A normalization with
    /// weights of its own makes an embedding of them.
    /// After a softmax or sigmoid, operations that keep probabilities what they are may follow, such as the `Average` of an ensemble,
    /// `ops.clip` or `1 - p`. Layers that do nothing in prediction, such as `Dropout`, and reshapes may be anywhere.
    ///
    /// An output that isn't a vector, `[n]` or `[1, 1, n]`, is features, such as that of a network without its top. So is one of which
    /// the last layers tell nothing for certain.
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn of(model: &Model) -> Result<Self> {
        if !is_vector(model.output_shape()) {
            return Ok(Self::Features);
        }
        let compiled = model.compiled();
        if let Some(loss) = compiled.as_ref().and_then(|compiled| compiled.loss) {
            return Ok(match loss.is_from_logits() {
                true => Self::Logits(loss.from_logits(false).output_activation()),
                false => Self::Probabilities,
            });
        }
        let unknown = compiled.map(|compiled| compiled.unknown).unwrap_or_default();
        let is_of_one = || model.output_shape().iter().all(|&size| size == 1) || unknown.has_binary_loss();
        Ok(match Self::end(model)? {
            End::Softmax | End::Sigmoid => Self::Probabilities,
            _ if unknown.has_regression_loss() => Self::Values,
            // The softmax of log probabilities is the probabilities.
            End::LogSoftmax => Self::Logits(OutputActivation::Softmax),
            End::Linear if is_of_one() => Self::Logits(OutputActivation::Sigmoid),
            End::Linear => Self::Logits(OutputActivation::Softmax),
            End::Activated => Self::Values,
            End::Other => Self::Features,
        })
    }

    /// Whether these are probabilities by the loss alone, as the model ends in a `Dense` layer without activation: a loss compiled
    /// without `from_logits=True` by mistake. The numbers may be negative or larger than 1.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::Outputs;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3)).build()?;
    /// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
    /// assert!(Outputs::Probabilities.lack_activation(&model)?);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn lack_activation(self, model: &Model) -> Result<bool> {
        Ok(self == Self::Probabilities && Self::end(model)? == End::Linear)
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
        let loss = model.compiled().and_then(|compiled| compiled.loss);
        match self {
            Self::Logits(activation) => Ok(activation == OutputActivation::Sigmoid),
            Self::Probabilities if loss.is_none_or(|loss| loss.output_activation() == OutputActivation::Sigmoid) => {
                Ok(Self::end(model)? == End::Sigmoid)
            }
            _ => Ok(false),
        }
    }

    fn end(model: &Model) -> Result<End> {
        Ok(End::of(&Program::of(model, false, 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Average, Identity};

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
        assert_eq!(outputs(|layers| layers.add(Dense::new(6)).add(Reshape::new([2, 3]))), Outputs::Features);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3).activation(ActivationFn::LogSoftmax))), softmax);
    }

    #[test]
    fn layers_that_leave_the_meaning_as_it_is_do_not_count() {
        let softmax = Outputs::Logits(OutputActivation::Softmax);
        assert_eq!(outputs(|layers| layers.add(Dense::new(3)).add(Identity::new())), softmax);
        let head = |activation| {
            let layers = Sequential::new().add(Input::new([1, 1, 4])).add(Conv2D::new(3, 1).activation(activation));
            layers.add(Flatten::new()).build().unwrap()
        };
        assert_eq!(Outputs::of(&head(Softmax)).unwrap(), Outputs::Probabilities);
        assert_eq!(Outputs::of(&head(ActivationFn::Linear)).unwrap(), softmax);
        let ensemble = |activations: [ActivationFn; 2]| {
            let x = Input::new([6]);
            let ends = activations.map(|activation| Dense::new(3).activation(activation).call(&x).unwrap());
            let model = Model::new(&x, &Average::new().call(&ends[..]).unwrap()).unwrap();
            let outputs = Outputs::of(&model).unwrap();
            (outputs, outputs.are_independent(&model).unwrap())
        };
        assert_eq!(ensemble([Softmax, Softmax]), (Outputs::Probabilities, false));
        assert_eq!(ensemble([Sigmoid, Sigmoid]), (Outputs::Probabilities, true));
        assert_eq!(ensemble([Softmax, Sigmoid]), (Outputs::Features, false));
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
    fn a_binary_loss_takes_each_output_for_a_logit_of_its_own() {
        let model = model(|layers| layers.add(Dense::new(3)));
        model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        let unknown = crate::UnknownParts { loss: Some("binary_focal_crossentropy".into()), ..Default::default() };
        let compiled = model.compiled().map(|of| crate::Compiled { loss: None, unknown: unknown.into(), ..of });
        model.set_compiled(compiled);
        assert_eq!(Outputs::of(&model).unwrap(), Outputs::Logits(OutputActivation::Sigmoid));
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
        assert_eq!(with_loss("categorical_hinge"), Outputs::Values, "scores that no activation makes probabilities of");
        assert_eq!(with_loss("my_loss"), Outputs::Logits(OutputActivation::Sigmoid), "no loss that is known");
        let unknown = crate::UnknownParts { loss: Some("mse".into()), ..Default::default() };
        let softmax = Sequential::new().add(Input::new([6])).add(Dense::new(3).activation(Softmax)).build().unwrap();
        softmax.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        let compiled = softmax.compiled().map(|of| crate::Compiled { loss: None, unknown: unknown.into(), ..of });
        softmax.set_compiled(compiled);
        assert_eq!(Outputs::of(&softmax).unwrap(), Outputs::Probabilities, "a softmax tells more than such a loss");
    }
}
