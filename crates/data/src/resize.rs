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
