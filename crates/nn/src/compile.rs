//! What `compile` sets: optimizer, loss and metrics.

mod loss;
mod metric;
mod optimizer;

pub use loss::{Head, Loss, LossKind};
pub use metric::{Metric, MetricState};
pub use optimizer::{Adam, Optimizer, OptimizerState, RmsProp, Sgd};

use crate::{Model, Result};

/// How a model is trained, and how far it has come.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How updates are made.
    pub optimizer: Optimizer,
    /// What is minimised.
    pub loss: Loss,
    /// What else is measured.
    pub metrics: Vec<Metric>,
    /// The optimizer's memory of earlier steps.
    pub state: OptimizerState,
}

impl Model {
    /// Sets optimizer, loss and metrics (Keras' `compile`). Freezing or unfreezing layers later needs no second call.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn compile(
        &self,
        optimizer: impl Into<Optimizer>,
        loss: Loss,
        metrics: impl IntoIterator<Item = Metric>,
    ) -> Result<()> {
        let optimizer = optimizer.into();
        optimizer.check()?;
        loss.check(self.output_shape())?;
        let metrics = metrics.into_iter().collect();
        *self.compiled() = Some(Compiled { optimizer, loss, metrics, state: OptimizerState::default() });
        Ok(())
    }
}
