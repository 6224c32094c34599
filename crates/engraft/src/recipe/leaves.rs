//! A model's layers, nested models seen through.

use crate::Layer;

/// The leaf layers, those without sublayers, in the order of the model.
pub(super) fn leaves(layers: &[Layer]) -> Vec<Layer> {
    let inside = |layer: &Layer| match layer.layers() {
        none if none.is_empty() => vec![layer.clone()],
        inner => leaves(&inner),
    };
    layers.iter().flat_map(inside).collect()
}

/// The same layers by path: `conv`, or `base/conv` in the nested model `base`. Keras allows no `/` in a layer's name.
pub(super) fn paths(layers: &[Layer]) -> Vec<(String, Layer)> {
    let inside = |layer: &Layer| match layer.layers() {
        none if none.is_empty() => vec![(layer.name().to_owned(), layer.clone())],
        inner => paths(&inner).into_iter().map(|(path, leaf)| (format!("{}/{path}", layer.name()), leaf)).collect(),
    };
    layers.iter().flat_map(inside).collect()
}

/// Whether the layer, or a layer in it, has weights that training can change when nothing is frozen.
pub(super) fn learns(layer: &Layer) -> bool {
    layer.weights().iter().any(|weight| weight.trainable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn nested_models_are_seen_through_and_named_in_paths() {
        let inner = Sequential::with_name("inner").add(Input::new([4])).add(Dense::new(4).named("a"));
        let outer = Sequential::with_name("outer").add(inner.build().unwrap()).add(Dense::new(4).named("b"));
        let model = Sequential::new().add(outer.build().unwrap()).add(Dense::new(2).named("a")).build().unwrap();
        let (paths, layers): (Vec<String>, Vec<Layer>) = paths(&model.layers()).into_iter().unzip();
        assert_eq!(paths, ["outer/inner/a", "outer/b", "a"]);
        assert_eq!(layers, leaves(&model.layers()));
    }

    #[test]
    fn a_frozen_layer_still_learns_and_a_normalization_never_does() {
        let x = Input::new([4, 4, 3]);
        let (fixed, frozen) = (Normalization::new([0.0; 3], [1.0; 3]).into_layer(), Dense::new(2).into_layer());
        frozen.call(&fixed.call(&x).unwrap()).unwrap();
        frozen.set_trainable(false);
        assert_eq!((learns(&fixed), learns(&frozen)), (false, true));
    }
}
