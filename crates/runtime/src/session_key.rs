//! [`SessionKey`]: the key of a session that a model caches.

use engraft_nn::{Compiled, Loss, Model, Optimizer, Result, Trainability};

/// The key of a cached session: everything that its plan depends on, apart from the graph of the model.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::SessionKey;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax).named("top")).build()?;
/// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// let key = |batch| Ok::<_, engraft_nn::Error>(SessionKey::train(&model, &model.compiled_or_error()?, batch));
/// let before = key(8)?;
/// assert_eq!(before, key(8)?);
/// assert_ne!(before, key(16)?);
/// // Other trainable layers need another plan.
/// model.get_layer("top")?.set_trainable(false);
/// assert_ne!(before, key(8)?);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum SessionKey {
    /// Computing outputs.
    Predict {
        /// The maximum number of samples in a call.
        batch: usize,
    },
    /// A training step.
    Train {
        /// The maximum number of samples in a call.
        batch: usize,
        /// The optimizer, without its learning rate.
        optimizer: Box<Optimizer>,
        /// The loss to minimise.
        loss: Loss,
        /// The `trainable` flags of all layers.
        trainability: Trainability,
    },
}

impl SessionKey {
    /// The key of a training step, with the `trainable` flags as they are now.
    ///
    /// # Errors
    /// There is no optimizer or no loss.
    pub fn train(model: &Model, compiled: &Compiled, batch: usize) -> Result<Self> {
        let mut optimizer = Box::new(compiled.optimizer_or_error()?.clone());
        // The learning rate is an argument of each step: a plan doesn't depend on it.
        optimizer.set_learning_rate(0.0);
        Ok(Self::Train { batch, optimizer, loss: compiled.loss_or_error()?, trainability: Trainability::of(model) })
    }

    /// The maximum number of samples in a call.
    pub fn batch(&self) -> usize {
        match self {
            Self::Predict { batch } | Self::Train { batch, .. } => *batch,
        }
    }
}
