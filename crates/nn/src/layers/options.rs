//! Option types that several layers share, with the shape arithmetic of windows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Shape;
use crate::decimals::shorten;
use crate::{Error, Result};

/// A height and a width, from `3` (both) or `[3, 5]`.
///
/// ```
/// use engraft_nn::layers::Size2d;
/// assert_eq!(Size2d::from(3), Size2d::from([3, 3]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Size2d(pub [usize; 2]);

impl From<usize> for Size2d {
    fn from(size: usize) -> Self {
        Self([size, size])
    }
}

impl From<[usize; 2]> for Size2d {
    fn from(size: [usize; 2]) -> Self {
        Self(size)
    }
}

impl<'de> Deserialize<'de> for Size2d {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an integer or two of them")]
        enum Form {
            One(usize),
            Two([usize; 2]),
        }
        let size = match Form::deserialize(d)? {
            Form::One(size) => [size, size],
            Form::Two(sizes) => sizes,
        };
        Ok(Self(size))
    }
}

/// The padding of windows at the edges of an image.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = Conv2D::new(8, 3).padding(Padding::Same).call(&Input::new([5, 5, 3]))?;
/// assert_eq!(y.shape(), &[5, 5, 8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// No padding: windows lie inside the image.
    #[default]
    Valid,
    /// Pads so that the output has the input's size divided by the stride, rounded up. If the number of padded rows (or columns)
    /// is odd, one more is at the bottom (or right).
    Same,
}

/// Largest extent of a dilated window, in pixels. Sums of such sizes can't overflow in kernels.
const MAX_EXTENT: usize = 1 << 40;

impl Padding {
    /// Output size and leading padding (top or left) along one axis, as TensorFlow defines them.
    pub(crate) fn resolve(self, input: usize, window: usize, stride: usize, dilation: usize) -> Result<(usize, usize)> {
        if window == 0 || stride == 0 || dilation == 0 {
            return Err(Error::new("window", "sizes, strides and dilations of at least 1", 0));
        }
        let extent = (window - 1)
            .checked_mul(dilation)
            .and_then(|extent| extent.checked_add(1))
            .filter(|&extent| extent <= MAX_EXTENT)
            .ok_or_else(|| {
                Error::new("window", "a size that doesn't overflow", format_args!("{window} x {dilation}"))
            })?;
        match self {
            Self::Valid if input < extent => {
                Err(Error::new("input", format_args!("at least {extent} pixels for this window"), input)
                    .hint("use larger images, padding `same`, or fewer pooling layers"))
            }
            Self::Valid => Ok(((input - extent) / stride + 1, 0)),
            Self::Same => {
                let output = input.div_ceil(stride);
                let total = ((output.max(1) - 1) * stride + extent).saturating_sub(input);
                Ok((output, total / 2))
            }
        }
    }
}

/// Output size and leading padding along both axes, for a convolution's windows.
pub(crate) fn conv_windows(
    input: [usize; 2],
    kernel: Size2d,
    strides: Size2d,
    dilation: Size2d,
    padding: Padding,
) -> Result<[(usize, usize); 2]> {
    let (Size2d(kernel), Size2d([sh, sw]), Size2d([dh, dw])) = (kernel, strides, dilation);
    if (sh > 1 || sw > 1) && (dh > 1 || dw > 1) {
        let received = format!("{sh}x{sw}");
        return Err(Error::new("strides", "1 where dilation_rate is above 1, as in Keras", received));
    }
    Ok([padding.resolve(input[0], kernel[0], sh, dh)?, padding.resolve(input[1], kernel[1], sw, dw)?])
}

/// Serializes a layer's description as Keras' config.
pub(crate) fn config_of(def: &impl Serialize) -> Map<String, Value> {
    let mut config = serde_json::to_value(def);
    config.iter_mut().for_each(shorten);
    match config {
        Ok(Value::Object(map)) => map,
        other => unreachable!("a description serializes to a JSON object, not {other:?}"),
    }
}

/// The shape of a layer's input; an error unless there is exactly one.
pub(crate) fn single(inputs: &[Shape]) -> Result<&Shape> {
    match inputs {
        [input] => Ok(input),
        several => Err(Error::new("inputs", "one", several.len())),
    }
}

/// The default of boolean options that are true, for `#[serde(default = …)]`.
pub(crate) fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_as_tensorflow() {
        // (input, window, stride, dilation) -> (output, leading padding)
        for ((input, window, stride, dilation), expected) in [
            ((5, 3, 1, 1), (5, 1)),
            ((6, 3, 2, 1), (3, 0)),
            ((7, 3, 2, 1), (4, 1)),
            ((5, 2, 1, 1), (5, 0)),
            ((9, 3, 1, 2), (9, 2)),
            ((4, 1, 3, 1), (2, 0)),
        ] {
            assert_eq!(Padding::Same.resolve(input, window, stride, dilation).unwrap(), expected);
        }
        assert_eq!(Padding::Valid.resolve(7, 3, 2, 1).unwrap(), (3, 0));
        assert!(Padding::Valid.resolve(4, 3, 1, 2).is_err());
    }
}
