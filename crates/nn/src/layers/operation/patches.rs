//! `keras.ops.image.extract_patches`: the blocks of pixels of images, one beside the other.

use engraft_ir::Op;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::expression::{Expression, Operand};
use super::axes::Counts;
use super::image::ChannelsLast;
use super::options;
use super::rearrange::{of_tensor, padded};
use crate::layer_def::LayerDef;
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Padding {
    Valid,
    Same,
}

/// `extract_patches(images, size, strides)`: `[h, w, c] -> [rows, columns, size · size · c]`.
pub(super) fn extract_patches(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        size: Counts,
        strides: Option<Counts>,
        dilation_rate: Counts,
        padding: Padding,
        #[serde(rename = "data_format")]
        _data_format: Option<ChannelsLast>,
    }
    let Options { size, strides, dilation_rate, padding, .. } = options(config)?;
    let (sizes, strides) = (pair("size", &size)?, pair("strides", strides.as_ref().unwrap_or(&size))?);
    let dilations = pair("dilation_rate", &dilation_rate)?;
    let same = matches!(padding, Padding::Same);
    of_tensor(arguments, move |e, x| {
        let &[height, width, channels] = e.shape(x).as_slice() else {
            return Err(Error::new("images", "[height, width, channels]", format_args!("{:?}", e.shape(x))));
        };
        let windows = |axis: usize, length| {
            Windows { size: sizes[axis], stride: strides[axis], dilation: dilations[axis] }.along(length, same)
        };
        let [(rows, above), (columns, left)] = [windows(0, height)?, windows(1, width)?];
        let mut x = x;
        if [above, left].concat() != [0; 4] {
            x = padded(e, x, vec![above, left, [0, 0]], 0.0)?;
        }
        for (axis, count) in [rows, columns].into_iter().enumerate() {
            let (size, stride, dilation) = (sizes[axis], strides[axis], dilations[axis]);
            x = pixels_of_windows(e, x, axis, count, [size, stride, dilation])?;
        }
        let x = e.reshape_to(x, vec![rows, sizes[0], columns, sizes[1], channels])?;
        let x = e.permute(x, vec![0, 2, 1, 3, 4])?;
        e.push(Op::Reshape, &[x], vec![rows, columns, sizes[0] * sizes[1] * channels])
    })
}

/// The pixels of all windows along an axis, window after window. Pixels of several windows are repeated.
fn pixels_of_windows(
    e: &mut Expression,
    x: Operand,
    axis: usize,
    count: usize,
    [size, stride, dilation]: [usize; 3],
) -> Result<Operand> {
    let total = count.checked_mul(size).ok_or_else(|| Error::new("size", "patches that fit the images", size))?;
    if stride == size && dilation == 1 && total == e.shape(x)[axis] {
        return Ok(x);
    }
    e.gather(x, axis, total, |place| place / size * stride + place % size * dilation)
}

/// Windows along one axis.
#[derive(Clone, Copy)]
struct Windows {
    size: usize,
    stride: usize,
    dilation: usize,
}

impl Windows {
    /// The number of windows along an axis of this length, and the padding before and after.
    fn along(self, length: usize, same: bool) -> Result<(usize, [usize; 2])> {
        let extent = (self.size - 1).saturating_mul(self.dilation).saturating_add(1);
        if same {
            let count = length.div_ceil(self.stride);
            let needed = count.saturating_sub(1).saturating_mul(self.stride).saturating_add(extent);
            let padding = needed.saturating_sub(length);
            return Ok((count, [padding / 2, padding - padding / 2]));
        }
        let count = length.checked_sub(extent).map(|rest| rest / self.stride + 1);
        count.map(|count| (count, [0, 0])).ok_or_else(|| {
            Error::new("size", format_args!("patches of at most {length} pixels along an axis of the images"), extent)
        })
    }
}

/// Two positive numbers, for height and width.
fn pair(option: &str, counts: &Counts) -> Result<[usize; 2]> {
    let positive = |count: i64| usize::try_from(count).ok().filter(|&count| count > 0);
    let pair = match *counts.list() {
        [both] => positive(both).map(|count| [count, count]),
        [height, width] => positive(height).zip(positive(width)).map(|(height, width)| [height, width]),
        _ => None,
    };
    pair.ok_or_else(|| Error::new(option, "one or two positive numbers", format_args!("{:?}", counts.list())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Shape;
    use crate::layers::{Input, operation_from_config, tensor_argument};

    fn shape(size: Value, strides: Value, padding: &str) -> Result<Shape> {
        let config = json!({"size": size, "strides": strides, "dilation_rate": 1, "padding": padding, "data_format": "channels_last"});
        let patches =
            operation_from_config("ExtractPatches", config.as_object().unwrap().clone(), vec![tensor_argument()])?;
        patches.call(&Input::new([5, 8, 3])).map(|y| y.shape().clone())
    }

    #[test]
    fn shapes_are_those_of_keras() {
        assert_eq!(shape(json!([2, 4]), json!([2, 4]), "valid").unwrap(), [2, 2, 24]);
        assert_eq!(shape(json!([2, 4]), Value::Null, "same").unwrap(), [3, 2, 24]);
        assert_eq!(shape(json!([3, 3]), json!(1), "valid").unwrap(), [3, 6, 27]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (size, strides, expected) in [
            (json!([6, 2]), json!(2), "size: expected patches of at most 5 pixels"),
            (json!([2, 2, 2]), json!(2), "size: expected one or two positive numbers, received [2, 2, 2]"),
            (json!([2, 2]), json!(0), "strides: expected one or two positive numbers, received [0]"),
        ] {
            let error = shape(size, strides, "valid").unwrap_err().to_string();
            assert!(error.contains("(ExtractPatches)") && error.contains(expected), "{error}");
        }
    }
}
