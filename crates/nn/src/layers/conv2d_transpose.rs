//! `Conv2DTranspose`: the transpose of a convolution, which enlarges images.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::depthwise_conv2d::One;
use super::kernel_options::{kernel_options, output_options};
use super::options::{Padding, Size2d, config_of, yes};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Transposed 2D convolution, also called deconvolution (Keras' `Conv2DTranspose`; Zeiler et al. 2010).
///
/// It computes the gradient of a convolution with respect to its input. `[h, w, c] -> [h', w', filters]`; kernel
/// `[kh, kw, filters, c]`, bias `[filters]`. With padding `same`, the output has `strides` times the input's height and width.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = Conv2DTranspose::new(8, 3).strides(2).padding(Padding::Same).activation(Relu).call(&Input::new([5, 6, 4]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![10, 12, 8], 3 * 3 * 8 * 4 + 8));
///
/// // Without padding, windows reach over the edges.
/// assert_eq!(Conv2DTranspose::new(8, 3).strides(2).call(&y)?.shape(), &[21, 25, 8]);
/// let odd = Conv2DTranspose::new(8, 3).strides(2).padding(Padding::Same).output_padding(0).call(&y)?;
/// assert_eq!(odd.shape(), &[19, 23, 8]);
/// assert!(Conv2DTranspose::new(8, 3).strides(2).dilation_rate(2).call(&y).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2DTranspose {
    filters: usize,
    kernel_size: Size2d,
    #[serde(default = "one")]
    strides: Size2d,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    output_padding: Option<Size2d>,
    #[serde(default)]
    data_format: DataFormat,
    #[serde(default = "one")]
    dilation_rate: Size2d,
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
    /// An option of `Conv2D` that Keras 2 also wrote here, always as 1. It has no effect.
    #[serde(default, skip_serializing, rename = "groups")]
    _groups: One,
}

fn one() -> Size2d {
    Size2d::from(1)
}

impl Conv2DTranspose {
    /// A transposed convolution with `filters` output channels and windows of `kernel_size` pixels (`3` or `[3, 5]`).
    pub fn new(filters: usize, kernel_size: impl Into<Size2d>) -> Self {
        Self {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            output_padding: None,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: one(),
            activation: ActivationFn::Linear,
            use_bias: true,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            _groups: One,
        }
    }

    /// Sets the distance between the windows of the output, in pixels; 1 by default.
    #[must_use]
    pub fn strides(mut self, strides: impl Into<Size2d>) -> Self {
        self.strides = strides.into();
        self
    }

    /// Sets the padding of the convolution that is transposed; [`Padding::Valid`] by default.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the number of rows and columns that are added at the bottom and right, below `strides`. By default, `same` gives
    /// `strides` times the input's size, and `valid` whatever the windows cover.
    #[must_use]
    pub fn output_padding(mut self, padding: impl Into<Size2d>) -> Self {
        self.output_padding = Some(padding.into());
        self
    }

    /// Sets the distance between the taps of a window, in pixels; 1 by default.
    #[must_use]
    pub fn dilation_rate(mut self, rate: impl Into<Size2d>) -> Self {
        self.dilation_rate = rate.into();
        self
    }

    /// Output size and leading padding of the transposed convolution along both axes, for images of this size.
    fn windows(&self, input: [usize; 2]) -> Result<[(usize, usize); 2]> {
        let (Size2d(kernel), Size2d(strides), Size2d(dilation)) = (self.kernel_size, self.strides, self.dilation_rate);
        if strides.iter().any(|&stride| stride > 1) && dilation.iter().any(|&rate| rate > 1) {
            let received = format!("{}x{}", strides[0], strides[1]);
            return Err(Error::new("strides", "1 where dilation_rate is above 1, as in Keras", received));
        }
        let axis = |axis: usize| {
            let added = self.output_padding.map(|Size2d(added)| added[axis]);
            transposed_window(self.padding, input[axis], kernel[axis], strides[axis], dilation[axis], added)
        };
        Ok([axis(0)?, axis(1)?])
    }
}

/// Output size along one axis, and the leading padding of the convolution that is transposed.
///
/// `added` is Keras' `output_padding`: without it, `same` gives `input * stride` and `valid` at least `stride` for each window.
fn transposed_window(
    padding: Padding,
    input: usize,
    window: usize,
    stride: usize,
    dilation: usize,
    added: Option<usize>,
) -> Result<(usize, usize)> {
    if let Some(added) = added.filter(|&added| added >= stride) {
        return Err(Error::new("output_padding", format_args!("less than strides ({stride})"), added));
    }
    // The checks of sizes are those of a convolution.
    let (_, _) = Padding::Same.resolve(input, window, stride, dilation)?;
    let extent = (window - 1) * dilation + 1;
    let before_last = input.saturating_sub(1).checked_mul(stride);
    let output = match (padding, added) {
        (Padding::Valid, None) => before_last.and_then(|size| size.checked_add(extent.max(stride))),
        (Padding::Valid, Some(added)) => before_last.and_then(|size| size.checked_add(extent + added)),
        (Padding::Same, None) => input.checked_mul(stride),
        (Padding::Same, Some(added)) => before_last.and_then(|size| size.checked_add(extent % 2 + added)),
    };
    let output = output.filter(|&output| output > 0 && input > 0);
    let Some(output) = output else {
        return Err(Error::new("input", "at least one pixel, and an output whose size can be counted", input));
    };
    let (windows, lead) = padding.resolve(output, window, stride, dilation)?;
    if windows != input {
        let received = format!("{output} for {input} windows of {extent} pixels");
        return Err(Error::new(
            "output_padding",
            "an output size that the convolution takes back to the input's",
            received,
        )
        .hint("TensorFlow refuses this combination of kernel_size, strides and output_padding, too"));
    }
    Ok((output, lead))
}

kernel_options!(Conv2DTranspose);

impl LayerDef for Conv2DTranspose {
    fn class_name(&self) -> &'static str {
        "Conv2DTranspose"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [height, width, _] = self.data_format.image(inputs)?;
        if self.filters == 0 {
            return Err(Error::new("filters", "at least 1", 0));
        }
        let [(out_h, _), (out_w, _)] = self.windows([height, width])?;
        Ok(self.data_format.shape([out_h, out_w, self.filters]))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [_, _, channels] = self.data_format.image(inputs)?;
        let Size2d([kh, kw]) = self.kernel_size;
        let mut weights = self.kernel_and_bias(vec![kh, kw, self.filters, channels]);
        // The last axis of the kernel counts the input's channels.
        weights.iter_mut().skip(1).for_each(|bias| bias.shape = vec![self.filters]);
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let y = self.data_format.lower(to, inputs[0], |to, input, [height, width, _]| {
            let [(out_h, top), (out_w, left)] = self.windows([height, width])?;
            let op = Op::Conv2dTranspose {
                kernel: self.kernel_size.0,
                stride: self.strides.0,
                dilation: self.dilation_rate.0,
                pad: [top, left],
            };
            Ok(to.push(op, &[input], vec![out_h, out_w, self.filters]))
        })?;
        Ok(to.activate(self.activation, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_tensorflow() {
        // (padding, input, window, stride, output_padding) -> (output, leading padding of the convolution)
        for ((padding, input, window, stride, added), expected) in [
            ((Padding::Same, 5, 3, 2, None), (10, 0)),
            ((Padding::Same, 5, 4, 2, None), (10, 1)),
            ((Padding::Same, 5, 3, 2, Some(0)), (9, 1)),
            ((Padding::Same, 5, 3, 2, Some(1)), (10, 0)),
            ((Padding::Same, 5, 2, 3, None), (15, 0)),
            ((Padding::Valid, 5, 3, 2, None), (11, 0)),
            ((Padding::Valid, 5, 2, 3, None), (15, 0)),
            ((Padding::Valid, 5, 3, 2, Some(1)), (12, 0)),
        ] {
            let found = transposed_window(padding, input, window, stride, 1, added).unwrap();
            assert_eq!(found, expected, "{padding:?} {input} {window} {stride} {added:?}");
        }
        assert!(transposed_window(Padding::Same, 5, 2, 2, 1, Some(0)).is_err(), "8 pixels have 4 windows, not 5");
        assert!(transposed_window(Padding::Same, 5, 3, 2, 1, Some(2)).is_err());
    }
}
