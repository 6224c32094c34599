//! What a session was made for.

use engraft_nn::{Compiled, Layer, Loss, Model, Optimizer};

/// What a kept session was planned for: another task asks for another session.
///
/// ```
/// use engraft_runtime::TaskKey;
/// assert_ne!(TaskKey::Predict { batch: 8 }, TaskKey::Predict { batch: 16 });
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum TaskKey {
    /// Outputs of up to so many samples.
    Predict {
        /// Samples.
        batch: usize,
    },
    /// A training step.
    Train {
        /// Samples.
        batch: usize,
        /// How updates are made, the learning rate apart.
        optimizer: Box<Optimizer>,
        /// What is minimised.
        loss: Loss,
        /// Whether each layer may be trained, for it and for all inside: a training plan depends on it beside the graph.
        trainable: Vec<bool>,
    },
}

impl TaskKey {
    /// A training step of a model as it is now.
    pub fn train(model: &Model, compiled: &Compiled, batch: usize) -> Self {
        let mut trainable = Vec::new();
        trainable_flags(model.layer(), &mut trainable);
        let mut optimizer = Box::new(compiled.optimizer.clone());
        // The rate is an argument of each step: another one needs no other plan.
        optimizer.set_learning_rate(0.0);
        Self::Train { batch, optimizer, loss: compiled.loss, trainable }
    }

    /// The most samples of a call.
    pub fn batch(&self) -> usize {
        match self {
            Self::Predict { batch } | Self::Train { batch, .. } => *batch,
        }
    }
}

fn trainable_flags(layer: &Layer, flags: &mut Vec<bool>) {
    flags.push(layer.trainable());
    layer.layers().iter().for_each(|layer| trainable_flags(layer, flags));
}
