//! Activation functions as layers of their own.

use engraft_kernels::Activation as Elementwise;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::activation::ActivationFn;
use crate::layer::{LayerDef, Shape};
use crate::plan::{Lowering, Op, ValueId};
use crate::{Error, Result};

/// Any activation function as a layer (Keras' `Activation`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Activation::new(Relu).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    activation: ActivationFn,
}

impl Activation {
    /// Applies `activation`.
    pub fn new(activation: ActivationFn) -> Self {
        Self { activation }
    }
}

impl LayerDef for Activation {
    fn class_name(&self) -> &'static str {
        "Activation"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(to.activate(self.activation, inputs[0]))
    }
}

/// Keras' `ReLU` layer: `max(x, 0)`, with a ceiling of 6 or a slope below zero.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::ReLU;
/// assert_eq!(ReLU::new().max_value(6.0).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReLU {
    #[serde(default)]
    max_value: Option<f32>,
    #[serde(default)]
    negative_slope: f32,
    #[serde(default)]
    threshold: f32,
}

impl ReLU {
    /// `max(x, 0)`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A ceiling; 6 is the one supported.
    #[must_use]
    pub fn max_value(mut self, max_value: f32) -> Self {
        self.max_value = Some(max_value);
        self
    }

    /// Slope below zero; 0 by default.
    #[must_use]
    pub fn negative_slope(mut self, slope: f32) -> Self {
        self.negative_slope = slope;
        self
    }

    fn kernel(&self) -> Result<Elementwise> {
        match (self.max_value, self.negative_slope, self.threshold) {
            (None, 0.0, 0.0) => Ok(Elementwise::Relu),
            (Some(6.0), 0.0, 0.0) => Ok(Elementwise::Relu6),
            (None, negative_slope, 0.0) => Ok(Elementwise::LeakyRelu { negative_slope }),
            _ => Err(Error::new(
                "options",
                "max_value 6 alone, negative_slope alone, or neither",
                format_args!("{self:?}"),
            )),
        }
    }
}

impl LayerDef for ReLU {
    fn class_name(&self) -> &'static str {
        "ReLU"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.kernel()?;
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Activation(self.kernel()?), inputs, shape))
    }
}

/// Keras' `Softmax` layer, along the last axis.
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(engraft_nn::layers::Softmax::new().call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    #[serde(default = "last")]
    axis: i64,
}

fn last() -> i64 {
    -1
}

impl Softmax {
    /// Along the last axis.
    #[expect(clippy::new_without_default, reason = "the only value there is")]
    pub fn new() -> Self {
        Self { axis: last() }
    }
}

impl LayerDef for Softmax {
    fn class_name(&self) -> &'static str {
        "Softmax"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        if self.axis != -1 && self.axis != shape.len() as i64 {
            return Err(Error::new("axis", "the last axis (-1)", self.axis));
        }
        Ok(shape.clone())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(to.activate(ActivationFn::Softmax, inputs[0]))
    }
}
