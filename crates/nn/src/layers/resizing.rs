//! `Resizing`: images of another size.

use engraft_ir::{Interpolation, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::aspect_ratio::{Rounding, Window, borders, padded_shape, push_borders, push_crop, push_resize};
use super::data_format::DataFormat;
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

/// Resizes images to a fixed size (Keras' `Resizing`).
///
/// By default the aspect ratio changes. As in TensorFlow, pixel centers are at half-integer coordinates, and there is no antialiasing
/// unless it is asked for.
///
/// ```
/// use engraft_nn::{Interpolation, prelude::*};
/// let x = Input::new([200, 300, 3]);
/// assert_eq!(Resizing::new(128, 96).call(&x)?.shape(), &[128, 96, 3]);
/// assert_eq!(Resizing::new(400, 600).interpolation(Interpolation::Bicubic).call(&x)?.shape(), &[400, 600, 3]);
/// // Cuts off the sides, and keeps the proportions of what is left.
/// assert_eq!(Resizing::new(128, 128).crop_to_aspect_ratio(true).antialias(true).call(&x)?.shape(), &[128, 128, 3]);
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

    /// Sets whether a filter as wide as the input pixels of an output pixel shrinks images; false by default.
    ///
    /// It has no effect on nearest interpolation.
    #[must_use]
    pub fn antialias(mut self, antialias: bool) -> Self {
        self.antialias = antialias;
        self
    }

    /// Sets whether the largest central window of the new aspect ratio is resized, instead of the whole image; false by default.
    #[must_use]
    pub fn crop_to_aspect_ratio(mut self, crop: bool) -> Self {
        self.crop_to_aspect_ratio = crop;
        self
    }

    /// Sets whether borders of `fill_value` give an image the new aspect ratio before it is resized; false by default.
    ///
    /// ```
    /// use engraft_nn::{Program, prelude::*};
    /// let x = Input::new([200, 300, 3]);
    /// let model = Model::new(&x, &Resizing::new(128, 128).pad_to_aspect_ratio(true).call(&x)?)?;
    /// // Fifty rows above and below, then the resizing.
    /// let program = Program::of(&model, false, 0)?;
    /// assert_eq!(program.shapes[program.steps[0].output], [300, 300, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn pad_to_aspect_ratio(mut self, pad: bool) -> Self {
        self.pad_to_aspect_ratio = pad;
        self
    }

    /// Sets the value of the borders of [`pad_to_aspect_ratio`](Self::pad_to_aspect_ratio); 0 by default.
    #[must_use]
    pub fn fill_value(mut self, value: f32) -> Self {
        self.fill_value = value;
        self
    }

    /// Refuses the options that Keras refuses when the layer is called.
    fn check_options(&self) -> Result<()> {
        if self.crop_to_aspect_ratio && self.pad_to_aspect_ratio {
            return Err(Error::new("options", "crop_to_aspect_ratio or pad_to_aspect_ratio", "both of them true"));
        }
        if self.fill_mode != "constant" {
            return Err(Error::new("fill_mode", "constant", &self.fill_mode).with_kind(ErrorKind::Unsupported));
        }
        Ok(())
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
        let [height, width, channels] = self.data_format.image(inputs)?;
        self.check_options()?;
        if [height, width, self.height, self.width].contains(&0) {
            return Err(Error::new(
                "size",
                "at least 1x1",
                format_args!("{height}x{width} to {}x{}", self.height, self.width),
            ));
        }
        if self.pad_to_aspect_ratio {
            padded_shape([height, width, channels], borders([height, width], [self.height, self.width]))?;
        }
        Ok(self.data_format.shape([self.height, self.width, channels]))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        self.data_format.lower(to, inputs[0], |to, mut image, [height, width, _]| {
            let size = [self.height, self.width];
            if self.crop_to_aspect_ratio {
                image = push_crop(to, image, Window::central([height, width], size, Rounding::Single));
            }
            if self.pad_to_aspect_ratio {
                image = push_borders(to, image, borders([height, width], size), self.fill_value)?;
            }
            Ok(push_resize(to, image, size, self.interpolation, self.antialias))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::layers::from_config;
    use crate::prelude::*;

    #[test]
    fn options_that_keras_refuses_in_a_call_are_named() {
        for (option, expected) in [
            (json!({"crop_to_aspect_ratio": true, "pad_to_aspect_ratio": true}), "both of them true"),
            (json!({"fill_mode": "reflect"}), "fill_mode: expected constant, received reflect"),
            (json!({"interpolation": "mitchellcubic"}), "option `interpolation`: unknown variant `mitchellcubic`"),
        ] {
            let mut config = json!({"name": "r", "height": 4, "width": 5});
            config.as_object_mut().unwrap().extend(option.as_object().unwrap().clone());
            let layer = |config: &Value| from_config("Resizing", config.as_object().unwrap().clone());
            let error = layer(&config).and_then(|layer| layer.call(&Input::new([8, 8, 3]))).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
