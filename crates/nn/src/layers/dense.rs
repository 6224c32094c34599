//! `Dense`: the fully connected layer.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::kernel_options::{kernel_options, output_options};
use super::options::{config_of, single, yes};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// The fully connected layer: `activation(x · kernel + bias)` along the last axis (Keras' `Dense`).
///
/// `[.., inputs] -> [.., units]`; kernel `[inputs, units]`, bias `[units]`.
///
/// The options of a file for LoRA (Hu et al. 2021, arXiv:2106.09685), `lora_rank` and `lora_alpha`, are kept. Reading the file adds
/// the low-rank product to the kernel, which is trained as a whole here. A kernel of int8 is dequantized when it is read.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = Dense::new(4096).activation(Relu).call(&Input::new([32768]))?;
/// assert_eq!(y.layer().count_params(), 134_221_824);
///
/// let regularized = Dense::new(5)
///     .kernel_initializer(Initializer::he_uniform())
///     .kernel_regularizer(Regularizer::l2(1e-4))
///     .bias_initializer(Initializer::zeros())
///     .bias_regularizer(Regularizer::l1(1e-5))
///     .call(&y)?;
/// assert_eq!(regularized.layer().weights()[0].regularizer(), Some(&Regularizer::l2(1e-4)));
///
/// let without_bias = Dense::new(5).use_bias(false).call(&y)?;
/// assert_eq!(without_bias.layer().weights().len(), 1);
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
    /// Keras writes it only where it is set.
    #[serde(default, with = "regularizer::object", skip_serializing_if = "Option::is_none")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    kernel_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_rank: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<Number>,
    /// The settings of a quantized kernel, which is dequantized when it is read.
    #[serde(default, skip_serializing, rename = "quantization_config")]
    _quantization_config: Value,
}

impl Dense {
    /// A layer with `units` outputs.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            activation: ActivationFn::Linear,
            use_bias: true,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            lora_rank: None,
            lora_alpha: None,
            _quantization_config: Value::Null,
        }
    }
}

kernel_options!(Dense);

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
        Ok(self.kernel_and_bias(vec![features, self.units]))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let mut shape = to.shape(inputs[0]).clone();
        if let Some(last) = shape.last_mut() {
            *last = self.units;
        }
        let y = to.push(Op::Dense, inputs, shape);
        Ok(to.activate(self.activation, y))
    }
}
