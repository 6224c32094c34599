//! `ZeroPadding2D`: images with a border of zeros.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Adds rows and columns of zeros around images (Keras' `ZeroPadding2D`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(ZeroPadding2D::new([[0, 1], [2, 3]]).call(&Input::new([4, 4, 3]))?.shape(), &[5, 9, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroPadding2D {
    padding: Border,
    #[serde(default)]
    data_format: DataFormat,
}

/// The width of an image's border in pixels: `[[top, bottom], [left, right]]`, `[rows, columns]` or `1` on all sides.
///
/// ```
/// use engraft_nn::layers::Border;
/// assert_eq!(Border::from(1), Border::from([[1, 1], [1, 1]]));
/// assert_eq!(Border::from([1, 2]), Border::from([[1, 1], [2, 2]]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Border([[usize; 2]; 2]);

impl From<usize> for Border {
    fn from(all: usize) -> Self {
        Self([[all; 2]; 2])
    }
}

impl From<[usize; 2]> for Border {
    fn from([rows, columns]: [usize; 2]) -> Self {
        Self([[rows; 2], [columns; 2]])
    }
}

impl From<[[usize; 2]; 2]> for Border {
    fn from(border: [[usize; 2]; 2]) -> Self {
        Self(border)
    }
}

impl Border {
    /// `[[top, bottom], [left, right]]`.
    pub(super) fn sides(self) -> [[usize; 2]; 2] {
        self.0
    }
}

impl<'de> Deserialize<'de> for Border {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an integer, [rows, columns] or [[top, bottom], [left, right]]")]
        enum Form {
            All(usize),
            Symmetric([usize; 2]),
            Each([[usize; 2]; 2]),
        }
        Ok(match Form::deserialize(d)? {
            Form::All(all) => all.into(),
            Form::Symmetric(pair) => pair.into(),
            Form::Each(each) => each.into(),
        })
    }
}

impl ZeroPadding2D {
    /// A layer that adds a border of `1`, `[rows, columns]` or `[[top, bottom], [left, right]]` pixels.
    pub fn new(padding: impl Into<Border>) -> Self {
        Self { padding: padding.into(), data_format: DataFormat::ChannelsLast }
    }
}

impl LayerDef for ZeroPadding2D {
    fn class_name(&self) -> &'static str {
        "ZeroPadding2D"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.data_format.image(inputs).and_then(|image| self.padded(image)).map(|image| self.data_format.shape(image))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        self.data_format.lower(to, inputs[0], |to, input, image| {
            Ok(to.push(Op::Pad2d { pad: self.padding.0 }, &[input], self.padded(image)?.to_vec()))
        })
    }
}

impl ZeroPadding2D {
    /// Height, width and channels with the border.
    fn padded(&self, [height, width, channels]: [usize; 3]) -> Result<[usize; 3]> {
        let Border([[top, bottom], [left, right]]) = self.padding;
        let padded = |size: usize, a: usize, b: usize| {
            size.checked_add(a)
                .and_then(|size| size.checked_add(b))
                .ok_or_else(|| Error::new("padding", "a size that doesn't overflow", format_args!("{a} and {b}")))
        };
        Ok([padded(height, top, bottom)?, padded(width, left, right)?, channels])
    }
}
