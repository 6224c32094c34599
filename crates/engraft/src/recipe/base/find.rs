//! Finds the base of a model without a record, by the names and the nesting of its layers.
//!
//! An ambiguous model is an error; [`Base`](super::Base) documents the rules.

use super::known_networks::{self, place};
use super::upstream::upstream;
use crate::{Error, Layer, Model, Result};

/// Maximum number of layer names in an error.
const MAX_NAMES: usize = 20;

/// The leaf layers of the base.
pub(super) fn base(model: &Model) -> Result<Vec<Layer>> {
    if let Some(layers) = known_networks::base(model)? {
        return Ok(leaves(&layers));
    }
    let (models, layers): (Vec<Layer>, Vec<Layer>) =
        model.layers().into_iter().filter(has_trainable_weights).partition(|layer| !layer.layers().is_empty());
    match &models[..] {
        // The model only wraps another one, for example to add preprocessing.
        [only] if layers.is_empty() => base(&Model::from_layer(only.clone())?),
        // A nested base is followed by layers with weights. Without such layers the nested model may be the head.
        [only] if follows_any(model, only, &layers) => {
            let known = known_networks::base(&Model::from_layer(only.clone())?)?;
            Ok(leaves(&known.unwrap_or_else(|| only.layers())))
        }
        [_, _, ..] => Err(ambiguous_base(model, &models)),
        _ => Err(unknown_base(model)),
    }
}

/// Whether the layer, or a layer inside it, has weights that training changes when nothing is frozen.
pub(super) fn has_trainable_weights(layer: &Layer) -> bool {
    layer.weights().iter().any(|weight| weight.trainable())
}

fn leaves(layers: &[Layer]) -> Vec<Layer> {
    layers.iter().flat_map(Layer::leaves).collect()
}

/// Whether `nested` doesn't depend on one of `layers`, so that this layer follows `nested` or stands beside it.
fn follows_any(model: &Model, nested: &Layer, layers: &[Layer]) -> bool {
    let before = upstream(model.graph(), nested);
    layers.iter().any(|layer| !before.contains(&layer.id()))
}

fn ambiguous_base(model: &Model, models: &[Layer]) -> Error {
    Error::new(place(model), "one nested model with weights to be the base", list(models))
        .hint("name the first layer to train: all layers before it are frozen")
}

fn unknown_base(model: &Model) -> Error {
    let expected =
        "a recorded base, a nested model before the head, or the layer names of a keras.applications network";
    Error::new(place(model), expected, list(&model.leaves()))
        .hint("name the first layer of the head: all layers before it are frozen")
}

/// The layer names for an error. A long list keeps its end, where the head's layers are.
fn list(layers: &[Layer]) -> String {
    let hidden = layers.len().saturating_sub(MAX_NAMES);
    let names: Vec<&str> = layers[hidden..].iter().map(Layer::name).collect();
    match hidden {
        0 => names.join(", "),
        _ => format!("{hidden} layers and {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn conv(name: &str) -> Layer {
        Conv2D::new(3, 1).named(name)
    }

    fn nested(name: &str) -> Layer {
        Sequential::with_name(name).add(Input::new([4, 4, 3])).add(conv("inner")).build().unwrap().into_layer()
    }

    fn head() -> Layer {
        Sequential::with_name("head").add(Flatten::new()).add(Dense::new(2).named("top")).into_layer()
    }

    fn model(layers: impl IntoIterator<Item = Layer>) -> Model {
        layers.into_iter().fold(Sequential::with_name("m").add(Input::new([4, 4, 3])), Sequential::add).build().unwrap()
    }

    fn names(model: &Model) -> Vec<String> {
        base(model).unwrap().iter().map(|layer| layer.name().to_owned()).collect()
    }

    fn refusal(model: &Model) -> String {
        base(model).unwrap_err().to_string()
    }

    #[test]
    fn the_only_nested_model_before_layers_with_weights_is_the_base() {
        let flip = Sequential::new().add(RandomFlip::horizontal()).into_layer();
        let tail = || [Flatten::new().into_layer(), Dense::new(2).named("top")];
        assert_eq!(names(&model([flip, nested("a")].into_iter().chain(tail()))), ["inner"]);
        assert_eq!(names(&model([conv("adapter"), nested("a")].into_iter().chain(tail()))), ["inner"]);
        let classifier = model([nested("a")].into_iter().chain(tail()));
        assert_eq!(names(&model([classifier.into_layer()])), ["inner"], "a wrapped classifier");
    }

    #[test]
    fn several_nested_models_are_refused_and_listed() {
        let received = refusal(&model([nested("a"), nested("b"), head()]));
        let expected = "base of model `m`: expected one nested model with weights to be the base, received a, b, head\n\
                        hint: name the first layer to train";
        assert!(received.starts_with(expected), "{received}");
    }

    #[test]
    fn a_nested_head_is_no_base() {
        let received = refusal(&model([conv("stem"), head()]));
        assert!(received.contains("network, received stem, flatten"), "{received}");
        assert!(received.contains("top\nhint: name the first layer of the head"), "{received}");
    }

    #[test]
    fn of_many_layers_the_last_are_listed() {
        let received = refusal(&model((0..200).map(|layer| conv(&format!("conv_{layer}")))));
        assert!(received.contains("received 180 layers and conv_180, conv_181, "), "{received}");
        assert!(received.contains(", conv_199\nhint: "), "{received}");
    }

    #[test]
    fn frozen_layers_have_trainable_weights_and_a_normalization_has_none() {
        let x = Input::new([4, 4, 3]);
        let (fixed, frozen) = (Normalization::new([0.0; 3], [1.0; 3]).into_layer(), Dense::new(2).into_layer());
        frozen.call(&fixed.call(&x).unwrap()).unwrap();
        frozen.set_trainable(false);
        assert_eq!((has_trainable_weights(&fixed), has_trainable_weights(&frozen)), (false, true));
    }
}
