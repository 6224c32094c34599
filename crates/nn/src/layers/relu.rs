//! `ReLU`, `LeakyReLU` and `ELU`: rectifiers with options, as layers.

use engraft_ir::Activation as Elementwise;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::activation_layer::rectifier;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// The rectified linear unit, `max(x, 0)` with its default options (Keras' `ReLU`).
///
/// With other options: `min(x, max_value)` where `x >= threshold`, else `negative_slope * (x - threshold)`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let relu6 = ReLU::new().max_value(6.0).call(&Input::new([10]))?;
/// let leaky = ReLU::new().negative_slope(0.1).threshold(0.5).call(&relu6)?;
/// assert_eq!(leaky.shape(), &[10]);
/// assert!(ReLU::new().threshold(-1.0).call(&leaky).is_err());
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
    /// A layer that computes `max(x, 0)`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the largest output, at least 0; unbounded by default.
    #[must_use]
    pub fn max_value(mut self, max_value: f32) -> Self {
        self.max_value = Some(max_value);
        self
    }

    /// Sets the slope below the threshold, at least 0; 0 by default.
    #[must_use]
    pub fn negative_slope(mut self, slope: f32) -> Self {
        self.negative_slope = slope;
        self
    }

    /// Sets the smallest input that passes unchanged, at least 0; 0 by default.
    #[must_use]
    pub fn threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// The simplest element-wise operation that computes this layer.
    fn elementwise(&self) -> Result<Elementwise> {
        // Keras refuses negative options, too.
        let options = [("max_value", self.max_value.unwrap_or(0.0)), ("negative_slope", self.negative_slope)];
        for (option, value) in options.into_iter().chain([("threshold", self.threshold)]) {
            at_least_zero(option, value)?;
        }
        Ok(rectifier(self.max_value, self.negative_slope, self.threshold))
    }
}

fn at_least_zero(option: &str, value: f32) -> Result<()> {
    if value >= 0.0 { Ok(()) } else { Err(Error::new(option, "at least 0", value)) }
}

impl LayerDef for ReLU {
    fn class_name(&self) -> &'static str {
        "ReLU"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.elementwise()?;
        single(inputs).cloned()
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(if self.negative_slope == 0.0 { DType::common(inputs) } else { DType::Float })
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Activation(self.elementwise()?), inputs, shape))
    }
}

/// The leaky rectifier: `x`, or `negative_slope * x` below zero (Keras' `LeakyReLU`; Maas et al. 2013).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(LeakyReLU::new(0.1).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakyReLU {
    /// Slope for negative inputs, which Keras 2 called `alpha`.
    #[serde(default = "default_slope", alias = "alpha")]
    negative_slope: f32,
}

/// Keras' default.
fn default_slope() -> f32 {
    0.3
}

impl LeakyReLU {
    /// A layer with this slope for negative inputs. The slope must be at least 0.
    pub fn new(negative_slope: f32) -> Self {
        Self { negative_slope }
    }
}

impl LayerDef for LeakyReLU {
    fn class_name(&self) -> &'static str {
        "LeakyReLU"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        at_least_zero("negative_slope", self.negative_slope)?;
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Activation(Elementwise::LeakyRelu { negative_slope: self.negative_slope }), inputs, shape))
    }
}

/// The exponential linear unit: `x`, or `alpha * (e^x - 1)` below zero (Keras' `ELU`; Clevert et al. 2016).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(ELU::new(1.0).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ELU {
    #[serde(default = "default_alpha")]
    alpha: f32,
}

/// Keras' default.
fn default_alpha() -> f32 {
    1.0
}

impl ELU {
    /// A layer whose output tends to `-alpha` where the input tends to minus infinity.
    pub fn new(alpha: f32) -> Self {
        Self { alpha }
    }
}

impl LayerDef for ELU {
    fn class_name(&self) -> &'static str {
        "ELU"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Activation(Elementwise::Elu { alpha: self.alpha }), inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_operation() {
        assert_eq!(ReLU::new().elementwise().unwrap(), Elementwise::Relu);
        assert_eq!(ReLU::new().max_value(6.0).elementwise().unwrap(), Elementwise::Relu6);
        let leaky = ReLU::new().negative_slope(0.1).elementwise().unwrap();
        assert_eq!(leaky, Elementwise::LeakyRelu { negative_slope: 0.1 });
        let (max_value, negative_slope, threshold) = (f32::INFINITY, 0.0, 0.5);
        let thresholded = ReLU::new().threshold(0.5).elementwise().unwrap();
        assert_eq!(thresholded, Elementwise::ThresholdedRelu { max_value, negative_slope, threshold });
    }

    #[test]
    fn options_below_zero_are_refused_by_name() {
        for (layer, option) in [
            (ReLU::new().max_value(-1.0), "max_value"),
            (ReLU::new().negative_slope(-1.0), "negative_slope"),
            (ReLU::new().threshold(-1.0), "threshold"),
        ] {
            let error = layer.output_shape(&[vec![3]]).unwrap_err().to_string();
            assert_eq!(error, format!("{option}: expected at least 0, received -1"));
        }
    }
}
