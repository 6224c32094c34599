//! `Cropping2D`: images without a border.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::config_of;
use super::zero_padding::Border;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Removes rows and columns at the edges of images (Keras' `Cropping2D`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Cropping2D::new([[0, 1], [2, 3]]).call(&Input::new([5, 9, 3]))?.shape(), &[4, 4, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cropping2D {
    cropping: Border,
    #[serde(default)]
    data_format: DataFormat,
}

impl Cropping2D {
    /// A layer that removes a border of `1`, `[rows, columns]` or `[[top, bottom], [left, right]]` pixels.
    pub fn new(cropping: impl Into<Border>) -> Self {
        Self { cropping: cropping.into(), data_format: DataFormat::ChannelsLast }
    }
}

impl LayerDef for Cropping2D {
    fn class_name(&self) -> &'static str {
        "Cropping2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.data_format.image(inputs).and_then(|image| self.cropped(image)).map(|image| self.data_format.shape(image))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [[top, _], [left, _]] = self.cropping.sides();
        self.data_format.lower(to, inputs[0], |to, input, image| {
            let op = Op::Slice { start: vec![top, left, 0], step: vec![1; 3] };
            Ok(to.push(op, &[input], self.cropped(image)?.to_vec()))
        })
    }
}

impl Cropping2D {
    /// Height, width and channels without the border.
    fn cropped(&self, [height, width, channels]: [usize; 3]) -> Result<[usize; 3]> {
        let [[top, bottom], [left, right]] = self.cropping.sides();
        let cropped = |size: usize, a: usize, b: usize| {
            let rest = size.checked_sub(a).and_then(|rest| rest.checked_sub(b)).filter(|&rest| rest > 0);
            rest.ok_or_else(|| Error::new("cropping", format_args!("less than {size} pixels"), format!("{a} and {b}")))
        };
        Ok([cropped(height, top, bottom)?, cropped(width, left, right)?, channels])
    }
}
