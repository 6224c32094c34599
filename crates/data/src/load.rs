//! Loads photos as a model takes them: decoded, in its color mode and at its size.

use std::fmt;
use std::path::Path;

use engraft_nn::Result;
use image::DynamicImage;

use crate::decode::{decoded, from_file, upper_byte};
use crate::file::PhotoError;
use crate::resize::interpolated;
use crate::{ColorMode, Pixels};

impl ColorMode {
    /// Decodes the photo at `path` and resizes it to `image_size`, `[height, width]`: `[height, width, channels]` in 0..=255.
    ///
    /// Photos are decoded as by [`decode`](crate::decode()) and resized as by [`Pixels::resize_as`]. [`Rgba`](Self::Rgba) keeps the
    /// transparency of the file, which the other modes blend onto white.
    ///
    /// # Errors
    /// Those of [`decode`](crate::decode()).
    ///
    /// # Panics
    /// If a side of `image_size` is so large that the resized photo exceeds the address space.
    ///
    /// ```
    /// use engraft_data::ColorMode;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("half-transparent.png");
    /// image::RgbaImage::from_pixel(1, 1, image::Rgba([200, 0, 0, 128])).save(&path)?;
    /// assert_eq!(ColorMode::Rgba.load(&path, [1, 1])?, [200.0, 0.0, 0.0, 128.0]);
    /// assert_eq!(ColorMode::Rgb.load(&path, [1, 1])?, [227.0, 127.0, 127.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(self, path: &Path, image_size: [usize; 2]) -> Result<Vec<f32>> {
        from_file(path, |bytes| resized(bytes, self, image_size))
    }

    /// Like [`load`](Self::load), from the bytes of a photo's file. Errors name the photo as `place`.
    ///
    /// # Errors
    /// Those of [`decode_bytes`](crate::decode_bytes).
    ///
    /// # Panics
    /// As [`load`](Self::load).
    ///
    /// ```
    /// # // A BMP image of one red pixel.
    /// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    /// # bmp.extend([0; 24]);
    /// # bmp.extend([0, 0, 255, 0]);
    ///
    /// use engraft_data::ColorMode;
    /// assert_eq!(ColorMode::Rgba.load_bytes(&bmp, "upload 1", [1, 1])?, [255.0, 0.0, 0.0, 255.0]);
    /// # Ok::<(), engraft_data::Error>(())
    /// ```
    pub fn load_bytes(self, bytes: &[u8], place: impl fmt::Display, image_size: [usize; 2]) -> Result<Vec<f32>> {
        resized(bytes, self, image_size).map_err(|error| error.at(place))
    }
}

/// Decodes and resizes a photo as [`ColorMode::load`] does, with an error that doesn't name the photo.
pub(crate) fn resized(
    bytes: &[u8],
    mode: ColorMode,
    image_size: [usize; 2],
) -> std::result::Result<Vec<f32>, PhotoError> {
    let [height, width] = image_size;
    decoded(bytes, |image| match mode {
        // Only images with transparency are copied: others are opaque as they are.
        ColorMode::Rgba if image.color().has_alpha() => {
            let size = [image.height() as usize, image.width() as usize];
            interpolated::<4, 4>(&rgba(image), size, image_size, |pixel, channel| pixel[channel])
        }
        _ => Pixels::opaque(image).resize_as(mode, height, width),
    })
}

/// The image as 8-bit RGBA, with the colours that the file has.
fn rgba(image: DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|pixel| [0, 0, 0, 1].map(|at| upper_byte(pixel[at]))).collect()
        }
        DynamicImage::ImageRgba16(image) => image.into_raw().into_iter().map(upper_byte).collect(),
        other => other.into_rgba8().into_raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! photo {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/", $name)).as_slice()
        };
    }

    fn load(bytes: &[u8], image_size: [usize; 2]) -> Vec<f32> {
        resized(bytes, ColorMode::Rgba, image_size).unwrap()
    }

    /// From Pillow's `convert("RGBA")`; `testdata/generate.py` prints the values.
    #[test]
    fn rgba_is_that_of_pillow() {
        const RGBA: [u8; 16] = [250, 10, 20, 255, 30, 200, 40, 0, 20, 60, 220, 102, 0, 0, 0, 1];
        for (bytes, expected) in [
            (photo!("rgba.png"), RGBA),
            (photo!("rgba.tif"), RGBA),
            (photo!("rgba.webp"), [250, 10, 20, 255, 0, 0, 0, 0, 20, 60, 220, 102, 0, 0, 0, 1]),
            (photo!("palette.png"), [250, 10, 20, 255, 30, 200, 40, 0, 20, 60, 220, 102, 30, 200, 40, 0]),
            (photo!("grey_alpha.png"), [83, 83, 83, 255, 131, 131, 131, 0, 66, 66, 66, 102, 0, 0, 0, 1]),
        ] {
            assert_eq!(load(bytes, [2, 2]), expected.map(f32::from));
        }
    }

    #[test]
    fn photos_without_transparency_are_opaque() {
        for bytes in [photo!("grey.jpg"), photo!("photo.bmp"), photo!("animated.gif"), photo!("orientation_6.png")] {
            let (rgba, rgb) = (load(bytes, [5, 7]), resized(bytes, ColorMode::Rgb, [5, 7]).unwrap());
            let colours: Vec<f32> = rgba.chunks_exact(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
            assert_eq!(colours, rgb);
            assert!(rgba.chunks_exact(4).all(|pixel| pixel[3] == 255.0));
        }
    }

    #[test]
    fn of_sixteen_bits_the_upper_eight_are_kept() {
        let png = |image: DynamicImage| {
            let mut file = std::io::Cursor::new(Vec::new());
            image.write_to(&mut file, image::ImageFormat::Png).unwrap();
            load(&file.into_inner(), [1, 1])
        };
        let rgba = image::ImageBuffer::from_pixel(1, 1, image::Rgba([0x12ff_u16, 0x3480, 0xffff, 0x7fff]));
        assert_eq!(png(rgba.into()), [18.0, 52.0, 255.0, 127.0]);
        let grey = image::ImageBuffer::from_pixel(1, 1, image::LumaA([0x12ff_u16, 0x7fff]));
        assert_eq!(png(grey.into()), [18.0, 18.0, 18.0, 127.0]);
    }

    #[test]
    fn colours_and_opacity_are_interpolated_alike() {
        // tf.image.resize of rgba.png to 1 x 1: the mean of its four pixels.
        assert_eq!(load(photo!("rgba.png"), [1, 1]), [75.0, 67.5, 70.0, 89.5]);
    }

    #[test]
    fn the_other_modes_blend_transparency_onto_white() {
        let bytes = photo!("rgba.png");
        for mode in [ColorMode::Rgb, ColorMode::Grayscale] {
            let expected = crate::decode::pixels(bytes).unwrap().resize_as(mode, 3, 2);
            assert_eq!(resized(bytes, mode, [3, 2]).unwrap(), expected);
        }
    }
}
