//! [`Trainability`]: the `trainable` flags of a model's layers as a value, to plan a training phase without setting them.

use std::collections::HashMap;

use crate::layer::Layer;
use crate::model::Model;

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
pub struct Trainability(HashMap<usize, bool>);

impl Trainability {
    /// The current flags of a model and of all its layers, nested models included.
    pub fn of(model: &Model) -> Self {
        let mut flags = HashMap::new();
        model.layer().visit(&mut |layer| {
            flags.insert(layer.id(), layer.trainable());
        });
        Self(flags)
    }

    /// Flags that make every layer of a model trainable.
    pub fn all(model: &Model) -> Self {
        Self(Self::of(model).0.into_keys().map(|layer| (layer, true)).collect())
    }

    /// Sets the flag of one layer and, for a nested model, the flags of all its layers.
    #[must_use]
    pub fn with(mut self, layer: &Layer, trainable: bool) -> Self {
        layer.visit(&mut |layer| {
            self.0.insert(layer.id(), trainable);
        });
        self
    }

    /// The flag of a layer; its own `trainable` flag if it belongs to another model.
    pub fn trainable(&self, layer: &Layer) -> bool {
        self.0.get(&layer.id()).copied().unwrap_or_else(|| layer.trainable())
    }

    /// Sets the `trainable` flags of the model's layers to these flags.
    pub fn apply(&self, model: &Model) {
        model.layer().visit(&mut |layer| layer.set_own_trainable(self.trainable(layer)));
    }

    /// The weights of `model` that training would update with these flags.
    pub fn trainable_weights(&self, model: &Model) -> Vec<crate::Weight> {
        model.layer().trainable_weights_by(|layer| self.trainable(layer))
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
}
