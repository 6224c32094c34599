//! [`Body`]: the layers of a network while it is built.

use super::{Network, Pooling};
use crate::prelude::*;
use crate::{Arguments, IntoLayer, Layer, Result};

/// The layers of a network in the order in which it calls them. Layers are recorded as the pretrained base until
/// [`end_of_base`](Self::end_of_base).
#[derive(Default)]
pub(super) struct Body {
    pub(super) layers: Vec<Layer>,
    above_base: bool,
}

impl Body {
    /// Calls a layer on a tensor, or on several.
    pub(super) fn call<'a>(&mut self, x: impl Arguments<'a>, layer: impl IntoLayer) -> Result<SymbolicTensor> {
        let layer = layer.into_layer();
        layer.set_in_base(!self.above_base);
        let y = layer.call(x)?;
        self.layers.push(layer);
        Ok(y)
    }

    /// Ends the base: the layers called from here on are the top or the pooling.
    pub(super) fn end_of_base(&mut self) {
        self.above_base = true;
    }

    /// Ends a network without its top: with the global pooling that was asked for, if any. Keras' automatic names.
    pub(super) fn pool(&mut self, network: &Network, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        self.end_of_base();
        match network.pooling {
            Some(Pooling::Avg) => self.call(x, GlobalAveragePooling2D::new()),
            Some(Pooling::Max) => self.call(x, GlobalMaxPooling2D::new()),
            None => Ok(x.clone()),
        }
    }

    /// Like [`pool`](Self::pool), with the names `avg_pool` and `max_pool`.
    pub(super) fn named_pool(&mut self, network: &Network, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        self.end_of_base();
        match network.pooling {
            Some(Pooling::Avg) => self.call(x, GlobalAveragePooling2D::new().named("avg_pool")),
            Some(Pooling::Max) => self.call(x, GlobalMaxPooling2D::new().named("max_pool")),
            None => Ok(x.clone()),
        }
    }

    /// The top of most networks: `avg_pool`, and the classifier `predictions`.
    pub(super) fn pooled_top(&mut self, network: &Network, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        self.end_of_base();
        let x = self.call(x, GlobalAveragePooling2D::new().named("avg_pool"))?;
        self.classifier(network, &x)
    }

    /// The last layer of a top: `predictions`.
    pub(super) fn classifier(&mut self, network: &Network, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        let classifier = Dense::new(network.classes).activation(network.classifier_activation);
        self.call(x, classifier.named("predictions"))
    }
}
