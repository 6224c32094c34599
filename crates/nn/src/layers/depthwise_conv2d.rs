//! `DepthwiseConv2D`: convolution of each channel by itself.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::kernel_options::{output_options, window_options};
use super::options::{Padding, Size2d, config_of, yes};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Convolves every channel with kernels of its own (Keras' `DepthwiseConv2D`; Howard et al. 2017, arXiv:1704.04861).
///
/// `[h, w, c] -> [h', w', c * depth_multiplier]`; kernel `[kh, kw, c, depth_multiplier]`, bias `[c * depth_multiplier]`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = DepthwiseConv2D::new(3).strides(2).padding(Padding::Same).call(&Input::new([32, 32, 24]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![16, 16, 24], 3 * 3 * 24 + 24));
///
/// let wide = DepthwiseConv2D::new(3).depth_multiplier(2).dilation_rate(2).activation(Relu).use_bias(false).call(&y)?;
/// assert_eq!(wide.shape(), &[12, 12, 48]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseConv2D {
    kernel_size: Size2d,
    #[serde(default = "one")]
    strides: Size2d,
    #[serde(default)]
    padding: Padding,
    #[serde(default = "one_output")]
    depth_multiplier: usize,
    #[serde(default)]
    data_format: DataFormat,
    #[serde(default = "one")]
    dilation_rate: Size2d,
    #[serde(default)]
    activation: ActivationFn,
    #[serde(default = "yes")]
    use_bias: bool,
    #[serde(default = "initializer::kernel_default", with = "initializer::object")]
    depthwise_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    bias_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    depthwise_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    bias_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    depthwise_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
    /// An option of `Conv2D` that Keras 2 also wrote here, always as 1. It has no effect.
    #[serde(default, skip_serializing, rename = "groups")]
    _groups: One,
}

/// An option that must be 1 or absent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct One;

impl TryFrom<u64> for One {
    type Error = String;

    fn try_from(number: u64) -> std::result::Result<Self, String> {
        if number == 1 { Ok(Self) } else { Err(format!("groups: expected 1, received {number}")) }
    }
}

fn one() -> Size2d {
    Size2d::from(1)
}

fn one_output() -> usize {
    1
}

impl DepthwiseConv2D {
    /// A convolution with windows of `kernel_size` pixels (`3` or `[3, 5]`) and one kernel per channel.
    pub fn new(kernel_size: impl Into<Size2d>) -> Self {
        Self {
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            depth_multiplier: 1,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: one(),
            activation: ActivationFn::Linear,
            use_bias: true,
            depthwise_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            depthwise_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            depthwise_constraint: None,
            bias_constraint: None,
            _groups: One,
        }
    }

    /// Sets the number of output channels per input channel; 1 by default.
    #[must_use]
    pub fn depth_multiplier(mut self, outputs: usize) -> Self {
        self.depth_multiplier = outputs;
        self
    }

    /// Sets the distance between the taps of a window, in pixels; 1 by default.
    #[must_use]
    pub fn dilation_rate(mut self, rate: impl Into<Size2d>) -> Self {
        self.dilation_rate = rate.into();
        self
    }

    /// Sets the initializer of the kernel; Glorot uniform by default.
    #[must_use]
    pub fn depthwise_initializer(mut self, initializer: Initializer) -> Self {
        self.depthwise_initializer = initializer;
        self
    }

    fn outputs(&self, channels: usize) -> Result<usize> {
        if self.depth_multiplier == 0 {
            return Err(Error::new("depth_multiplier", "at least 1", 0));
        }
        channels
            .checked_mul(self.depth_multiplier)
            .ok_or_else(|| Error::new("depth_multiplier", "a product that doesn't overflow", self.depth_multiplier))
    }
}

window_options!(DepthwiseConv2D);
output_options!(DepthwiseConv2D);

impl LayerDef for DepthwiseConv2D {
    fn class_name(&self) -> &'static str {
        "DepthwiseConv2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [height, width, channels] = self.data_format.image(inputs)?;
        let [(out_h, _), (out_w, _)] = self.windows(height, width)?;
        Ok(self.data_format.shape([out_h, out_w, self.outputs(channels)?]))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [_, _, channels] = self.data_format.image(inputs)?;
        let Size2d([kh, kw]) = self.kernel_size;
        let mut weights = vec![WeightSpec {
            name: "kernel".into(),
            shape: vec![kh, kw, channels, self.depth_multiplier],
            initializer: self.depthwise_initializer.clone(),
            trainable: true,
            regularizer: self.depthwise_regularizer.clone(),
            constraint: self.depthwise_constraint.clone(),
        }];
        if self.use_bias {
            weights.push(WeightSpec {
                name: "bias".into(),
                shape: vec![self.outputs(channels)?],
                initializer: self.bias_initializer.clone(),
                trainable: true,
                regularizer: self.bias_regularizer.clone(),
                constraint: self.bias_constraint.clone(),
            });
        }
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let y = self.data_format.lower(to, inputs[0], |to, input, [height, width, channels]| {
            let [(out_h, top), (out_w, left)] = self.windows(height, width)?;
            // One group per channel: `[kh, kw, c, m]` has the memory layout of a grouped kernel `[kh, kw, 1, c * m]`.
            let op = Op::Conv2d {
                kernel: self.kernel_size.0,
                stride: self.strides.0,
                dilation: self.dilation_rate.0,
                pad: [top, left],
                groups: channels,
                pool: None,
            };
            Ok(to.push(op, &[input], vec![out_h, out_w, self.outputs(channels)?]))
        })?;
        Ok(to.activate(self.activation, y))
    }
}
