//! `SeparableConv2D`: a depthwise convolution followed by a pointwise (1x1) convolution.

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

/// A depthwise convolution followed by a pointwise (1x1) convolution (Keras' `SeparableConv2D`).
///
/// Source: Chollet 2017, arXiv:1610.02357.
///
/// `[h, w, c] -> [h', w', filters]`; depthwise kernel `[kh, kw, c, depth_multiplier]`, pointwise kernel
/// `[1, 1, c * depth_multiplier, filters]`, bias `[filters]`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = SeparableConv2D::new(8, 3).padding(Padding::Same).activation(Relu).call(&Input::new([32, 32, 3]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![32, 32, 8], 3 * 3 * 3 + 3 * 8 + 8));
///
/// let wide = SeparableConv2D::new(16, 3).depth_multiplier(2).strides(2).use_bias(false).call(&y)?;
/// assert_eq!((wide.shape(), wide.layer().count_params()), (&vec![15, 15, 16], 3 * 3 * 8 * 2 + 16 * 16));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparableConv2D {
    filters: usize,
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
    #[serde(default = "initializer::kernel_default", with = "initializer::object")]
    pointwise_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    bias_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    depthwise_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    pointwise_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    bias_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    depthwise_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    pointwise_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
}

fn one() -> Size2d {
    Size2d::from(1)
}

fn one_output() -> usize {
    1
}

impl SeparableConv2D {
    /// A layer with `filters` output channels and windows of `kernel_size` pixels (`3` or `[3, 5]`).
    pub fn new(filters: usize, kernel_size: impl Into<Size2d>) -> Self {
        Self {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            depth_multiplier: 1,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: one(),
            activation: ActivationFn::Linear,
            use_bias: true,
            depthwise_initializer: Initializer::glorot_uniform(),
            pointwise_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            depthwise_regularizer: None,
            pointwise_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            depthwise_constraint: None,
            pointwise_constraint: None,
            bias_constraint: None,
        }
    }

    /// Sets the number of channels that the depthwise convolution computes per input channel; 1 by default.
    #[must_use]
    pub fn depth_multiplier(mut self, outputs: usize) -> Self {
        self.depth_multiplier = outputs;
        self
    }

    /// Number of channels between the two convolutions.
    fn depthwise_channels(&self, channels: usize) -> Result<usize> {
        if self.depth_multiplier == 0 || self.filters == 0 {
            let received = format!("{} and {}", self.filters, self.depth_multiplier);
            return Err(Error::new("filters and depth_multiplier", "at least 1", received));
        }
        channels
            .checked_mul(self.depth_multiplier)
            .ok_or_else(|| Error::new("depth_multiplier", "a product that doesn't overflow", self.depth_multiplier))
    }
}

window_options!(SeparableConv2D);
output_options!(SeparableConv2D);

impl LayerDef for SeparableConv2D {
    fn class_name(&self) -> &'static str {
        "SeparableConv2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [height, width, channels] = self.data_format.image(inputs)?;
        self.depthwise_channels(channels)?;
        let [(out_h, _), (out_w, _)] = self.windows(height, width)?;
        Ok(self.data_format.shape([out_h, out_w, self.filters]))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [_, _, channels] = self.data_format.image(inputs)?;
        let Size2d([kh, kw]) = self.kernel_size;
        type Options<'a> = (&'a Initializer, &'a Option<Regularizer>, &'a Option<Constraint>);
        let spec = |name: &'static str, shape, (initializer, regularizer, constraint): Options<'_>| WeightSpec {
            name: name.into(),
            shape,
            initializer: initializer.clone(),
            trainable: true,
            regularizer: regularizer.clone(),
            constraint: constraint.clone(),
        };
        let of_depthwise = (&self.depthwise_initializer, &self.depthwise_regularizer, &self.depthwise_constraint);
        let of_pointwise = (&self.pointwise_initializer, &self.pointwise_regularizer, &self.pointwise_constraint);
        let depthwise = vec![kh, kw, channels, self.depth_multiplier];
        let pointwise = vec![1, 1, self.depthwise_channels(channels)?, self.filters];
        let mut weights =
            vec![spec("depthwise_kernel", depthwise, of_depthwise), spec("pointwise_kernel", pointwise, of_pointwise)];
        if self.use_bias {
            let of_bias = (&self.bias_initializer, &self.bias_regularizer, &self.bias_constraint);
            weights.push(spec("bias", vec![self.filters], of_bias));
        }
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let y = self.data_format.lower(to, inputs[0], |to, input, [height, width, channels]| {
            let [(out_h, top), (out_w, left)] = self.windows(height, width)?;
            let depthwise = Op::Conv2d {
                kernel: self.kernel_size.0,
                stride: self.strides.0,
                dilation: self.dilation_rate.0,
                pad: [top, left],
                groups: channels,
                pool: None,
            };
            let pointwise =
                Op::Conv2d { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1, pool: None };
            let hidden_shape = vec![out_h, out_w, self.depthwise_channels(channels)?];
            let hidden = to.push_with(depthwise, &[input], hidden_shape, 0..1);
            let kernel_and_bias = 1..to.own_weights().len();
            Ok(to.push_with(pointwise, &[hidden], vec![out_h, out_w, self.filters], kernel_and_bias))
        })?;
        Ok(to.activate(self.activation, y))
    }
}
