//! Which layers of a model may be trained, as a value.

use std::collections::HashMap;

use crate::layer::Layer;
use crate::model::Model;

/// Whether each layer of a model may be trained: the flags of one moment, or those of a stretch of training to come. Asking what
/// such a stretch takes leaves the model's own flags as they are.
///
/// ```
/// use engraft_nn::Trainability;
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let frozen = Trainability::of(&model).with(&model.get_layer("top")?, false);
/// assert_eq!((model.trainable_weights().len(), frozen.trainable_weights(&model).len()), (2, 0));
/// frozen.apply(&model);
/// assert_eq!(model.trainable_weights().len(), 0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trainability(HashMap<usize, bool>);

impl Trainability {
    /// The flags of a model and of all layers in it as they are now.
    pub fn of(model: &Model) -> Self {
        let mut flags = HashMap::new();
        let mut pending = vec![model.layer().clone()];
        while let Some(layer) = pending.pop() {
            pending.extend(layer.layers());
            flags.insert(layer.id(), layer.trainable());
        }
        Self(flags)
    }

    /// A model of which every layer may be trained.
    pub fn all(model: &Model) -> Self {
        Self(Self::of(model).0.into_keys().map(|layer| (layer, true)).collect())
    }

    /// The same, but for one layer, a nested model with all layers in it.
    #[must_use]
    pub fn with(mut self, layer: &Layer, trainable: bool) -> Self {
        let mut pending = vec![layer.clone()];
        while let Some(layer) = pending.pop() {
            pending.extend(layer.layers());
            self.0.insert(layer.id(), trainable);
        }
        self
    }

    /// Whether a layer may be trained; by its own flag if it isn't among these.
    pub fn trains(&self, layer: &Layer) -> bool {
        self.0.get(&layer.id()).copied().unwrap_or_else(|| layer.trainable())
    }

    /// Sets the flags of a model's layers.
    pub fn apply(&self, model: &Model) {
        self.apply_to(model.layer());
    }

    fn apply_to(&self, layer: &Layer) {
        // A model's flag reaches all layers in it, so theirs come after it.
        layer.set_trainable(self.trains(layer));
        layer.layers().iter().for_each(|inner| self.apply_to(inner));
    }

    /// The weights that training would change.
    pub fn trainable_weights(&self, model: &Model) -> Vec<crate::Weight> {
        let mut weights = Vec::new();
        self.collect(model.layer(), true, &mut weights);
        weights
    }

    fn collect(&self, layer: &Layer, enclosing: bool, weights: &mut Vec<crate::Weight>) {
        let trains = enclosing && self.trains(layer);
        let own = layer.own_weights().iter().filter(|weight| trains && weight.trainable());
        for weight in own {
            if !weights.iter().any(|known: &crate::Weight| known.id() == weight.id()) {
                weights.push(weight.clone());
            }
        }
        layer.layers().iter().for_each(|inner| self.collect(inner, trains, weights));
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
