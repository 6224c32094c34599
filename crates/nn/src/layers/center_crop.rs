//! `CenterCrop`: the middle of images.

use engraft_ir::{Interpolation, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::aspect_ratio::{Rounding, Window, push_crop, push_resize};
use super::data_format::DataFormat;
use super::options::config_of;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result, Shape};

/// Cuts a window out of the middle of images (Keras' `CenterCrop`): `[h, w, c] -> [height, width, c]`.
///
/// If an image is smaller than the window, the largest central window of the same aspect ratio is resized by bilinear interpolation.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::CenterCrop};
/// let x = Input::new([256, 340, 3]);
/// let model = Model::new(&x, &CenterCrop::new(224, 224).call(&x)?)?;
/// assert_eq!(model.output_shape(), &[224, 224, 3]);
/// assert_eq!(Program::of(&model, false, 0)?.steps.len(), 1);
/// // A smaller image is cropped to a square and enlarged.
/// let small = Input::new([100, 340, 3]);
/// let model = Model::new(&small, &CenterCrop::new(224, 224).call(&small)?)?;
/// assert_eq!(Program::of(&model, false, 0)?.steps.len(), 2);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    height: usize,
    width: usize,
    #[serde(default)]
    data_format: DataFormat,
}

impl CenterCrop {
    /// A layer whose window has `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width, data_format: DataFormat::default() }
    }
}

impl LayerDef for CenterCrop {
    fn class_name(&self) -> &'static str {
        "CenterCrop"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [.., channels] = self.data_format.image(inputs)?;
        match [self.height, self.width].contains(&0) {
            true => Err(Error::new("size", "at least 1x1", format_args!("{}x{}", self.height, self.width))),
            false => Ok(self.data_format.shape([self.height, self.width, channels])),
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        self.data_format.lower(to, inputs[0], |to, image, [height, width, _]| {
            let size = [self.height, self.width];
            if height >= self.height && width >= self.width {
                let start = [(height - self.height) / 2, (width - self.width) / 2];
                return Ok(push_crop(to, image, Window { start, size }));
            }
            let window = Window::central([height, width], size, Rounding::Double);
            let cropped = push_crop(to, image, window);
            Ok(push_resize(to, cropped, size, Interpolation::Bilinear, false))
        })
    }
}
