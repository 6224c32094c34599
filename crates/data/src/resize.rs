//! Resizes decoded photos to a model's input size, bilinearly as Keras does by default.
//!
//! The `Resizing` layer of models is a kernel of its own, `engraft_kernels::resize`; both give the same bits.

use crate::color_mode::luma;
use crate::{ColorMode, Pixels};

/// The two input pixels along one axis that an output pixel is interpolated from.
struct Neighbours {
    low: usize,
    high: usize,
    /// The weight of `high`; `low` has the rest to 1.
    fraction: f32,
}

impl Pixels {
    /// Resizes to `[height, width, 3]`, f32 values in 0..=255.
    ///
    /// The interpolation is bilinear with half-pixel centres, without antialiasing; the aspect ratio is not kept. So do
    /// `tf.image.resize` and Keras' `image_dataset_from_directory` by default.
    ///
    /// # Panics
    /// Where `width` or `height` of these pixels is 0, or `rgb` holds fewer than `height * width * 3` bytes.
    ///
    /// ```
    /// use engraft_data::Pixels;
    /// let photo = Pixels { width: 2, height: 1, rgb: vec![0, 0, 0, 100, 200, 40] };
    /// let reds: Vec<f32> = photo.resize(1, 4).chunks(3).map(|rgb| rgb[0]).collect();
    /// assert_eq!(reds, [0.0, 25.0, 75.0, 100.0]);
    /// ```
    pub fn resize(&self, height: usize, width: usize) -> Vec<f32> {
        self.resize_as(ColorMode::Rgb, height, width)
    }

    /// Resizes to `[height, width, channels]` as [`resize`](Self::resize) does, with the channels of `mode`.
    ///
    /// Grey photos are converted before they are resized, as Keras does. With [`ColorMode::Rgba`] the photo is opaque;
    /// [`ColorMode::load`] keeps the transparency of a file.
    ///
    /// # Panics
    /// As [`resize`](Self::resize).
    ///
    /// ```
    /// use engraft_data::{ColorMode, Pixels};
    /// let photo = Pixels { width: 2, height: 1, rgb: vec![0, 0, 0, 100, 100, 100] };
    /// assert_eq!(photo.resize_as(ColorMode::Grayscale, 1, 4), [0.0, 25.0, 75.0, 100.0]);
    /// ```
    pub fn resize_as(&self, mode: ColorMode, height: usize, width: usize) -> Vec<f32> {
        // Bytes are interpolated directly: an f32 copy of a 24-megapixel photo would take 288 MB per thread.
        match mode {
            ColorMode::Rgb => self.interpolated::<3>(height, width, |rgb, channel| rgb[channel]),
            ColorMode::Grayscale => self.interpolated::<1>(height, width, |rgb, _| luma(rgb)),
            ColorMode::Rgba => self.interpolated::<4>(height, width, |rgb, channel| *rgb.get(channel).unwrap_or(&255)),
        }
    }

    /// Interpolates images of `CHANNELS` values that `value` computes from a pixel.
    fn interpolated<const CHANNELS: usize>(
        &self,
        height: usize,
        width: usize,
        value: impl Fn(&[u8], usize) -> u8,
    ) -> Vec<f32> {
        interpolated::<3, CHANNELS>(&self.rgb, [self.height, self.width], [height, width], value)
    }
}

/// Interpolates `pixels`, `[height, width, STORED]`, to images of `CHANNELS` values that `value` computes from a pixel.
pub(crate) fn interpolated<const STORED: usize, const CHANNELS: usize>(
    pixels: &[u8],
    from: [usize; 2],
    to: [usize; 2],
    value: impl Fn(&[u8], usize) -> u8,
) -> Vec<f32> {
    let columns = neighbours(from[1], to[1]);
    let mut resized = Vec::with_capacity(to[0] * to[1] * CHANNELS);
    for row in neighbours(from[0], to[0]) {
        for column in &columns {
            for channel in 0..CHANNELS {
                let at = |y, x| f32::from(value(&pixels[(y * from[1] + x) * STORED..][..STORED], channel));
                let between = |low: f32, high: f32, fraction| low + (high - low) * fraction;
                let top = between(at(row.low, column.low), at(row.low, column.high), column.fraction);
                let bottom = between(at(row.high, column.low), at(row.high, column.high), column.fraction);
                resized.push(between(top, bottom, row.fraction));
            }
        }
    }
    resized
}

/// The neighbours of every output pixel, for an axis resized from `input` to `output` pixels.
///
/// Coordinates are f32, as in TensorFlow, so that they round alike.
fn neighbours(input: usize, output: usize) -> Vec<Neighbours> {
    let scale = input as f32 / output as f32;
    let around = |position: usize| {
        let centre = (position as f32 + 0.5) * scale - 0.5;
        let low = centre.floor();
        let last = input - 1;
        Neighbours {
            low: (low.max(0.0) as usize).min(last),
            high: (centre.ceil().max(0.0) as usize).min(last),
            fraction: centre - low,
        }
    };
    (0..output).map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_kernels::{Interpolation, resize};

    /// A photo of 7 x 5 pixels (width by height) with values spread over 0..=255.
    fn photo() -> Pixels {
        Pixels { width: 7, height: 5, rgb: (0..5 * 7 * 3).map(|i| (i * 37 % 256) as u8).collect() }
    }

    /// Compares the first values and the sum of all with those of `tf.image.resize`, which `testdata/generate.py` prints.
    ///
    /// A few f32 operations on numbers below 256 round by at most 1e-4, which is the tolerance per value.
    #[track_caller]
    fn assert_resized(height: usize, width: usize, first: &[f32], sum: f64) {
        let resized = photo().resize(height, width);
        assert_eq!(resized.len(), height * width * 3);
        for (received, expected) in resized.iter().zip(first) {
            assert!((received - expected).abs() < 1e-4, "{received} {expected}");
        }
        let received: f64 = resized.iter().map(|&value| f64::from(value)).sum();
        assert!((received - sum).abs() < 1e-4 * resized.len() as f64, "{received} {sum}");
    }

    #[test]
    fn smaller_as_tensorflow_does() {
        assert_resized(3, 4, &[44.625, 81.625, 118.625, 206.875, 19.875, 56.875], 4346.666763305664);
        assert_resized(1, 1, &[95.0, 132.0, 169.0], 396.0);
    }

    #[test]
    fn larger_as_tensorflow_does() {
        assert_resized(8, 9, &[0.0, 37.0, 74.0, 74.0, 111.0, 148.0], 27000.888916015625);
    }

    /// A `Resizing` layer must give the same bits, so that a model resizes photos as its training set was resized.
    #[test]
    fn the_same_as_the_kernel_on_floats() {
        let photo = photo();
        let floats: Vec<f32> = photo.rgb.iter().map(|&byte| f32::from(byte)).collect();
        for (height, width) in [(1, 1), (2, 9), (3, 4), (5, 7), (13, 6), (16, 16)] {
            let mut expected = vec![0.0; height * width * 3];
            let (h, w) = (photo.height, photo.width);
            resize(Interpolation::Bilinear, 1, h, w, 3, height, width, &floats, &mut expected);
            assert_eq!(photo.resize(height, width), expected, "{height} x {width}");
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let same: Vec<f32> = photo().rgb.iter().map(|&byte| f32::from(byte)).collect();
        assert_eq!(photo().resize(5, 7), same);
    }

    #[test]
    fn one_pixel_fills_any_size() {
        let pixel = Pixels { width: 1, height: 1, rgb: vec![7, 8, 9] };
        assert_eq!(pixel.resize(2, 3), [7.0, 8.0, 9.0].repeat(6));
    }
}
