//! [`ColorMode`]: the channels of a model's images.

use engraft_nn::{Error, ErrorKind, Result};

/// The channels that photos have as inputs of a model (Keras' `color_mode`).
///
/// ```
/// use engraft_data::{ColorMode, Pixels};
/// let photo = Pixels { width: 2, height: 1, rgb: vec![255, 0, 0, 255, 255, 255] };
/// assert_eq!(photo.resize_as(ColorMode::Rgb, 1, 2), photo.resize(1, 2));
/// assert_eq!(photo.resize_as(ColorMode::Grayscale, 1, 2), [76.0, 255.0]);
/// // Pixels without transparency are opaque.
/// assert_eq!(photo.resize_as(ColorMode::Rgba, 1, 1)[3], 255.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMode {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// One channel: the brightness of a pixel, as Pillow's mode `L` and so Keras' `load_img(color_mode="grayscale")` has it.
    Grayscale,
    /// Red, green, blue and opacity (alpha), 0 where a photo is transparent and 255 where it is opaque, as Pillow's mode `RGBA` and so
    /// Keras' `load_img(color_mode="rgba")` has them: colours aren't blended with a background. Photos without transparency are opaque.
    Rgba,
}

impl ColorMode {
    /// The inputs that [`of_input`](Self::of_input) takes, for error messages.
    ///
    /// ```
    /// assert!(engraft_data::ColorMode::INPUTS.contains("RGBA"));
    /// ```
    pub const INPUTS: &str =
        "an input of RGB photos, [height, width, 3], RGBA ones, [height, width, 4], or grey ones, [height, width, 1]";

    /// The mode of a model with an input of this shape, `[height, width, channels]`.
    ///
    /// ```
    /// use engraft_data::ColorMode;
    /// assert_eq!(ColorMode::of_input(&[28, 28, 1])?, ColorMode::Grayscale);
    /// assert_eq!(ColorMode::of_input(&[28, 28, 4])?, ColorMode::Rgba);
    /// assert!(ColorMode::of_input(&[64, 64, 12]).is_err());
    /// # Ok::<(), engraft_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another shape than that of RGB, RGBA or grey photos.
    pub fn of_input(shape: &[usize]) -> Result<Self> {
        match shape {
            [_, _, 3] => Ok(Self::Rgb),
            [_, _, 1] => Ok(Self::Grayscale),
            [_, _, 4] => Ok(Self::Rgba),
            other => {
                Err(Error::new("input", Self::INPUTS, format_args!("{other:?}")).with_kind(ErrorKind::Unsupported))
            }
        }
    }

    /// Number of channels.
    ///
    /// ```
    /// assert_eq!(engraft_data::ColorMode::Grayscale.channels(), 1);
    /// ```
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Grayscale => 1,
            Self::Rgba => 4,
        }
    }
}

/// The brightness of a pixel in Pillow's mode `L`: weights of ITU-R BT.601 in 16 bits, rounded.
pub(crate) fn luma(rgb: &[u8]) -> u8 {
    let weighted = 19_595 * u32::from(rgb[0]) + 38_470 * u32::from(rgb[1]) + 7_471 * u32::from(rgb[2]);
    ((weighted + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_is_that_of_pillow() {
        // From Image.new("RGB", (1, 1), rgb).convert("L").
        for (rgb, expected) in
            [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([12, 200, 77], 130), ([1, 2, 3], 2)]
        {
            assert_eq!(luma(&rgb), expected);
        }
        assert!((0..=255).all(|grey| luma(&[grey; 3]) == grey));
    }
}
