//! The settings of `Model::compile`: optimizer with its learning rate and state, loss and metrics.

mod learning_rate;
mod loss;
mod lr_schedule;
mod metric;
mod optimizer;
mod optimizer_state;

pub use learning_rate::LearningRate;
pub use loss::{Loss, LossKind, OutputActivation};
pub use lr_schedule::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRateSchedule, PiecewiseConstantDecay,
    PolynomialDecay,
};
pub use metric::{Metric, MetricState};
pub use optimizer::{Adam, Optimizer, RmsProp, Sgd};
pub use optimizer_state::{OptimizerState, Slots};

use crate::{Error, ErrorKind, Model, Result};

/// The settings of [`Model::compile`] and the optimizer's state.
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
    /// The optimizer, which updates the weights.
    pub optimizer: Optimizer,
    /// The loss, which training minimizes.
    pub loss: Loss,
    /// Metrics that training and evaluation report besides the loss.
    pub metrics: Vec<Metric>,
    /// A handle to the optimizer's state, shared with clones of this value.
    pub state: OptimizerState,
}

impl Model {
    /// Sets optimizer, loss and metrics, and resets the optimizer's state (Keras' `compile`).
    ///
    /// Layers can be frozen and unfrozen later without another `compile`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    /// assert_eq!(model.compiled_or_error()?.loss.name(), "categorical_crossentropy");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Invalid options of the optimizer, such as a negative learning rate, or a loss that doesn't fit the model's output.
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

    /// The settings of `compile`, as [`compiled`](Self::compiled) returns them; an error if the model isn't compiled.
    ///
    /// ```
    /// use engraft_nn::ErrorKind;
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert_eq!(model.compiled_or_error().unwrap_err().kind(), ErrorKind::InvalidState);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// `compile` wasn't called.
    pub fn compiled_or_error(&self) -> Result<Compiled> {
        self.compiled().ok_or_else(|| {
            Error::because(format_args!("model `{}`", self.name()), "not compiled")
                .with_kind(ErrorKind::InvalidState)
                .hint("call compile first")
        })
    }
}
