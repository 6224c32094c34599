//! What `compile` sets: optimizer, loss and metrics.

mod learning_rate;
mod loss;
mod lr_schedule;
mod metric;
mod optimizer;
mod optimizer_state;

pub use learning_rate::LearningRate;
pub use loss::{Head, Loss, LossKind};
pub use lr_schedule::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRateSchedule, PiecewiseConstantDecay,
    PolynomialDecay,
};
pub use metric::{Metric, MetricState};
pub use optimizer::{Adam, Optimizer, RmsProp, Sgd};
pub use optimizer_state::{OptimizerState, Slots};

use crate::{Error, ErrorKind, Model, Result};

/// How a model is trained, and how far it has come.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
/// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// let compiled = model.compiled_or_error()?;
/// assert_eq!(compiled.optimizer, Optimizer::from(Adam::new(1e-4)));
/// assert_eq!(compiled.metrics, [Metric::Accuracy]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How updates are made.
    pub optimizer: Optimizer,
    /// What is minimised.
    pub loss: Loss,
    /// What else is measured.
    pub metrics: Vec<Metric>,
    /// The optimizer's state: a handle that a copy of this shares.
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
    ///
    /// # Errors
    /// Options that no training can have, or a loss that doesn't fit the model's output.
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
        self.set_compiled(Some(Compiled { optimizer, loss, metrics, state: OptimizerState::default() }));
        Ok(())
    }

    /// What `compile` set.
    ///
    /// # Errors
    /// The model isn't compiled.
    pub fn compiled_or_error(&self) -> Result<Compiled> {
        self.compiled().ok_or_else(|| {
            Error::because(format_args!("model `{}`", self.name()), "not compiled")
                .with_kind(ErrorKind::InvalidState)
                .hint("call compile first")
        })
    }
}
