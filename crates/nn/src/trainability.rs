//! [`Trainability`]: the `trainable` flags of a model's layers as a value, to plan a training phase without setting them.

use std::collections::HashMap;

use crate::layer::Layer;
use crate::model::Model;

/// The `trainable` flags of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrainableFlags {
    /// The layer's own flag, which files have.
    pub(crate) own: bool,
    /// The flag of sublayers that Keras creates in `build`. Files don't store it.
    pub(crate) inside: bool,
}

impl TrainableFlags {
    /// The flags after Keras' `layer.trainable = ...`.
    pub(crate) fn all(trainable: bool) -> Self {
        Self { own: trainable, inside: trainable }
    }

    /// The flag that decides about the weights of `layer`.
    pub(crate) fn of_weights(self, layer: &Layer) -> bool {
        if layer.def().builds_layers_inside() { self.inside } else { self.own }
    }
}

/// A snapshot of the `trainable` flags of a model's layers, or the flags of a later training phase.
///
/// A caller can plan such a phase, for example to compute its memory, while the layers keep their own flags.
///
/// ```
/// use engraft_nn::Trainability;
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let frozen = Trainability::of(&model).with(&model.get_layer("top")?, false);
/// assert_eq!((model.trainable_weights().len(), frozen.trainable_weights(&model).len()), (2, 0));
/// frozen.apply(&model);
/// assert_eq!(model.trainable_weights().len(), 0);
/// Trainability::all(&model).apply(&model);
/// assert_eq!(model.trainable_weights().len(), 2);
/// assert!(!frozen.trainable(&model.get_layer("top")?), "a snapshot doesn't change");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trainability(HashMap<usize, TrainableFlags>);

impl Trainability {
    /// The current flags of a model and of all its layers, nested models included.
    pub fn of(model: &Model) -> Self {
        let mut flags = HashMap::new();
        model.layer().visit(&mut |layer| {
            flags.insert(layer.id(), layer.flags());
        });
        Self(flags)
    }

    /// Flags that make every layer of a model trainable.
    pub fn all(model: &Model) -> Self {
        Self(Self::of(model).0.into_keys().map(|layer| (layer, TrainableFlags::all(true))).collect())
    }

    /// Sets the flag of one layer and, for a nested model, the flags of all its layers.
    #[must_use]
    pub fn with(mut self, layer: &Layer, trainable: bool) -> Self {
        layer.visit(&mut |layer| {
            self.0.insert(layer.id(), TrainableFlags::all(trainable));
        });
        self
    }

    /// The flag of a layer; its own `trainable` flag if it belongs to another model.
    pub fn trainable(&self, layer: &Layer) -> bool {
        self.flags(layer).own
    }

    /// Whether training may change the layer's own weights, as [`Layer::weights_trainable`].
    pub(crate) fn weights_trainable(&self, layer: &Layer) -> bool {
        self.flags(layer).of_weights(layer)
    }

    fn flags(&self, layer: &Layer) -> TrainableFlags {
        self.0.get(&layer.id()).copied().unwrap_or_else(|| layer.flags())
    }

    /// Sets the `trainable` flags of the model's layers to these flags.
    pub fn apply(&self, model: &Model) {
        model.layer().visit(&mut |layer| layer.set_flags(self.flags(layer)));
    }

    /// The weights of `model` that training would update with these flags.
    pub fn trainable_weights(&self, model: &Model) -> Vec<crate::Weight> {
        model.layer().trainable_weights_by(|layer| self.flags(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn flags_of_nested_layers_come_back_as_they_were() {
        let inner = Sequential::new().add(Input::new([4])).add(Dense::new(4).named("a")).add(Dense::new(4).named("b"));
        let inner = inner.build().unwrap();
        let model = Sequential::new().add(&inner).add(Dense::new(2).named("top")).build().unwrap();
        model.get_layer("a").unwrap().set_trainable(false);
        let before = Trainability::of(&model);
        let names = |weights: Vec<crate::Weight>| weights.iter().map(crate::Weight::path).collect::<Vec<_>>();
        let expected = names(model.trainable_weights());
        inner.set_trainable(false);
        assert_eq!(names(before.trainable_weights(&model)), expected);
        before.apply(&model);
        assert_eq!(names(model.trainable_weights()), expected);
        let frozen = Trainability::all(&model).with(inner.layer(), false);
        assert_eq!(names(frozen.trainable_weights(&model)), ["top/kernel", "top/bias"]);
    }

    #[test]
    fn the_option_of_a_file_does_not_reach_the_weights_of_layers_inside() {
        let x = Input::new([4, 6]);
        let attention = MultiHeadAttention::new(2, 3).named("attention");
        let model = Model::new(&x, &attention.call([&x, &x]).unwrap()).unwrap();
        attention.set_own_trainable(false);
        let loaded = Trainability::of(&model);
        assert_eq!((loaded.trainable(&attention), model.trainable_weights().len()), (false, 8));
        let params = |model: &Model| {
            let program = crate::Program::of(model, true, 0).unwrap();
            program.steps.iter().flat_map(|step| &step.weights).filter(|param| param.trainable).count()
        };
        assert_eq!(params(&model), 8);
        model.set_trainable(false);
        model.layer().set_own_trainable(true);
        assert_eq!((params(&model), loaded.trainable_weights(&model).len()), (0, 8));
        loaded.apply(&model);
        assert_eq!((attention.trainable(), params(&model)), (false, 8));
    }
}
