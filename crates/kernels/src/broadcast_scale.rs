//! Products with a weight that every sample shares, broadcast along its axes of size 1: LayerScale, and PReLU below zero.

use rayon::prelude::*;

use crate::chunks::{check_len, row_chunk};

/// The shapes of a sample and of the weight, of the same rank. Each axis of the weight has the sample's size or size 1.
struct Shapes<'a> {
    sample: &'a [usize],
    weight: &'a [usize],
}

impl Shapes<'_> {
    /// Panics if the weight can't be broadcast to a sample, or has another length.
    fn check(&self, weight: &[f32]) {
        let fits = self.sample.len() == self.weight.len()
            && self.sample.iter().zip(self.weight).all(|(sample, weight)| weight == sample || *weight == 1);
        assert!(fits, "the weight {:?} must have the sizes of a sample {:?} or 1", self.weight, self.sample);
        check_len("weight", weight, self.weight.iter().product());
    }

    /// Length of a row, the last axis of a sample.
    fn width(&self) -> usize {
        self.sample.last().copied().unwrap_or(1).max(1)
    }

    /// Whether a row has one weight instead of a weight for each value.
    fn is_scalar(&self) -> bool {
        self.weight.last().is_none_or(|&width| width == 1)
    }

    /// Where the weights of a row begin, for the row's index in the batch.
    fn offset(&self, row: usize) -> usize {
        let (Some((_, outer)), Some((&width, outer_weight))) = (self.sample.split_last(), self.weight.split_last())
        else {
            return 0;
        };
        let (mut rest, mut offset, mut stride) = (row, 0, width);
        for (size, weights) in outer.iter().zip(outer_weight).rev() {
            if *weights != 1 {
                offset += rest % size * stride;
            }
            rest /= size;
            stride *= weights;
        }
        offset
    }
}

/// The slope of the product at `x`. At 0, TensorFlow's gradient of Keras' PReLU is 0.
fn slope(below_zero: bool, x: f32, weight: f32) -> f32 {
    match below_zero {
        true if x > 0.0 => 1.0,
        true if x == 0.0 => 0.0,
        _ => weight,
    }
}

/// `y = x * weight`, with `weight` broadcast to each sample. With `below_zero`, values above zero pass unchanged (PReLU).
///
/// `sample` and `shape` are the shapes of a sample and of the weight, of the same rank.
///
/// ```
/// use engraft_kernels::broadcast_scale;
/// let mut y = [0.0; 4];
/// broadcast_scale(&[2, 2], &[1, 2], &[10.0, 0.5], false, &[1.0, -2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [10.0, -1.0, 30.0, 2.0]);
/// broadcast_scale(&[2, 2], &[1, 2], &[10.0, 0.5], true, &[1.0, -2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [1.0, -1.0, 3.0, 4.0]);
/// ```
pub fn broadcast_scale(sample: &[usize], shape: &[usize], weight: &[f32], below_zero: bool, x: &[f32], y: &mut [f32]) {
    let value = |x: f32, weight: f32| if below_zero && x > 0.0 { x } else { x * weight };
    map_rows(&Shapes { sample, weight: shape }, weight, x, y, |y, x, weight| *y = value(x, weight));
}

/// The gradient of [`broadcast_scale`] with respect to `x`.
///
/// ```
/// use engraft_kernels::broadcast_scale_gradient;
/// let mut dx = [1.0; 2];
/// broadcast_scale_gradient(&[2], &[1], &[0.5], true, &[2.0, -2.0], &mut dx);
/// assert_eq!(dx, [1.0, 0.5]);
/// ```
///
/// `dy` holds the gradient with respect to `y` on entry, and with respect to `x` on return.
pub fn broadcast_scale_gradient(
    sample: &[usize],
    shape: &[usize],
    weight: &[f32],
    below_zero: bool,
    x: &[f32],
    dy: &mut [f32],
) {
    let shapes = Shapes { sample, weight: shape };
    map_rows(&shapes, weight, x, dy, |dy, x, weight| *dy *= slope(below_zero, x, weight));
}

/// Calls `f` with each element of `y`, the same of `x`, and its weight.
fn map_rows(shapes: &Shapes<'_>, weight: &[f32], x: &[f32], y: &mut [f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    shapes.check(weight);
    check_len("y", y, x.len());
    let (width, scalar) = (shapes.width(), shapes.is_scalar());
    let chunk = row_chunk(width);
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(index, (y, x))| {
        for (row, (y, x)) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
            let weights = &weight[shapes.offset(index * (chunk / width) + row)..];
            match scalar {
                true => y.iter_mut().zip(x).for_each(|(y, x)| f(y, *x, weights[0])),
                false => y.iter_mut().zip(x).zip(weights).for_each(|((y, x), weight)| f(y, *x, *weight)),
            }
        }
    });
}

/// The gradient of [`broadcast_scale`] with respect to the weight: `x * dy`, summed over samples and broadcast axes.
///
/// ```
/// use engraft_kernels::broadcast_scale_weight_gradient;
/// let mut dw = [0.0; 1];
/// broadcast_scale_weight_gradient(&[3], &[1], true, &[2.0, -2.0, -1.0], &[1.0, 1.0, 2.0], &mut dw);
/// assert_eq!(dw, [-4.0]);
/// ```
pub fn broadcast_scale_weight_gradient(
    sample: &[usize],
    shape: &[usize],
    below_zero: bool,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    /// Samples and rows are summed in this many parts, in a fixed order.
    const PARTS: usize = 16;
    let shapes = Shapes { sample, weight: shape };
    shapes.check(dw);
    check_len("dy", dy, x.len());
    let (width, scalar) = (shapes.width(), shapes.is_scalar());
    let term = |x: f32, dy: f32| if below_zero && x > 0.0 { 0.0 } else { f64::from(x * dy) };
    let part_rows = (x.len() / width).div_ceil(PARTS).max(1);
    let partials: Vec<Vec<f64>> = x
        .par_chunks(part_rows * width)
        .zip(dy.par_chunks(part_rows * width))
        .enumerate()
        .map(|(part, (x, dy))| {
            let mut sums = vec![0.0f64; dw.len()];
            for (row, (x, dy)) in x.chunks_exact(width).zip(dy.chunks_exact(width)).enumerate() {
                let sums = &mut sums[shapes.offset(part * part_rows + row)..];
                let terms = x.iter().zip(dy).map(|(x, dy)| term(*x, *dy));
                match scalar {
                    true => sums[0] += terms.sum::<f64>(),
                    false => sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term),
                }
            }
            sums
        })
        .collect();
    for (index, dw) in dw.iter_mut().enumerate() {
        *dw = partials.iter().map(|sums| sums[index]).sum::<f64>() as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_for_any_threads, integers, uniform};

    /// The index of the weight of each element of a sample, computed axis by axis.
    fn weight_indices(sample: &[usize], weight: &[usize]) -> Vec<usize> {
        (0..sample.iter().product())
            .map(|index| {
                let (mut rest, mut offset, mut stride) = (index, 0, 1);
                for (size, weights) in sample.iter().zip(weight).rev() {
                    offset += rest % size % weights * stride;
                    rest /= size;
                    stride *= weights;
                }
                offset
            })
            .collect()
    }

    #[test]
    fn products_and_gradients_agree_with_plain_loops() {
        let sample = [3, 4, 5];
        for shape in [[3, 4, 5], [1, 1, 5], [3, 4, 1], [1, 4, 1], [3, 1, 5], [1, 1, 1]] {
            for below_zero in [false, true] {
                let len: usize = shape.iter().product();
                let (x, dy, weight) = (integers(120, 1), integers(120, 2), integers(len, 3));
                let (mut expected_y, mut expected_dx, mut expected_dw) = (vec![], vec![], vec![0.0; len]);
                let indices = weight_indices(&sample, &shape);
                for (i, (&x, &dy)) in x.iter().zip(&dy).enumerate() {
                    let (at, passes) = (indices[i % 60], below_zero && x > 0.0);
                    expected_y.push(if passes { x } else { x * weight[at] });
                    let at_zero = below_zero && x == 0.0;
                    expected_dx.push(if passes {
                        dy
                    } else if at_zero {
                        0.0
                    } else {
                        dy * weight[at]
                    });
                    expected_dw[at] += if passes { 0.0 } else { x * dy };
                }
                let (mut y, mut dx, mut dw) = (vec![f32::NAN; 120], dy.clone(), vec![f32::NAN; len]);
                broadcast_scale(&sample, &shape, &weight, below_zero, &x, &mut y);
                broadcast_scale_gradient(&sample, &shape, &weight, below_zero, &x, &mut dx);
                broadcast_scale_weight_gradient(&sample, &shape, below_zero, &x, &dy, &mut dw);
                assert_eq!((y, dx, dw), (expected_y, expected_dx, expected_dw), "{shape:?} {below_zero}");
            }
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (x, dy) = (uniform(900 * 40, 1), uniform(900 * 40, 2));
        assert_same_for_any_threads(|| {
            let mut dw = vec![0.0; 40];
            broadcast_scale_weight_gradient(&[300, 40], &[1, 40], true, &x, &dy, &mut dw);
            dw
        });
    }

    #[test]
    fn the_gradient_of_one_weight_keeps_the_small_beside_the_large() {
        // A sum in f32 alone would stay at 2^24.
        let (mut x, mut dw) = (vec![1.0; 100_001], [f32::NAN]);
        x[0] = 16_777_216.0;
        broadcast_scale_weight_gradient(&[100_001], &[1], false, &x, &vec![1.0; 100_001], &mut dw);
        assert_eq!(dw, [16_877_216.0]);
    }

    #[test]
    fn empty_batches() {
        let mut dw = [1.0; 2];
        broadcast_scale(&[3, 2], &[1, 2], &[1.0; 2], false, &[], &mut []);
        broadcast_scale_weight_gradient(&[3, 2], &[1, 2], false, &[], &[], &mut dw);
        assert_eq!(dw, [0.0; 2]);
    }
}
