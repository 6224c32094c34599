//! Projective transforms of one image, such as rotation and zoom, as TensorFlow's `ImageProjectiveTransformV3` computes them.
//!
//! Executors use them for Keras' `RandomRotation` and `RandomZoom`, and draw the angles and factors themselves. Mirror images
//! ([`flip`](crate::flip)) are copies of pixels and need no transform.

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::{FillMode, Interpolation};

/// A map from output pixels to input positions: the coefficients `a0 a1 a2 b0 b1 b2 c0 c1` of `ImageProjectiveTransformV3`.
///
/// The output pixel (x, y) reads the input at `((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)` with `k = c0 x + c1 y + 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProjectiveTransform(pub [f32; 8]);

impl ProjectiveTransform {
    /// The identity: every output pixel reads the input at its own position.
    pub fn identity() -> Self {
        Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    }

    /// A rotation about the centre of an `h` x `w` image, counter-clockwise for positive angles (Keras' `RandomRotation`).
    pub fn rotation(angle_radians: f32, h: usize, w: usize) -> Self {
        let (center_x, center_y) = (0.5 * (w as f32 - 1.0), 0.5 * (h as f32 - 1.0));
        let (sin, cos) = angle_radians.sin_cos();
        let x_offset = center_x - center_x * cos - center_y * -sin;
        let y_offset = center_y - center_x * sin - center_y * cos;
        Self([cos, -sin, x_offset, sin, cos, y_offset, 0.0, 0.0])
    }

    /// A zoom about the centre of an `h` x `w` image (Keras' `RandomZoom`).
    ///
    /// Factors above 1 zoom out: the image shrinks, and the border shows pixels outside of it.
    pub fn zoom(height_zoom: f32, width_zoom: f32, h: usize, w: usize) -> Self {
        let x_offset = (w as f32 - 1.0) / 2.0 * (1.0 - width_zoom);
        let y_offset = (h as f32 - 1.0) / 2.0 * (1.0 - height_zoom);
        Self([width_zoom, 0.0, x_offset, 0.0, height_zoom, y_offset, 0.0, 0.0])
    }

    /// The input position that the output pixel (x, y) reads; `None` if it lies at infinity (`k = 0`).
    fn position(&self, x: usize, y: usize) -> Option<[f32; 2]> {
        let [a0, a1, a2, b0, b1, b2, c0, c1] = self.0;
        let (x, y) = (x as f32, y as f32);
        let k = c0 * x + c1 * y + 1.0;
        (k != 0.0).then(|| [(a0 * x + a1 * y + a2) / k, (b0 * x + b1 * y + b2) / k])
    }
}

/// Maps a coordinate, possibly outside an axis of `len` pixels, to the coordinate to read.
///
/// It follows TensorFlow's `MapCoordinate` step by step, including the truncations.
fn map_coordinate(fill: FillMode, coordinate: f32, len: usize) -> f32 {
    let (last, len) = (len.saturating_sub(1) as f32, len as f32);
    let outside = coordinate < 0.0 || coordinate > last;
    let mapped = match fill {
        FillMode::Constant => return coordinate,
        FillMode::Nearest => coordinate,
        _ if outside && last == 0.0 => 0.0,
        FillMode::Reflect if coordinate < 0.0 => {
            let period = 2.0 * len;
            let x = period * (-coordinate / period).trunc() + coordinate;
            if x < -len { x + period } else { -x - 1.0 }
        }
        FillMode::Reflect if outside => {
            let period = 2.0 * len;
            let x = coordinate - period * (coordinate / period).trunc();
            if x >= len { period - x - 1.0 } else { x }
        }
        FillMode::Wrap if coordinate < 0.0 => coordinate + len * ((-coordinate / last).trunc() + 1.0),
        FillMode::Wrap if outside => coordinate - len * (coordinate / last).trunc(),
        FillMode::Reflect | FillMode::Wrap => coordinate,
    };
    mapped.clamp(0.0, last)
}

/// The input image `[h, w, c]`, and the value of every pixel outside of it.
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

/// Transforms one image `x` `[h, w, c]` into `y` of the same shape (TensorFlow's `ImageProjectiveTransformV3` on the CPU).
///
/// Interpolations other than nearest are computed as bilinear; TensorFlow has only these two.
///
/// Pixels outside the image have the value `fill_value` if `fill` is [`Constant`](FillMode::Constant). An output pixel that
/// reads a position at infinity has this value for every `fill`.
///
/// ```
/// use engraft_kernels::{FillMode, Interpolation, ProjectiveTransform, projective_transform};
/// // Two rows of two pixels, rotated by 90 degrees.
/// let rotation = ProjectiveTransform::rotation(std::f32::consts::FRAC_PI_2, 2, 2);
/// let mut y = [0.0; 4];
/// projective_transform(&rotation, Interpolation::Nearest, FillMode::Reflect, 0.0, 2, 2, 1, &[1.0, 2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [2.0, 4.0, 1.0, 3.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of ImageProjectiveTransformV3")]
pub fn projective_transform(
    transform: &ProjectiveTransform,
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
            let (input_x, input_y) = (map_coordinate(fill, input_x, w), map_coordinate(fill, input_y, h));
            for (channel, y) in y.iter_mut().enumerate() {
                *y = match interpolation {
                    Interpolation::Nearest => source.read(input_y.round(), input_x.round(), channel),
                    _ => source.bilinear(input_y, input_x, channel),
                };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, integers};

    const X: [f32; 12] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0, 13.0, 17.0];

    #[test]
    fn matrices_are_those_of_keras() {
        let rotation = ProjectiveTransform::rotation(30f32.to_radians(), 3, 4);
        let expected = [0.8660254, -0.5, 0.70096195, 0.5, 0.8660254, -0.6160254, 0.0, 0.0];
        assert_close(&rotation.0, &expected, 2e-7); // two roundings
        let zoom = ProjectiveTransform::zoom(1.25, 0.8, 3, 4);
        assert_eq!(zoom.0, [0.8, 0.0, 0.29999998, 0.0, 1.25, -0.25, 0.0, 0.0]);
    }

    #[test]
    #[rustfmt::skip]
    fn pictures_are_those_of_tensorflow() {
        let rotation = ProjectiveTransform::rotation(30f32.to_radians(), 3, 4);
        let zoom = ProjectiveTransform::zoom(1.25, 1.6, 3, 4);
        use {FillMode as Fill, Interpolation as By};
        for (transform, by, fill, expected) in [
            (rotation, By::Bilinear, Fill::Reflect, [1.700962, 2.5669873, 5.135177, 8.419873, 2.200962, 5.066987, 8.4162655, 14.296633, 5.5801272, 8.647115, 11.866026, 14.196152]),
            (rotation, By::Nearest, Fill::Reflect, [2.0, 3.0, 3.0, 9.0, 1.0, 6.0, 7.0, 17.0, 5.0, 11.0, 11.0, 13.0]),
            (zoom, By::Bilinear, Fill::Reflect, [1.0, 1.7, 3.3, 4.0, 5.0, 5.7, 7.6000004, 9.0, 10.0, 10.7, 14.2, 17.0]),
            (zoom, By::Nearest, Fill::Reflect, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0, 13.0, 17.0]),
            (rotation, By::Bilinear, Fill::Wrap, [10.700962, 12.133974, 5.135177, 4.5358987, 2.200962, 5.066987, 8.4162655, 14.296633, 9.928204, 8.647115, 2.4330127, 3.299038]),
            (rotation, By::Nearest, Fill::Wrap, [11.0, 13.0, 3.0, 5.0, 1.0, 6.0, 7.0, 17.0, 9.0, 11.0, 2.0, 3.0]),
            (zoom, By::Bilinear, Fill::Wrap, [17.0, 10.7, 14.2, 10.0, 9.0, 5.7, 7.6000004, 5.0, 4.0, 1.7, 3.3, 1.0]),
            (zoom, By::Nearest, Fill::Wrap, [17.0, 11.0, 13.0, 10.0, 9.0, 6.0, 7.0, 5.0, 4.0, 2.0, 3.0, 1.0]),
            (rotation, By::Bilinear, Fill::Constant, [0.96113884, 2.3271644, 5.135177, 6.051531, 2.200962, 5.066987, 8.4162655, 14.296633, 4.060976, 8.647115, 10.547277, 5.758974]),
            (rotation, By::Nearest, Fill::Constant, [0.5, 3.0, 3.0, 9.0, 1.0, 6.0, 7.0, 17.0, 5.0, 11.0, 11.0, 0.5]),
            (zoom, By::Bilinear, Fill::Constant, [0.53749996, 1.4000001, 2.6, 0.76249975, 0.9499998, 5.7, 7.6000004, 1.3499992, 1.2124997, 8.15, 10.775, 1.7374988]),
            (zoom, By::Nearest, Fill::Constant, [0.5, 2.0, 3.0, 0.5, 0.5, 6.0, 7.0, 0.5, 0.5, 11.0, 13.0, 0.5]),
            (rotation, By::Bilinear, Fill::Nearest, [1.700962, 2.5669873, 5.135177, 8.419873, 2.200962, 5.066987, 8.4162655, 14.296633, 5.5801272, 8.647115, 11.866026, 14.196152]),
            (rotation, By::Nearest, Fill::Nearest, [2.0, 3.0, 3.0, 9.0, 1.0, 6.0, 7.0, 17.0, 5.0, 11.0, 11.0, 13.0]),
            (zoom, By::Bilinear, Fill::Nearest, [1.0, 1.7, 3.3, 4.0, 5.0, 5.7, 7.6000004, 9.0, 10.0, 10.7, 14.2, 17.0]),
            (zoom, By::Nearest, Fill::Nearest, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0, 13.0, 17.0]),
        ] {
            let mut y = [f32::NAN; 12];
            projective_transform(&transform, by, fill, 0.5, 3, 4, 1, &X, &mut y);
            // Positions have rounding errors of about 2e-7, and neighbouring pixels differ by up to 17.
            assert_close(&y, &expected, 3e-6);
        }
    }

    #[test]
    fn identity_changes_nothing() {
        let x = integers(5 * 6 * 3, 1);
        for interpolation in [Interpolation::Bilinear, Interpolation::Nearest] {
            for fill in [FillMode::Reflect, FillMode::Wrap, FillMode::Constant, FillMode::Nearest] {
                let mut y = vec![f32::NAN; x.len()];
                projective_transform(&ProjectiveTransform::identity(), interpolation, fill, 9.0, 5, 6, 3, &x, &mut y);
                assert_eq!(y, x);
            }
        }
    }

    #[test]
    fn coordinates_far_outside_are_mapped_as_tensorflow_does() {
        let row =
            |fill: FillMode| [-9.0, -5.0, -4.5, -1.0, 2.0, 3.5, 4.0, 7.0, 8.0].map(|x| map_coordinate(fill, x, 4));
        assert_eq!(row(FillMode::Reflect), [0.0, 3.0, 3.0, 0.0, 2.0, 3.0, 3.0, 0.0, 0.0]);
        assert_eq!(row(FillMode::Wrap), [3.0, 3.0, 3.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(row(FillMode::Nearest), [0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 3.0, 3.0, 3.0]);
        assert_eq!(map_coordinate(FillMode::Reflect, 5.0, 1), 0.0);
    }

    #[test]
    fn positions_at_infinity_read_the_fill_value() {
        let transform = ProjectiveTransform([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0]);
        let mut y = [0.0; 2];
        projective_transform(&transform, Interpolation::Nearest, FillMode::Nearest, 7.0, 1, 2, 1, &[1.0, 2.0], &mut y);
        assert_eq!(y, [1.0, 7.0]);
    }
}
