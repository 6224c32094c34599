//! Models that don't scale the pixels of their photos: recognises them, and adds the [`Preprocessing`] in front.

use std::collections::{HashMap, HashSet};

use super::base::network_and_preprocessing;
use crate::applications::Preprocessing;
use crate::ir::{Op, Unary};
use crate::prelude::*;
use crate::{Error, Program, Result};

/// A model that doesn't scale its input: the pixels, 0 to 255, reach a layer with a kernel as they are.
///
/// Few models are trained so. Most that look like this were trained on pixels that something outside the model had scaled.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::applications::Preprocessing;
/// use engraft::recipe::{Unscaled, preprocessed};
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).build()?;
/// assert_eq!(Unscaled::of(&model)?, Some(Unscaled { network: None }));
/// let scaled = preprocessed(&model, Preprocessing::Tf)?;
/// assert_eq!(Unscaled::of(&scaled)?, None);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unscaled {
    /// The network that the model contains, of `keras.applications` or an EfficientNet-Lite, and what it was trained on; `None` if it is no known one.
    pub network: Option<(&'static str, Preprocessing)>,
}

impl Unscaled {
    /// Whether nothing in `model` scales the pixels before they reach a layer with a kernel, as a `Rescaling`, a normalization or
    /// arithmetic would; `None` if something does.
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn of(model: &Model) -> Result<Option<Self>> {
        let is_unscaled = pixels_reach_a_kernel(&Program::of(model, false, 0)?);
        Ok(is_unscaled.then(|| Self { network: network_and_preprocessing(model) }))
    }
}

/// The model with the preprocessing as layers in front. It shares layers, weights and settings of `compile` with `model`.
///
/// ```
/// use engraft::applications::Preprocessing;
/// use engraft::prelude::*;
/// use engraft::recipe::preprocessed;
/// let model = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(2));
/// let model = preprocessed(&model.build()?, Preprocessing::Scale)?;
/// assert_eq!(model.layers()[1].class_name(), "Rescaling");
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The model has several inputs, or an input that isn't RGB photos.
pub fn preprocessed(model: &Model, preprocessing: Preprocessing) -> Result<Model> {
    if preprocessing == Preprocessing::None {
        return Ok(model.clone());
    }
    let [input] = model.inputs() else {
        return Err(Error::new(format_args!("model `{}`", model.name()), "one input", model.inputs().len()));
    };
    let photo = Input::named(input.layer().name(), input.shape().clone());
    let place = || format!("model `{}`, preprocessing", model.name());
    let taken: HashSet<String> = model.layers().iter().map(|layer| layer.name().to_owned()).collect();
    let preprocessed = with_free_names(preprocessing, &photo, &taken).map_err(|error| {
        let expected = format!("for {preprocessing} an input of 3 channels");
        let error = Error::new(place(), expected, format_args!("{:?}", input.shape())).caused_by(error);
        error.hint("choose scale, tf or none, which take any channels")
    })?;
    let mut tensors = HashMap::from([(input.id(), preprocessed)]);
    for call in model.graph().calls().iter().filter(|call| !call.inputs().is_empty()) {
        let inputs: Vec<SymbolicTensor> = call.inputs().iter().map(|input| tensors[&input.id()].clone()).collect();
        tensors.insert(call.id(), call.layer().call(&inputs)?);
    }
    let outputs: Vec<SymbolicTensor> = model.outputs().iter().map(|output| tensors[&output.id()].clone()).collect();
    let whole = Model::named(model.name(), &photo, &outputs)?;
    whole.set_compiled(model.compiled());
    whole.layer().set_own_trainable(model.trainable());
    Ok(whole)
}

/// The preprocessed photo, by layers whose names aren't `taken`. Each call names its layers by the next numbers.
fn with_free_names(
    preprocessing: Preprocessing,
    photo: &SymbolicTensor,
    taken: &HashSet<String>,
) -> Result<SymbolicTensor> {
    loop {
        let preprocessed = preprocessing.call(photo)?;
        let mut call = &preprocessed;
        while call.id() != photo.id() && !taken.contains(call.layer().name()) {
            call = &call.inputs()[0];
        }
        if call.id() == photo.id() {
            return Ok(preprocessed);
        }
    }
}

/// Whether the values of the first input reach a kernel as they are: at most moved, padded, pooled or resized.
fn pixels_reach_a_kernel(program: &Program) -> bool {
    let mut pixels: HashSet<_> = program.inputs.iter().take(1).copied().collect();
    for step in program.steps.iter() {
        if !step.inputs.iter().any(|input| pixels.contains(input)) {
            continue;
        }
        match step.op {
            Op::Conv2d { .. } | Op::Dense => return true,
            // An input of integers cuts off fractions, and what is outside the range of its type.
            Op::Unary(Unary::Truncate | Unary::Clip { .. })
            | Op::Pad2d { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::Reshape
            | Op::Slice { .. }
            | Op::Permute { .. }
            | Op::Resize { .. }
            | Op::ReverseChannels
            | Op::Pool2d { .. }
            | Op::GlobalPool { .. } => _ = pixels.insert(step.output),
            // A nested model with several outputs returns them as one vector, in which pixels may stand beside features. So a vector
            // counts as pixels only if all of its parts are pixels.
            Op::Concatenate { .. }
                if program.shapes[step.output].len() > 1 || step.inputs.iter().all(|input| pixels.contains(input)) =>
            {
                pixels.insert(step.output);
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(first: Vec<crate::Layer>) -> Model {
        let layers = first.into_iter().fold(Sequential::new().add(Input::new([8, 8, 3])), Sequential::add);
        let layers = layers.add(Conv2D::new(4, 3).named("conv")).add(Flatten::new()).add(Dense::new(2).named("top"));
        layers.build().unwrap()
    }

    #[test]
    fn a_model_that_scales_nowhere_before_its_first_kernel_is_recognised() {
        let moved = vec![ZeroPadding2D::new(1).into_layer(), MaxPooling2D::new(2).into_layer()];
        for unscaled in [model(Vec::new()), model(moved)] {
            assert_eq!(Unscaled::of(&unscaled).unwrap(), Some(Unscaled { network: None }));
        }
        let inner = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).build().unwrap();
        for scaled in [
            model(vec![Rescaling::new(1.0 / 255.0).into_layer()]),
            model(vec![ZeroPadding2D::new(1).into_layer(), BatchNormalization::new().into_layer()]),
            model(vec![inner.into_layer()]),
        ] {
            assert_eq!(Unscaled::of(&scaled).unwrap(), None);
        }
    }

    #[test]
    fn a_network_of_keras_is_named_with_what_it_expects() {
        let base = crate::applications::vgg16().weights(crate::applications::Weights::None).include_top(false);
        let base = base.input_shape([32, 32, 3]).build().unwrap();
        let unscaled = Some(Unscaled { network: Some(("VGG16 or VGG19", Preprocessing::Caffe)) });
        assert_eq!(Unscaled::of(&base).unwrap(), unscaled);
        let nested = Sequential::new().add(&base).add(Flatten::new()).add(Dense::new(2)).build().unwrap();
        assert_eq!(Unscaled::of(&nested).unwrap(), unscaled);
    }

    #[test]
    fn the_layers_in_front_have_names_of_their_own() {
        let layer = Rescaling::new(0.5).into_layer();
        let following = format!("rescaling_{}", layer.name().trim_start_matches("rescaling_").parse().unwrap_or(0) + 1);
        let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Rescaling::new(0.5).named(following));
        let model = layers.add(Flatten::new()).add(Dense::new(2)).build().unwrap();
        for _ in 0..3 {
            assert!(preprocessed(&model, Preprocessing::Scale).is_ok());
        }
    }

    #[test]
    fn preprocessing_in_front_shares_weights_and_settings() {
        let plain = model(Vec::new());
        plain.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), []).unwrap();
        let whole = preprocessed(&plain, Preprocessing::Scale).unwrap();
        let x = Tensor::new([1, 8, 8, 3], (0..192).map(|x| x as f32).collect()).unwrap();
        let scaled = Tensor::new([1, 8, 8, 3], x.data().iter().map(|x| x * (1.0 / 255.0)).collect()).unwrap();
        assert_eq!(whole.predict(&x, 1).unwrap(), plain.predict(&scaled, 1).unwrap());
        assert!(whole.weights().iter().zip(plain.weights()).all(|(a, b)| a.id() == b.id()));
        assert_eq!(whole.compiled().unwrap().loss, plain.compiled().unwrap().loss);
    }
}
