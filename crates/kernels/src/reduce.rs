//! Reductions along axes of samples: sum, mean, maximum, minimum, product.

use engraft_ir::Reduction;
use rayon::prelude::*;

use crate::chunks::{check_len, row_chunk};

/// Reduces the values of each sample of shape `shape` along `axes`.
///
/// `y` has the other axes in order. Sums and products are computed in f64.
///
/// ```
/// use engraft_kernels::{Reduction, reduce};
/// // One sample of two rows: the maximum of each column.
/// let mut y = [0.0; 3];
/// reduce(Reduction::Max, &[2, 3], &[0], &[1.0, 5.0, 3.0, 4.0, 2.0, 6.0], &mut y);
/// assert_eq!(y, [4.0, 5.0, 6.0]);
/// ```
pub fn reduce(reduction: Reduction, shape: &[usize], axes: &[usize], x: &[f32], y: &mut [f32]) {
    let layout = Layout::new(shape, axes);
    match reduction {
        Reduction::Sum => layout.fold(x, y, 0.0, |sum, x| sum + x, 1.0),
        Reduction::Mean => layout.fold(x, y, 0.0, |sum, x| sum + x, 1.0 / layout.terms as f64),
        Reduction::Prod => layout.fold(x, y, 1.0, |product, x| product * x, 1.0),
        Reduction::Max => {
            layout.fold(x, y, f64::NEG_INFINITY, |most, x| if x > most || x.is_nan() { x } else { most }, 1.0);
        }
        Reduction::Min => {
            layout.fold(x, y, f64::INFINITY, |least, x| if x < least || x.is_nan() { x } else { least }, 1.0);
        }
    }
}

/// The gradient of [`reduce`] with respect to `x`.
///
/// `x` and `y` are read only if [`Reduction::gradient_from_values`] says so, and may be empty otherwise.
///
/// ```
/// use engraft_kernels::{Reduction, reduce_gradient};
/// let mut dx = [0.0; 3];
/// reduce_gradient(Reduction::Max, &[3], &[0], &[2.0, 1.0, 2.0], &[2.0], &[3.0], &mut dx);
/// assert_eq!(dx, [1.5, 0.0, 1.5]);
/// ```
pub fn reduce_gradient(
    reduction: Reduction,
    shape: &[usize],
    axes: &[usize],
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let layout = Layout::new(shape, axes);
    match reduction {
        Reduction::Sum => layout.spread(dy, dx, |_, j| dy[j]),
        Reduction::Mean => layout.spread(dy, dx, |_, j| dy[j] / layout.terms as f32),
        Reduction::Max | Reduction::Min => {
            let mut counts = vec![0.0; dy.len()];
            let indicator: Vec<f32> = layout.indicator(x, y);
            layout.fold(&indicator, &mut counts, 0.0, |sum, x| sum + x, 1.0);
            layout.spread(dy, dx, |i, j| if indicator[i] == 0.0 { 0.0 } else { dy[j] / counts[j] });
        }
        Reduction::Prod => {
            // A quotient of the product and the value itself would be 0 / 0 where a value is 0.
            let (mut zeros, mut others) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
            layout.fold(x, &mut zeros, 0.0, |zeros, x| if x == 0.0 { zeros + 1.0 } else { zeros }, 1.0);
            layout.fold(x, &mut others, 1.0, |product, x| if x == 0.0 { product } else { product * x }, 1.0);
            layout.spread(dy, dx, |i, j| match (zeros[j], x[i]) {
                (0.0, x) => others[j] / x * dy[j],
                (1.0, 0.0) => others[j] * dy[j],
                _ => 0.0,
            });
        }
    }
}

/// A sample as blocks of rows. Neighboring axes of the same fate are merged.
struct Layout {
    /// Sizes of the axes of a block, and the stride of the result along each: 0 if the axis is reduced.
    axes: Vec<(usize, usize)>,
    /// Values of a block, and of its result.
    block: [usize; 2],
    /// Number of values that become one.
    terms: usize,
}

impl Layout {
    fn new(shape: &[usize], axes: &[usize]) -> Self {
        let mut merged: Vec<(usize, bool)> = Vec::new();
        for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
            let reduced = axes.contains(&axis);
            match merged.last_mut().filter(|(_, last)| *last == reduced) {
                Some((last, _)) => *last *= size,
                None => merged.push((size, reduced)),
            }
        }
        // Kept axes in front multiply the number of blocks, as the batch does.
        if merged.first().is_some_and(|(_, reduced)| !reduced) {
            merged.remove(0);
        }
        let terms = merged.iter().filter(|(_, reduced)| *reduced).map(|(size, _)| size).product();
        let mut stride = 1;
        let mut block_axes: Vec<(usize, usize)> = merged
            .iter()
            .rev()
            .map(|&(size, reduced)| {
                let own = if reduced { 0 } else { stride };
                stride *= if reduced { 1 } else { size };
                (size, own)
            })
            .collect();
        block_axes.reverse();
        let length = merged.iter().map(|(size, _)| size).product();
        Self { axes: block_axes, block: [length, stride], terms }
    }

    /// Calls `visit(start in the block, length, start in the result, stride of the result)` for each row of a block.
    fn rows(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let Some((&(width, stride), outer)) = self.axes.split_last() else { return visit(0, 1, 0, 0) };
        for row in 0..outer.iter().map(|(size, _)| size).product() {
            let (mut rest, mut offset) = (row, 0);
            for &(size, stride) in outer.iter().rev() {
                offset += rest % size * stride;
                rest /= size;
            }
            visit(row * width, width, offset, stride);
        }
    }

    /// Blocks that a task works on, so that short ones don't become a task each.
    fn blocks_per_task(&self) -> usize {
        row_chunk(self.block[0]) / self.block[0].max(1)
    }

    /// Folds the values of each result from `start` on, in order, and multiplies the result by `scale`.
    fn fold(&self, x: &[f32], y: &mut [f32], start: f64, f: impl Fn(f64, f64) -> f64 + Sync, scale: f64) {
        let [from, to] = self.block;
        check_len("x", x, y.len() / to * from);
        let blocks = self.blocks_per_task();
        y.par_chunks_mut(blocks * to).zip(x.par_chunks((blocks * from).max(1))).for_each(|(y, x)| {
            let mut folded = vec![start; to];
            for (y, x) in y.chunks_exact_mut(to).zip(x.chunks_exact(from.max(1))) {
                folded.fill(start);
                self.rows(|first, width, at, stride| {
                    let row = &x[first..][..width];
                    if stride == 0 {
                        folded[at] = row.iter().fold(folded[at], |value, &x| f(value, f64::from(x)));
                    } else {
                        let folded = folded[at..].iter_mut();
                        folded.zip(row).for_each(|(value, &x)| *value = f(*value, f64::from(x)));
                    }
                });
                y.iter_mut().zip(&folded).for_each(|(y, value)| *y = (value * scale) as f32);
            }
        });
    }

    /// Overwrites `dx` with `term(index of the value, index of its result)`.
    fn spread(&self, dy: &[f32], dx: &mut [f32], term: impl Fn(usize, usize) -> f32 + Sync) {
        let [from, to] = self.block;
        check_len("dx", dx, dy.len() / to * from);
        dx.par_chunks_mut(from.max(1)).with_min_len(self.blocks_per_task()).enumerate().for_each(|(block, dx)| {
            self.rows(|first, width, at, stride| {
                for (i, dx) in dx[first..][..width].iter_mut().enumerate() {
                    *dx = term(block * from + first + i, block * to + at + i * stride);
                }
            });
        });
    }

    /// 1 for each value of `x` that equals its result `y`, else 0.
    fn indicator(&self, x: &[f32], y: &[f32]) -> Vec<f32> {
        let mut indicator = vec![0.0; x.len()];
        self.spread(y, &mut indicator, |i, j| if x[i] == y[j] { 1.0 } else { 0.0 });
        indicator
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, integers, uniform};

    const REDUCTIONS: [Reduction; 5] =
        [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min, Reduction::Prod];

    /// The index of the result that element `index` of a sample belongs to.
    fn result_of(shape: &[usize], axes: &[usize], mut index: usize) -> usize {
        let (mut at, mut stride) = (0, 1);
        for axis in (0..shape.len()).rev() {
            if !axes.contains(&axis) {
                at += index % shape[axis] * stride;
                stride *= shape[axis];
            }
            index /= shape[axis];
        }
        at
    }

    fn value(reduction: Reduction, values: &[f64]) -> f64 {
        match reduction {
            Reduction::Sum => values.iter().sum(),
            Reduction::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Reduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Reduction::Prod => values.iter().product(),
        }
    }

    #[test]
    fn values_and_gradients_agree_with_plain_loops() {
        let cases: [(&[usize], &[usize]); 9] = [
            (&[3, 4, 5], &[2]),
            (&[3, 4, 5], &[0]),
            (&[3, 4, 5], &[1]),
            (&[3, 4, 5], &[0, 1]),
            (&[3, 4, 5], &[1, 2]),
            (&[3, 4, 5], &[0, 2]),
            (&[3, 4, 5], &[0, 1, 2]),
            (&[3, 1, 5], &[1]),
            (&[1], &[0]),
        ];
        for (shape, axes) in cases {
            let sample: usize = shape.iter().product();
            let results: usize = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).product();
            let x = uniform(2 * sample, 1);
            let dy = uniform(2 * results, 2);
            for reduction in REDUCTIONS {
                let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                reduce(reduction, shape, axes, &x, &mut y);
                reduce_gradient(reduction, shape, axes, &x, &y, &dy, &mut dx);
                let members = |j: usize| {
                    let own = move |i: &usize| i / sample * results + result_of(shape, axes, i % sample) == j;
                    (0..x.len()).filter(own).collect::<Vec<_>>()
                };
                for j in 0..y.len() {
                    let members = members(j);
                    let values: Vec<f64> = members.iter().map(|&i| f64::from(x[i])).collect();
                    assert_close(&[y[j]], &[value(reduction, &values) as f32], 1e-6);
                    for (place, &i) in members.iter().enumerate() {
                        let at = |step: f64| {
                            let mut values = values.clone();
                            values[place] += step;
                            value(reduction, &values)
                        };
                        let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                        assert_close(&[dx[i]], &[(slope * f64::from(dy[j])) as f32], 1e-4);
                    }
                }
            }
        }
    }

    #[test]
    fn equal_values_share_the_gradient_of_a_maximum() {
        let mut dx = [f32::NAN; 4];
        reduce_gradient(Reduction::Min, &[2, 2], &[1], &[1.0, 1.0, 2.0, 5.0], &[1.0, 2.0], &[1.0, 3.0], &mut dx);
        assert_eq!(dx, [0.5, 0.5, 3.0, 0.0]);
    }

    #[test]
    fn products_with_zeros_have_gradients() {
        let mut dx = [f32::NAN; 6];
        let x = [2.0, 0.0, 3.0, 0.0, 0.0, 4.0];
        reduce_gradient(Reduction::Prod, &[3], &[0], &x, &[0.0; 2], &[1.0; 2], &mut dx);
        assert_eq!(dx, [0.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_is_never_passed_over() {
        for reduction in REDUCTIONS {
            let mut y = [0.0];
            reduce(reduction, &[3], &[0], &[1.0, f32::NAN, 2.0], &mut y);
            assert!(y[0].is_nan(), "{reduction:?}");
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads_and_none_for_an_empty_batch() {
        let x = uniform(4 * 90 * 90 * 3, 1);
        assert_same_for_any_threads(|| {
            let mut y = vec![0.0; 4 * 90 * 90];
            reduce(Reduction::Mean, &[90, 90, 3], &[2], &x, &mut y);
            y
        });
        reduce(Reduction::Mean, &[2, 3], &[1], &[], &mut []);
        reduce_gradient(Reduction::Max, &[2, 3], &[1], &[], &[], &[], &mut []);
        let mut y = vec![0.0; 2];
        reduce(Reduction::Sum, &[4, 3], &[0, 1], &integers(24, 1), &mut y);
        assert_eq!(y[0], integers(24, 1)[..12].iter().sum::<f32>());
    }
}
