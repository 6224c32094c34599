//! `AutoContrast`: stretches the values of each channel over the whole range.

use engraft_ir::{Binary, Reduction, Unary, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::data_format::DataFormat;
use super::expression::{self, Expression, Operand, only};
use super::operation::where_true;
use super::options::config_of;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result, Shape};

/// Stretches each channel of each image, so that its least and greatest value become the ends of `value_range` (Keras'
/// `AutoContrast`): `[h, w, c] -> [h, w, c]`. A channel of one value is unchanged.
///
/// Unlike other augmentation layers it has nothing random, and acts in prediction too. As in Keras, `data_format` has no effect:
/// the first two axes are those of a channel.
///
/// ```
/// use engraft_nn::{prelude::*, layers::AutoContrast};
/// let x = Input::new([32, 32, 3]);
/// assert_eq!(AutoContrast::new().call(&x)?.shape(), x.shape());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoContrast {
    #[serde(default = "pixels")]
    value_range: [Number; 2],
    #[serde(default)]
    data_format: DataFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bounding_box_format: Option<Value>,
}

/// The range of pixels, Keras' default.
fn pixels() -> [Number; 2] {
    [0.into(), 255.into()]
}

impl Default for AutoContrast {
    fn default() -> Self {
        Self::new()
    }
}

impl AutoContrast {
    /// A layer for pixels from 0 to 255.
    pub fn new() -> Self {
        Self { value_range: pixels(), data_format: DataFormat::default(), bounding_box_format: None }
    }

    /// The lower and the upper end of the range. Keras sorts them.
    fn range(&self) -> Result<[f32; 2]> {
        let [a, b] = self.value_range.clone().map(|end| end.as_f64().unwrap_or(f64::NAN) as f32);
        match a == b || !(b - a).is_finite() {
            true => Err(Error::new("value_range", "two different numbers", format_args!("[{a}, {b}]"))),
            false => Ok([a.min(b), a.max(b)]),
        }
    }

    fn compute(&self, e: &mut Expression, inputs: &[Operand]) -> Result<Operand> {
        let x = only(inputs)?;
        let [lower, upper] = self.range()?;
        if e.shape(x).len() != 3 {
            return Err(Error::new("input", "images [height, width, channels]", format_args!("{:?}", e.shape(x))));
        }
        let is_pixels = [lower, upper] == [0.0, 255.0];
        let factor = 255.0 / (upper - lower);
        let images = if is_pixels { x } else { e.scale_shift(x, factor, -lower * factor)? };
        let low = e.reduce(Reduction::Min, images, &[0, 1], true)?;
        let high = e.reduce(Reduction::Max, images, &[0, 1], true)?;
        let contrast = e.binary(Binary::Subtract, high, low)?;
        let zero = e.number_like(0.0, contrast)?;
        let is_flat = e.binary(Binary::Equal, contrast, zero)?;
        // 1 instead of 0 for a channel of one value, whose result isn't used.
        let divisor = e.binary(Binary::Add, contrast, is_flat)?;
        let white = e.number_like(255.0, divisor)?;
        let scale = e.binary(Binary::Divide, white, divisor)?;
        let stretched = e.binary(Binary::Multiply, images, scale)?;
        let offset = e.binary(Binary::Multiply, low, scale)?;
        let stretched = e.binary(Binary::Subtract, stretched, offset)?;
        let clipped = e.unary(Unary::Clip { low: 0.0, high: 255.0 }, stretched)?;
        let y = if is_pixels { clipped } else { e.scale_shift(clipped, factor.recip(), lower)? };
        where_true(e, is_flat, x, y)
    }
}

impl LayerDef for AutoContrast {
    fn class_name(&self) -> &'static str {
        "AutoContrast"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        expression::output_shape(inputs, |e, x| self.compute(e, x))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        expression::lower(to, inputs, |e, x| self.compute(e, x))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn layer(config: &Value) -> Result<crate::Layer> {
        from_config("AutoContrast", config.as_object().unwrap().clone())
    }

    #[test]
    fn options_are_written_back() {
        let mut config = json!({"name": "a", "value_range": [-1.5, 1], "data_format": "channels_last"});
        let layer = layer(&config).unwrap();
        assert_eq!(layer.call(&Input::new([4, 5, 3])).unwrap().shape(), &[4, 5, 3]);
        config.as_object_mut().unwrap().remove("name");
        assert_eq!(Value::Object(layer.def().config()), config);
    }

    #[test]
    fn an_empty_range_and_vectors_are_refused() {
        for (range, shape, expected) in [
            (json!([3, 3]), &[4, 4, 3][..], "value_range: expected two different numbers, received [3, 3]"),
            (json!([0, 1]), &[4], "input: expected images [height, width, channels], received [4]"),
        ] {
            let layer = layer(&json!({"name": "a", "value_range": range})).unwrap();
            let error = layer.call(&Input::new(shape)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
