//! `Conv2D`: 2D convolution of images.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::data_format::DataFormat;
use super::kernel_options::{kernel_options, output_options, window_options};
use super::options::{Padding, Size2d, config_of, yes};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// 2D convolution (Keras' `Conv2D`).
///
/// `[h, w, c] -> [h', w', filters]`; kernel `[kh, kw, c / groups, filters]`, bias `[filters]`.
///
/// The options of a file for LoRA, `lora_rank` and `lora_alpha`, are kept as those of [`Dense`](super::Dense).
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).call(&Input::new([32, 32, 3]))?;
/// assert_eq!(y.shape(), &[32, 32, 64]);
///
/// // Dilated: 3 taps that are 2 pixels apart cover 5 pixels.
/// let context = Conv2D::new(64, 3).dilation_rate(2).call(&y)?;
/// assert_eq!(context.shape(), &[28, 28, 64]);
///
/// // Grouped, as in ResNeXt: each of 4 groups connects 16 channels with 8 filters.
/// let grouped = Conv2D::new(32, 3)
///     .groups(4)
///     .strides(2)
///     .use_bias(false)
///     .kernel_initializer(Initializer::he_normal())
///     .kernel_regularizer(Regularizer::l2(1e-4))
///     .call(&y)?;
/// assert_eq!(grouped.layer().count_params(), 3 * 3 * 16 * 32);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2D {
    filters: usize,
    kernel_size: Size2d,
    #[serde(default = "one")]
    strides: Size2d,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    data_format: DataFormat,
    #[serde(default = "one")]
    dilation_rate: Size2d,
    #[serde(default = "one_group")]
    groups: usize,
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
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    kernel_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_rank: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<Number>,
}

fn one() -> Size2d {
    Size2d::from(1)
}

fn one_group() -> usize {
    1
}

impl Conv2D {
    /// A convolution with `filters` output channels and windows of `kernel_size` pixels (`3` or `[3, 5]`).
    pub fn new(filters: usize, kernel_size: impl Into<Size2d>) -> Self {
        Self {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: one(),
            groups: 1,
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
        }
    }

    /// Sets the distance between the taps of a window, in pixels; 1 by default.
    #[must_use]
    pub fn dilation_rate(mut self, rate: impl Into<Size2d>) -> Self {
        self.dilation_rate = rate.into();
        self
    }

    /// Sets the number of groups of channels that are convolved separately; 1 by default.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

window_options!(Conv2D);
kernel_options!(Conv2D);

impl LayerDef for Conv2D {
    fn class_name(&self) -> &'static str {
        "Conv2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [height, width, channels] = self.data_format.image(inputs)?;
        if self.filters == 0
            || self.groups == 0
            || !self.filters.is_multiple_of(self.groups)
            || !channels.is_multiple_of(self.groups)
        {
            return Err(Error::new(
                "groups",
                format_args!("a divisor of both {channels} channels and {} filters", self.filters),
                self.groups,
            ));
        }
        let [(out_h, _), (out_w, _)] = self.windows(height, width)?;
        Ok(self.data_format.shape([out_h, out_w, self.filters]))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [_, _, channels] = self.data_format.image(inputs)?;
        let Size2d([kh, kw]) = self.kernel_size;
        Ok(self.kernel_and_bias(vec![kh, kw, channels / self.groups, self.filters]))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let y = self.data_format.lower(to, inputs[0], |to, input, [height, width, _]| {
            let [(out_h, top), (out_w, left)] = self.windows(height, width)?;
            let op = Op::Conv2d {
                kernel: self.kernel_size.0,
                stride: self.strides.0,
                dilation: self.dilation_rate.0,
                pad: [top, left],
                groups: self.groups,
                pool: None,
            };
            Ok(to.push(op, &[input], vec![out_h, out_w, self.filters]))
        })?;
        Ok(to.activate(self.activation, y))
    }
}
