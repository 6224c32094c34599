//! Finds the base of a model without a record, by the names and the nesting of its layers.
//!
//! An ambiguous model is an error; [`Base`](super::Base) documents the rules.

use std::collections::HashSet;

use super::{architectures, has_trainable_weights};
use crate::{Error, Graph, Layer, Model, Result};

/// Maximum number of layer names in an error.
const MAX_NAMES: usize = 20;

/// The leaf layers of the base.
pub(super) fn base(model: &Model) -> Result<Vec<Layer>> {
    if let Some(layers) = architectures::base(model)? {
        return Ok(leaves(&layers));
    }
    let (models, layers): (Vec<Layer>, Vec<Layer>) =
        model.layers().into_iter().filter(has_trainable_weights).partition(|layer| !layer.layers().is_empty());
    match &models[..] {
        // The model only wraps another one, for example to add preprocessing.
        [only] if layers.is_empty() => base(&Model::from_layer(only.clone())?),
        // A nested base is followed by layers with weights. Without such layers the nested model may be the head.
        [only] if follows_any(model, only, &layers) => {
            let known = architectures::base(&Model::from_layer(only.clone())?)?;
            Ok(leaves(&known.unwrap_or_else(|| only.layers())))
        }
        [_, _, ..] => Err(ambiguous_base(model, &models)),
        _ => Err(unknown_base(model)),
    }
}

fn leaves(layers: &[Layer]) -> Vec<Layer> {
    layers.iter().flat_map(Layer::leaves).collect()
}

/// Whether any of `layers` is outside the layers that `nested` depends on.
fn follows_any(model: &Model, nested: &Layer, layers: &[Layer]) -> bool {
    let before = upstream(model.graph(), nested);
    layers.iter().any(|layer| !before.contains(&layer.id()))
}

/// Ids of `layer` and of all layers that it depends on.
pub(super) fn upstream(graph: &Graph, layer: &Layer) -> HashSet<usize> {
    let mut pending: Vec<_> = graph.calls().iter().filter(|call| call.layer() == layer).collect();
    let (mut visited, mut layers) = (HashSet::new(), HashSet::new());
    while let Some(call) = pending.pop() {
        if visited.insert(call.id()) {
            layers.insert(call.layer().id());
            pending.extend(call.inputs());
        }
    }
    layers
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

pub(super) fn place(model: &Model) -> String {
    format!("base of model `{}`", model.name())
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
    fn what_a_layer_depends_on_leaves_out_side_branches() {
        let x = Input::new([4, 4, 3]);
        let [stem, side, last] = ["stem", "side", "last"].map(conv);
        let split = stem.call(&x).unwrap();
        let sum = Add::new().call([&side.call(&split).unwrap(), &last.call(&split).unwrap()]).unwrap();
        let found = upstream(Model::new(&x, &sum).unwrap().graph(), &last);
        assert_eq!(found, HashSet::from([x.layer().id(), stem.id(), last.id()]));
    }
}
