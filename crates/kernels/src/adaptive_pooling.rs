//! Adaptive pooling of NHWC images: windows that divide an image as evenly as possible.

use std::ops::Range;

use rayon::prelude::*;

use crate::PoolKind;
use crate::chunks::check_len;

/// Height and width of the input and the output, and the number of channels.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
}

impl Sizes {
    fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.channels
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }

    /// The input rows (axis 0) or columns (axis 1) that an output row or column covers.
    fn window(&self, axis: usize, index: usize) -> Range<usize> {
        let (inputs, outputs) = (self.input[axis], self.output[axis]);
        index * inputs / outputs..((index + 1) * inputs).div_ceil(outputs)
    }

    /// Calls `visit` with the offset of each output pixel in an image, and the offsets of the input pixels that it covers, column
    /// by column.
    fn for_each_window(&self, mut visit: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
        let Self { input: [_, in_w], output: [out_h, out_w], channels } = *self;
        for (row, column) in (0..out_h).flat_map(|row| (0..out_w).map(move |column| (row, column))) {
            let rows = self.window(0, row);
            let pixels = self.window(1, column).flat_map(|x| rows.clone().map(move |y| (y * in_w + x) * channels));
            visit((row * out_w + column) * channels, &mut { pixels });
        }
    }
}

/// Pools images of `input` height and width to `output`. Output pixel `i` of `n` along an axis covers the input pixels from
/// `i * size / n`, rounded down, to `(i + 1) * size / n`, rounded up (Keras' `AdaptiveAveragePooling2D`, `AdaptiveMaxPooling2D`).
///
/// ```
/// use engraft_kernels::{PoolKind, adaptive_pool2d};
/// let mut y = [0.0; 2];
/// adaptive_pool2d(PoolKind::Average, [1, 3], [1, 2], 1, &[1.0, 2.0, 6.0], &mut y);
/// assert_eq!(y, [1.5, 4.0]);
/// ```
pub fn adaptive_pool2d(
    kind: PoolKind,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    x: &[f32],
    y: &mut [f32],
) {
    let sizes = Sizes { input, output, channels };
    for_each_image(&sizes, x, y, |x, y| {
        sizes.for_each_window(|to, pixels| {
            let y = &mut y[to..][..channels];
            let mut count = 0.0f32;
            for from in pixels {
                let x = &x[from..][..channels];
                match kind {
                    _ if count == 0.0 => y.copy_from_slice(x),
                    PoolKind::Average => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                    // `f32::max` would drop NaN.
                    PoolKind::Max => {
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = if *x > *y || x.is_nan() { *x } else { *y })
                    }
                }
                count += 1.0;
            }
            if kind == PoolKind::Average {
                y.iter_mut().for_each(|y| *y /= count);
            }
        });
    });
}

/// The gradient of average [`adaptive_pool2d`] with respect to its input.
///
/// ```
/// let mut dx = [0.0; 3];
/// engraft_kernels::adaptive_average_pool_gradient([1, 3], [1, 2], 1, &[1.0, 2.0], &mut dx);
/// assert_eq!(dx, [0.5, 1.5, 1.0]);
/// ```
pub fn adaptive_average_pool_gradient(
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    let sizes = Sizes { input, output, channels };
    check_len("dx", dx, dy.len() / sizes.output_len().max(1) * sizes.input_len());
    for_each_image_pair(&sizes, dx, dy, |_, dx, dy| {
        dx.fill(0.0);
        sizes.for_each_window(|from, pixels| {
            let dy = &dy[from..][..channels];
            let pixels: Vec<usize> = pixels.collect();
            let share = 1.0 / pixels.len() as f32;
            for to in pixels {
                dx[to..][..channels].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
            }
        });
    });
}

/// The gradient of maximum [`adaptive_pool2d`] with respect to its input: to the first pixel of each window that has the maximum.
///
/// TensorFlow pools rows first, then columns, so the first pixel is the topmost one of the leftmost column.
///
/// ```
/// let (x, mut dx) = ([1.0, 2.0, 6.0], [0.0; 3]);
/// engraft_kernels::adaptive_max_pool_gradient([1, 3], [1, 2], 1, &x, &[1.0, 2.0], &mut dx);
/// assert_eq!(dx, [0.0, 1.0, 2.0]);
/// ```
pub fn adaptive_max_pool_gradient(
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let sizes = Sizes { input, output, channels };
    check_len("dx", dx, x.len());
    for_each_image_pair(&sizes, dx, dy, |image, dx, dy| {
        let x = &x[image * sizes.input_len()..][..sizes.input_len()];
        dx.fill(0.0);
        sizes.for_each_window(|from, pixels| {
            let pixels: Vec<usize> = pixels.collect();
            for channel in 0..channels {
                let mut largest = pixels[0];
                pixels
                    .iter()
                    .for_each(|&at| largest = if x[at + channel] > x[largest + channel] { at } else { largest });
                dx[largest + channel] += dy[from + channel];
            }
        });
    });
}

fn for_each_image(sizes: &Sizes, x: &[f32], y: &mut [f32], work: impl Fn(&[f32], &mut [f32]) + Sync) {
    let [input, output] = [sizes.input_len().max(1), sizes.output_len().max(1)];
    check_len("y", y, x.len() / input * output);
    y.par_chunks_mut(output).zip(x.par_chunks(input)).for_each(|(y, x)| work(x, y));
}

fn for_each_image_pair(sizes: &Sizes, dx: &mut [f32], dy: &[f32], work: impl Fn(usize, &mut [f32], &[f32]) + Sync) {
    let [input, output] = [sizes.input_len().max(1), sizes.output_len().max(1)];
    check_len("dy", dy, dx.len() / input * output);
    dx.par_chunks_mut(input).zip(dy.par_chunks(output)).enumerate().for_each(|(image, (dx, dy))| work(image, dx, dy));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numeric_gradient, uniform};

    /// The definition: the windows' edges are rounded multiples of the ratio of the sizes.
    fn expected(kind: PoolKind, input: [usize; 2], output: [usize; 2], channels: usize, x: &[f64]) -> Vec<f64> {
        let edge = |axis: usize, index: usize| index as f64 * input[axis] as f64 / output[axis] as f64;
        let mut y = Vec::new();
        for image in x.chunks(input[0] * input[1] * channels) {
            for (row, column) in (0..output[0]).flat_map(|row| (0..output[1]).map(move |column| (row, column))) {
                for channel in 0..channels {
                    let mut values = Vec::new();
                    for r in edge(0, row).floor() as usize..edge(0, row + 1).ceil() as usize {
                        for c in edge(1, column).floor() as usize..edge(1, column + 1).ceil() as usize {
                            values.push(image[(r * input[1] + c) * channels + channel]);
                        }
                    }
                    y.push(match kind {
                        PoolKind::Average => values.iter().sum::<f64>() / values.len() as f64,
                        PoolKind::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    });
                }
            }
        }
        y
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definition() {
        for (input, output) in [([5, 7], [3, 4]), ([6, 4], [3, 2]), ([2, 3], [4, 5]), ([7, 5], [1, 1])] {
            let (channels, len) = (3, 2 * input[0] * input[1] * 3);
            let x = uniform(len, 1);
            let dy = uniform(2 * output[0] * output[1] * channels, 2);
            for kind in [PoolKind::Average, PoolKind::Max] {
                let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; len]);
                adaptive_pool2d(kind, input, output, channels, &x, &mut y);
                let wide: Vec<f64> = x.iter().copied().map(f64::from).collect();
                let definition: Vec<f32> =
                    expected(kind, input, output, channels, &wide).iter().map(|y| *y as f32).collect();
                assert_close(&y, &definition, 1e-6);
                match kind {
                    PoolKind::Average => adaptive_average_pool_gradient(input, output, channels, &dy, &mut dx),
                    PoolKind::Max => adaptive_max_pool_gradient(input, output, channels, &x, &dy, &mut dx),
                }
                let score = |x: &[f64]| {
                    let y = expected(kind, input, output, channels, x);
                    y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
                };
                assert_close(&dx, &numeric_gradient(&x, score), 1e-6);
            }
        }
    }

    #[test]
    fn empty_batches() {
        adaptive_pool2d(PoolKind::Max, [4, 4], [2, 2], 3, &[], &mut []);
        adaptive_max_pool_gradient([4, 4], [2, 2], 3, &[], &[], &mut []);
    }
}
