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

use std::sync::Arc;

use serde_json::Value;

use crate::{Error, ErrorKind, Model, Result};

/// The settings of [`Model::compile`] and the optimizer's state.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
/// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// let compiled = model.compiled_or_error()?;
/// assert_eq!(compiled.optimizer, Some(Optimizer::from(Adam::new(1e-4))));
/// assert_eq!(compiled.metrics, [Metric::Accuracy]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The optimizer, which updates the weights. `None` if a file names one that isn't known here.
    pub optimizer: Option<Optimizer>,
    /// The loss, which training minimizes. `None` if a file names none, or one that isn't known here.
    pub loss: Option<Loss>,
    /// Metrics that training and evaluation report besides the loss.
    pub metrics: Vec<Metric>,
    /// A handle to the optimizer's state, shared with clones of this value.
    pub state: OptimizerState,
    /// What a file names that isn't known here. It is written back as it is.
    pub unknown: Arc<UnknownParts>,
}

/// The parts of Keras' `compile_config` that aren't known here, in Keras' serialized form.
///
/// ```
/// use engraft_nn::UnknownParts;
/// let parts = UnknownParts { optimizer: Some("lion".into()), ..UnknownParts::default() };
/// assert!(parts.loss.is_none() && parts.metrics.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnknownParts {
    /// The optimizer.
    pub optimizer: Option<Value>,
    /// The loss.
    pub loss: Option<Value>,
    /// Those of the metrics that aren't known.
    pub metrics: Vec<Value>,
}

impl UnknownParts {
    /// Whether the loss is one that Keras has for numbers that are no probabilities of classes, such as the mean squared error.
    ///
    /// ```
    /// use engraft_nn::UnknownParts;
    /// let parts = |loss: &str| UnknownParts { loss: Some(loss.into()), ..UnknownParts::default() };
    /// assert!(parts("mse").has_regression_loss() && !parts("my_loss").has_regression_loss());
    /// ```
    pub fn has_regression_loss(&self) -> bool {
        REGRESSION_LOSSES.contains(&self.loss_name().as_str())
    }

    /// Whether the loss treats each output as a binary classification of its own, as Keras' `BinaryFocalCrossentropy` does.
    ///
    /// ```
    /// use engraft_nn::UnknownParts;
    /// let parts = UnknownParts { loss: Some("binary_focal_crossentropy".into()), ..UnknownParts::default() };
    /// assert!(parts.has_binary_loss() && !UnknownParts::default().has_binary_loss());
    /// ```
    pub fn has_binary_loss(&self) -> bool {
        self.loss_name() == "binaryfocalcrossentropy"
    }

    /// The name of the loss in lower case and without `_`, which is the same for Keras' function and its class.
    fn loss_name(&self) -> String {
        self.loss.as_ref().map(shown).unwrap_or_default().to_lowercase().replace('_', "")
    }
}

/// Names of Keras' losses for regression, and for scores that no activation makes probabilities of.
const REGRESSION_LOSSES: &[&str] = &[
    "categoricalhinge",
    "circle",
    "cosinesimilarity",
    "hinge",
    "huber",
    "logcosh",
    "mae",
    "mape",
    "meanabsoluteerror",
    "meanabsolutepercentageerror",
    "meansquarederror",
    "meansquaredlogarithmicerror",
    "mse",
    "msle",
    "poisson",
    "squaredhinge",
];

impl Compiled {
    /// The optimizer; an error if there is none.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [])?;
    /// let mut compiled = model.compiled_or_error()?;
    /// assert_eq!(compiled.optimizer_or_error()?.slots(), 2);
    /// compiled.optimizer = None;
    /// assert!(compiled.optimizer_or_error().is_err());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no optimizer, as that of the model's file isn't known here.
    pub fn optimizer_or_error(&self) -> Result<&Optimizer> {
        self.optimizer.as_ref().ok_or_else(|| missing("optimizer", self.unknown.optimizer.as_ref()))
    }

    /// The loss; an error if there is none.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [])?;
    /// assert_eq!(model.compiled_or_error()?.loss_or_error()?, Loss::categorical_crossentropy());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no loss: the model's file has none, or one that isn't known here.
    pub fn loss_or_error(&self) -> Result<Loss> {
        self.loss.ok_or_else(|| missing("loss", self.unknown.loss.as_ref()))
    }
}

fn missing(part: &'static str, unknown: Option<&Value>) -> Error {
    let problem = match unknown {
        Some(unknown) => format!("that of the model's file isn't known here: {}", shown(unknown)),
        None => "the model was compiled without one".to_owned(),
    };
    Error::because(part, problem).with_kind(ErrorKind::InvalidState).hint("call compile first")
}

/// The name of a serialized object, or the value itself if it is none.
fn shown(object: &Value) -> String {
    let name = object.get("registered_name").and_then(Value::as_str).or_else(|| object.get("class_name")?.as_str());
    name.or_else(|| object.as_str()).map_or_else(|| object.to_string(), str::to_owned)
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
    /// assert_eq!(model.compiled_or_error()?.loss_or_error()?.name(), "categorical_crossentropy");
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
        let (optimizer, loss, state) = (Some(optimizer), Some(loss), OptimizerState::default());
        self.set_compiled(Some(Compiled { optimizer, loss, metrics, state, unknown: Arc::default() }));
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
