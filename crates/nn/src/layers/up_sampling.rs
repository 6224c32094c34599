//! `UpSampling2D`: images enlarged by integer factors.

use engraft_ir::{Interpolation, Unary, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::aspect_ratio::push_resize;
use super::data_format::DataFormat;
use super::options::{Size2d, config_of};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Enlarges images by integer factors: repeats pixels, or interpolates between them (Keras' `UpSampling2D`).
///
/// ```
/// use engraft_nn::{Interpolation, prelude::*};
/// let x = Input::new([4, 4, 8]);
/// assert_eq!(UpSampling2D::new([2, 3]).call(&x)?.shape(), &[8, 12, 8]);
/// assert_eq!(UpSampling2D::new(2).interpolation(Interpolation::Bicubic).call(&x)?.shape(), &[8, 8, 8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpSampling2D {
    #[serde(default = "two")]
    size: Size2d,
    #[serde(default = "nearest")]
    interpolation: Interpolation,
    #[serde(default)]
    data_format: DataFormat,
}

fn two() -> Size2d {
    Size2d::from(2)
}

fn nearest() -> Interpolation {
    Interpolation::Nearest
}

impl UpSampling2D {
    /// A layer that enlarges images by the factors `size` (`2` or `[2, 3]`) by repeating pixels.
    pub fn new(size: impl Into<Size2d>) -> Self {
        Self { size: size.into(), interpolation: nearest(), data_format: DataFormat::ChannelsLast }
    }

    /// Sets the interpolation between pixels; nearest by default, which repeats them.
    #[must_use]
    pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
        self.interpolation = interpolation;
        self
    }
}

impl LayerDef for UpSampling2D {
    fn class_name(&self) -> &'static str {
        "UpSampling2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.data_format.image(inputs).and_then(|image| self.enlarged(image)).map(|image| self.data_format.shape(image))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        self.data_format.lower(to, inputs[0], |to, input, image| {
            let [height, width, _] = self.enlarged(image)?;
            let enlarged = push_resize(to, input, [height, width], self.interpolation, false);
            Ok(to.push_integers_of_input(Unary::Round, enlarged))
        })
    }
}

impl UpSampling2D {
    /// Height, width and channels of the enlarged image.
    fn enlarged(&self, [height, width, channels]: [usize; 3]) -> Result<[usize; 3]> {
        let Size2d([rows, columns]) = self.size;
        let enlarged = |size: usize, factor: usize| {
            let larger = size.checked_mul(factor).filter(|&larger| larger > 0);
            larger.ok_or_else(|| Error::new("size", "a factor of at least 1 that doesn't overflow", factor))
        };
        Ok([enlarged(height, rows)?, enlarged(width, columns)?, channels])
    }
}
