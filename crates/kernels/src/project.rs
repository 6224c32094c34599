//! Rotating and zooming one image as TensorFlow's `ImageProjectiveTransformV3` does, with Keras' matrices.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Interpolation;
use crate::chunks::check_len;

/// What lies outside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    /// The image mirrored about its edge: `d c b a | a b c d | d c b a`.
    Reflect,
    /// The image repeated: `a b c d | a b c d | a b c d`.
    Wrap,
    /// The fill value: `k k k k | a b c d | k k k k`.
    Constant,
    /// The nearest pixel of the edge: `a a a a | a b c d | d d d d`.
    Nearest,
}

/// The eight numbers `a0 a1 a2 b0 b1 b2 c0 c1` that take an output pixel (x, y) to the input position
/// `((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)` with `k = c0 x + c1 y + 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection(pub [f32; 8]);

impl Projection {
    /// Every pixel stays where it is.
    pub fn identity() -> Self {
        Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    }

    /// A turn about the middle of an `h` x `w` image; a positive angle turns it counter-clockwise (Keras' `RandomRotation`).
    pub fn rotation(angle_radians: f32, h: usize, w: usize) -> Self {
        let (center_x, center_y) = (0.5 * (w as f32 - 1.0), 0.5 * (h as f32 - 1.0));
        let (sin, cos) = angle_radians.sin_cos();
        let x_offset = center_x - center_x * cos - center_y * -sin;
        let y_offset = center_y - center_x * sin - center_y * cos;
        Self([cos, -sin, x_offset, sin, cos, y_offset, 0.0, 0.0])
    }

    /// A zoom about the middle of an `h` x `w` image; factors above 1 show more than the image holds, so it shrinks
    /// (Keras' `RandomZoom`).
    pub fn zoom(height_zoom: f32, width_zoom: f32, h: usize, w: usize) -> Self {
        let x_offset = (w as f32 - 1.0) / 2.0 * (1.0 - width_zoom);
        let y_offset = (h as f32 - 1.0) / 2.0 * (1.0 - height_zoom);
        Self([width_zoom, 0.0, x_offset, 0.0, height_zoom, y_offset, 0.0, 0.0])
    }

    /// Where in the input the output pixel (x, y) looks; `None` at infinity.
    fn position(&self, x: usize, y: usize) -> Option<[f32; 2]> {
        let [a0, a1, a2, b0, b1, b2, c0, c1] = self.0;
        let (x, y) = (x as f32, y as f32);
        let k = c0 * x + c1 * y + 1.0;
        (k != 0.0).then(|| [(a0 * x + a1 * y + a2) / k, (b0 * x + b1 * y + b2) / k])
    }
}

impl FillMode {
    /// Takes a coordinate on an axis of `len` pixels to the one to read: TensorFlow's `MapCoordinate`, step by step, with its
    /// truncations.
    fn map(self, coordinate: f32, len: usize) -> f32 {
        let (last, len) = (len.saturating_sub(1) as f32, len as f32);
        let outside = coordinate < 0.0 || coordinate > last;
        let mapped = match self {
            Self::Constant => return coordinate,
            Self::Nearest => coordinate,
            _ if outside && last == 0.0 => 0.0,
            Self::Reflect if coordinate < 0.0 => {
                let period = 2.0 * len;
                let x = period * (-coordinate / period).trunc() + coordinate;
                if x < -len { x + period } else { -x - 1.0 }
            }
            Self::Reflect if outside => {
                let period = 2.0 * len;
                let x = coordinate - period * (coordinate / period).trunc();
                if x >= len { period - x - 1.0 } else { x }
            }
            Self::Wrap if coordinate < 0.0 => coordinate + len * ((-coordinate / last).trunc() + 1.0),
            Self::Wrap if outside => coordinate - len * (coordinate / last).trunc(),
            Self::Reflect | Self::Wrap => coordinate,
        };
        mapped.clamp(0.0, last)
    }
}

/// One image `[h, w, c]` and what to read outside of it.
struct Source<'a> {
    h: usize,
    w: usize,
    c: usize,
    pixels: &'a [f32],
    fill_value: f32,
}

impl Source<'_> {
    fn read(&self, y: f32, x: f32, channel: usize) -> f32 {
        let inside = (0.0..self.h as f32).contains(&y) && (0.0..self.w as f32).contains(&x);
        if inside { self.pixels[(y as usize * self.w + x as usize) * self.c + channel] } else { self.fill_value }
    }

    fn bilinear(&self, y: f32, x: f32, channel: usize) -> f32 {
        let (top, left) = (y.floor(), x.floor());
        let (bottom, right) = (top + 1.0, left + 1.0);
        let row = |y| (right - x) * self.read(y, left, channel) + (x - left) * self.read(y, right, channel);
        (bottom - y) * row(top) + (y - top) * row(bottom)
    }
}

/// Draws one image `x` `[h, w, c]` into `y` of the same shape through `transform`, as TensorFlow's
/// `ImageProjectiveTransformV3` on the CPU. `fill_value` is read outside the image where `fill` is
/// [`Constant`](FillMode::Constant).
#[expect(clippy::too_many_arguments, reason = "the parameters of ImageProjectiveTransformV3")]
pub fn project(
    transform: &Projection,
    interpolation: Interpolation,
    fill: FillMode,
    fill_value: f32,
    h: usize,
    w: usize,
    c: usize,
    x: &[f32],
    y: &mut [f32],
) {
    check_len("x", x, h * w * c);
    check_len("y", y, h * w * c);
    let source = Source { h, w, c, pixels: x, fill_value };
    y.par_chunks_mut((w * c).max(1)).enumerate().for_each(|(row, y)| {
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let Some([input_x, input_y]) = transform.position(column, row) else {
                y.fill(fill_value);
                continue;
            };
            let (input_x, input_y) = (fill.map(input_x, w), fill.map(input_y, h));
            for (channel, y) in y.iter_mut().enumerate() {
                *y = match interpolation {
                    Interpolation::Nearest => source.read(input_y.round(), input_x.round(), channel),
                    Interpolation::Bilinear => source.bilinear(input_y, input_x, channel),
                };
            }
        }
    });
}
