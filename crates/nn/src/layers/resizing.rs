//! `Resizing`: images of another size.

use engraft_ir::Interpolation;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{DataFormat, config_of, image};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// Resizes images to a fixed size, whatever their aspect ratio (Keras' `Resizing`).
///
/// As in TensorFlow, pixel centers are at half-integer coordinates, and there is no antialiasing.
///
/// ```
/// use engraft_nn::{Interpolation, prelude::*};
/// let x = Input::new([200, 300, 3]);
/// assert_eq!(Resizing::new(128, 96).call(&x)?.shape(), &[128, 96, 3]);
/// assert_eq!(Resizing::new(400, 600).interpolation(Interpolation::Nearest).call(&x)?.shape(), &[400, 600, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resizing {
    height: usize,
    width: usize,
    #[serde(default = "bilinear")]
    interpolation: Interpolation,
    #[serde(default)]
    crop_to_aspect_ratio: bool,
    #[serde(default)]
    pad_to_aspect_ratio: bool,
    #[serde(default = "constant")]
    fill_mode: String,
    #[serde(default)]
    fill_value: f32,
    #[serde(default)]
    antialias: bool,
    #[serde(default)]
    data_format: DataFormat,
}

fn bilinear() -> Interpolation {
    Interpolation::Bilinear
}

fn constant() -> String {
    "constant".into()
}

impl Resizing {
    /// A layer that resizes to `height` x `width` pixels by bilinear interpolation.
    pub fn new(height: usize, width: usize) -> Self {
        Self {
            height,
            width,
            interpolation: bilinear(),
            crop_to_aspect_ratio: false,
            pad_to_aspect_ratio: false,
            fill_mode: constant(),
            fill_value: 0.0,
            antialias: false,
            data_format: DataFormat::ChannelsLast,
        }
    }

    /// Sets the interpolation between pixels; bilinear by default.
    #[must_use]
    pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
        self.interpolation = interpolation;
        self
    }
}

impl LayerDef for Resizing {
    fn class_name(&self) -> &'static str {
        "Resizing"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [height, width, channels] = image(inputs)?;
        if self.crop_to_aspect_ratio || self.pad_to_aspect_ratio || self.antialias {
            return Err(Error::new(
                "options",
                "crop_to_aspect_ratio, pad_to_aspect_ratio and antialias false",
                "one of them true",
            ));
        }
        if [height, width, self.height, self.width].contains(&0) {
            return Err(Error::new(
                "size",
                "at least 1x1",
                format_args!("{height}x{width} to {}x{}", self.height, self.width),
            ));
        }
        Ok(vec![self.height, self.width, channels])
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = self.output_shape(std::slice::from_ref(to.shape(inputs[0])))?;
        Ok(to.push(Op::Resize { interpolation: self.interpolation }, inputs, shape))
    }
}
