//! Bilinear and nearest resizing of images as `tf.image.resize` does it: half-pixel centres, no antialiasing. Photos are resized on
//! loading by `engraft-data`, and [`resample`](crate::resample()) has the other interpolations.

use rayon::prelude::*;

use crate::Interpolation;
use crate::chunks::check_len;

/// The input coordinates `lower` and `upper` that an output coordinate interpolates between, and the weight of `upper`.
#[derive(Clone, Copy)]
struct Tap {
    lower: usize,
    upper: usize,
    share: f32,
}

/// Resizes images by bilinear or nearest interpolation: `x` `[batch, in_h, in_w, c]` -> `y` `[batch, out_h, out_w, c]`.
///
/// ```
/// use engraft_kernels::{Interpolation, resize};
/// let mut y = [0.0; 4];
/// resize(Interpolation::Bilinear, 1, 1, 2, 1, 1, 4, &[0.0, 4.0], &mut y);
/// assert_eq!(y, [0.0, 1.0, 3.0, 4.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "two image shapes and the slices that hold them")]
pub fn resize(
    interpolation: Interpolation,
    batch: usize,
    in_h: usize,
    in_w: usize,
    c: usize,
    out_h: usize,
    out_w: usize,
    x: &[f32],
    y: &mut [f32],
) {
    check_sizes(batch, [in_h, in_w], [out_h, out_w], c, x, y);
    let (rows, columns) = (taps(interpolation, in_h, out_h), taps(interpolation, in_w, out_w));
    let row = in_w * c;
    y.par_chunks_mut((out_w * c).max(1)).enumerate().for_each(|(index, y)| {
        let image = &x[index / out_h * in_h * row..][..in_h * row];
        let v = rows[index % out_h];
        let (top, bottom) = (&image[v.lower * row..][..row], &image[v.upper * row..][..row]);
        for (h, y) in columns.iter().zip(y.chunks_exact_mut(c)) {
            let (left, right) = (h.lower * c, h.upper * c);
            for (channel, y) in y.iter_mut().enumerate() {
                let above = lerp(top[left + channel], top[right + channel], h.share);
                let below = lerp(bottom[left + channel], bottom[right + channel], h.share);
                *y = lerp(above, below, v.share);
            }
        }
    });
}

/// The gradient of [`resize`]: `dy` `[batch, out_h, out_w, c]` -> `dx` `[batch, in_h, in_w, c]`.
///
/// ```
/// use engraft_kernels::{Interpolation, resize_gradient};
/// let mut dx = [0.0; 2];
/// resize_gradient(Interpolation::Bilinear, 1, 1, 2, 1, 1, 4, &[1.0; 4], &mut dx);
/// assert_eq!(dx, [2.0, 2.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "two image shapes and the slices that hold them")]
pub fn resize_gradient(
    interpolation: Interpolation,
    batch: usize,
    in_h: usize,
    in_w: usize,
    c: usize,
    out_h: usize,
    out_w: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    check_sizes(batch, [in_h, in_w], [out_h, out_w], c, dx, dy);
    let (rows, columns) = (taps(interpolation, in_h, out_h), taps(interpolation, in_w, out_w));
    let (in_size, out_size) = (in_h * in_w * c, out_h * out_w * c);
    dx.par_chunks_mut(in_size.max(1)).enumerate().for_each(|(image, dx)| {
        dx.fill(0.0);
        let dy = &dy[image * out_size..][..out_size];
        for (row, v) in rows.iter().enumerate() {
            for (column, h) in columns.iter().enumerate() {
                let dy = &dy[(row * out_w + column) * c..][..c];
                for (y, row_share) in [(v.lower, 1.0 - v.share), (v.upper, v.share)] {
                    for (x, share) in [(h.lower, 1.0 - h.share), (h.upper, h.share)] {
                        let share = share * row_share;
                        let dx = &mut dx[(y * in_w + x) * c..][..c];
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += share * dy);
                    }
                }
            }
        }
    });
}

fn check_sizes(batch: usize, input: [usize; 2], output: [usize; 2], c: usize, x: &[f32], y: &[f32]) {
    assert!(input[0] > 0 && input[1] > 0 && c > 0, "cannot resize empty images of {input:?} pixels, {c} channels");
    check_len("input", x, batch * input[0] * input[1] * c);
    check_len("output", y, batch * output[0] * output[1] * c);
}

fn lerp(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

/// The taps of every output coordinate along one axis.
///
/// Computed in f32, as TensorFlow's `ResizeBilinear` and `ResizeNearestNeighbor` do with `half_pixel_centers`.
fn taps(interpolation: Interpolation, input: usize, output: usize) -> Vec<Tap> {
    let scale = input as f32 / output as f32;
    let last = input - 1;
    let bilinear = |i: usize| {
        let position = (i as f32 + 0.5) * scale - 0.5;
        let floor = position.floor();
        // `as usize` saturates at 0: positions left of the first pixel read the first pixel.
        Tap { lower: (floor as usize).min(last), upper: (position.ceil() as usize).min(last), share: position - floor }
    };
    let nearest = |i: usize| {
        let pixel = (((i as f32 + 0.5) * scale).floor() as usize).min(last);
        Tap { lower: pixel, upper: pixel, share: 0.0 }
    };
    match interpolation {
        Interpolation::Bilinear => (0..output).map(bilinear).collect(),
        Interpolation::Nearest => (0..output).map(nearest).collect(),
        other => panic!("`resize` is for bilinear and nearest interpolation; `resample` computes {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, dot, uniform};

    const X: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 13.0, 17.0];

    #[test]
    fn values_are_those_of_tensorflow() {
        let mut y = [0.0; 10];
        resize(Interpolation::Bilinear, 1, 3, 3, 1, 2, 5, &X, &mut y);
        // TensorFlow's SIMD code may use fused multiply-add, so that results differ by one rounding.
        assert_close(&y, &[1.75, 2.15, 2.75, 3.5, 4.0, 9.25, 9.95, 11.0, 13.1, 14.5], 2e-7);
        resize(Interpolation::Nearest, 1, 3, 3, 1, 2, 5, &X, &mut y);
        assert_eq!(y, [1.0, 1.0, 2.0, 3.0, 3.0, 11.0, 11.0, 13.0, 17.0, 17.0]);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        for interpolation in [Interpolation::Bilinear, Interpolation::Nearest] {
            let mut y = [0.0; 9];
            resize(interpolation, 1, 3, 3, 1, 3, 3, &X, &mut y);
            assert_eq!(y, X);
        }
    }

    #[test]
    fn the_gradient_is_the_adjoint() {
        for interpolation in [Interpolation::Bilinear, Interpolation::Nearest] {
            for [in_h, in_w, out_h, out_w] in [[3, 4, 7, 9], [9, 8, 4, 3], [1, 5, 3, 1]] {
                let (x, dy) = (uniform(2 * in_h * in_w * 3, 1), uniform(2 * out_h * out_w * 3, 2));
                let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                resize(interpolation, 2, in_h, in_w, 3, out_h, out_w, &x, &mut y);
                resize_gradient(interpolation, 2, in_h, in_w, 3, out_h, out_w, &dy, &mut dx);
                // Both sides sum fewer than 1000 products below 1, each rounded to 6e-8.
                assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-5, "{in_h} x {in_w} to {out_h} x {out_w}");
            }
        }
    }

    #[test]
    fn an_empty_batch_is_fine() {
        resize(Interpolation::Bilinear, 0, 3, 3, 1, 2, 5, &[], &mut []);
        resize_gradient(Interpolation::Bilinear, 0, 3, 3, 1, 2, 5, &[], &mut []);
    }
}
