//! Dense: every input to every unit.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single, yes};
use crate::activation::ActivationFn;
use crate::keras_object::Unset;
use crate::layer::{LayerDef, Shape};
use crate::plan::{Lowering, Op, ValueId};
use crate::weight::WeightSpec;
use crate::{Error, Initializer, Regularizer, Result, initializer, regularizer};

/// `activation(x · kernel + bias)` along the last axis (Keras' `Dense`).
///
/// `[.., inputs] -> [.., units]`; kernel `[inputs, units]`, bias `[units]`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = Dense::new(4096).activation(Relu).call(&Input::new([32768]))?;
/// assert_eq!(y.layer().count_params(), 134_221_824);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    units: usize,
    #[serde(default)]
    activation: ActivationFn,
    #[serde(default = "yes")]
    use_bias: bool,
    #[serde(default = "initializer::kernel_default", with = "initializer::object")]
    kernel_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    bias_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    kernel_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    bias_regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing, rename = "activity_regularizer")]
    _activity_regularizer: Unset,
    #[serde(default)]
    kernel_constraint: Unset,
    #[serde(default)]
    bias_constraint: Unset,
    #[serde(default, skip_serializing, rename = "lora_rank")]
    _lora_rank: Unset,
    #[serde(default, skip_serializing, rename = "quantization_config")]
    _quantization_config: Unset,
}

impl Dense {
    /// `units` outputs.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            activation: ActivationFn::Linear,
            use_bias: true,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            _activity_regularizer: Unset,
            kernel_constraint: Unset,
            bias_constraint: Unset,
            _lora_rank: Unset,
            _quantization_config: Unset,
        }
    }

    /// Applied to the result; linear by default.
    #[must_use]
    pub fn activation(mut self, activation: ActivationFn) -> Self {
        self.activation = activation;
        self
    }

    /// Whether a bias is added; true by default.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Self {
        self.use_bias = use_bias;
        self
    }

    /// First values of the kernel; Glorot uniform by default.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
        self.kernel_initializer = initializer;
        self
    }

    /// First values of the bias; zeros by default.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
        self.bias_initializer = initializer;
        self
    }

    /// Penalty on the kernel; none by default.
    #[must_use]
    pub fn kernel_regularizer(mut self, regularizer: Regularizer) -> Self {
        self.kernel_regularizer = Some(regularizer);
        self
    }

    /// Penalty on the bias; none by default.
    #[must_use]
    pub fn bias_regularizer(mut self, regularizer: Regularizer) -> Self {
        self.bias_regularizer = Some(regularizer);
        self
    }
}

impl LayerDef for Dense {
    fn class_name(&self) -> &'static str {
        "Dense"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let mut shape = single(inputs)?.clone();
        if self.units == 0 {
            return Err(Error::new("units", "at least 1", 0));
        }
        match shape.last_mut() {
            Some(last) => *last = self.units,
            None => return Err(Error::new("input", "at least one axis besides the batch", "[]")),
        }
        Ok(shape)
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let features = single(inputs)?.last().copied().unwrap_or(0);
        let kernel = WeightSpec {
            name: "kernel",
            shape: vec![features, self.units],
            initializer: self.kernel_initializer.clone(),
            trainable: true,
            regularizer: self.kernel_regularizer,
        };
        let bias = self.use_bias.then(|| WeightSpec {
            name: "bias",
            shape: vec![self.units],
            initializer: self.bias_initializer.clone(),
            trainable: true,
            regularizer: self.bias_regularizer,
        });
        Ok(std::iter::once(kernel).chain(bias).collect())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let mut shape = to.shape(inputs[0]).clone();
        if let Some(last) = shape.last_mut() {
            *last = self.units;
        }
        let y = to.push(Op::Dense, inputs, shape);
        Ok(to.activate(self.activation, y))
    }
}
