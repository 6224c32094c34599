//! Pixels to the size a model wants, as Keras does by default.

use crate::Pixels;

/// Where along one axis an output value lies between two input values.
struct Tap {
    low: usize,
    high: usize,
    /// 0 at `low`, 1 at `high`.
    fraction: f32,
}

impl Pixels {
    /// Resized to `[height, width, 3]`, values in 0..=255: bilinear with half-pixel centres, without antialiasing and
    /// without keeping the aspect ratio, as `tf.image.resize` and with it Keras' `image_dataset_from_directory` do.
    ///
    /// The bytes are sampled directly, since a copy of a 24-megapixel photo in f32 would take 288 MB per thread.
    ///
    /// ```
    /// use engraft_data::Pixels;
    /// let photo = Pixels { width: 2, height: 1, rgb: vec![0, 0, 0, 100, 200, 40] };
    /// let reds: Vec<f32> = photo.resize(1, 4).chunks(3).map(|rgb| rgb[0]).collect();
    /// assert_eq!(reds, [0.0, 25.0, 75.0, 100.0]);
    /// ```
    pub fn resize(&self, height: usize, width: usize) -> Vec<f32> {
        let columns = taps(self.width, width);
        let mut resized = Vec::with_capacity(height * width * 3);
        for row in taps(self.height, height) {
            for column in &columns {
                for channel in 0..3 {
                    let at = |y, x| f32::from(self.rgb[(y * self.width + x) * 3 + channel]);
                    let between = |low: f32, high: f32, fraction| low + (high - low) * fraction;
                    let top = between(at(row.low, column.low), at(row.low, column.high), column.fraction);
                    let bottom = between(at(row.high, column.low), at(row.high, column.high), column.fraction);
                    resized.push(between(top, bottom, row.fraction));
                }
            }
        }
        resized
    }
}

/// For each of `output` positions, the two of `input` positions around it. In f32 as TensorFlow computes it.
fn taps(input: usize, output: usize) -> Vec<Tap> {
    let scale = input as f32 / output as f32;
    let tap = |position: usize| {
        let centre = (position as f32 + 0.5) * scale - 0.5;
        let low = centre.floor();
        let last = input - 1;
        Tap {
            low: (low.max(0.0) as usize).min(last),
            high: (centre.ceil().max(0.0) as usize).min(last),
            fraction: centre - low,
        }
    };
    (0..output).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_kernels::{Interpolation, resize};

    /// 7 wide, 5 high, values spread over 0..=255.
    fn photo() -> Pixels {
        Pixels { width: 7, height: 5, rgb: (0..5 * 7 * 3).map(|i| (i * 37 % 256) as u8).collect() }
    }

    /// The first six values and the sum of all, from `tf.image.resize`; see `testdata/generate.py`. A value is rounded in
    /// a few f32 operations on numbers below 256: 1e-4 each, and as much for each value in the sum.
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

    /// What a Resizing layer computes, bit for bit: a model resizes as its photos were resized.
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
