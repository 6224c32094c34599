//! Views into samples: slices, reversed axes, axes in another order.

use rayon::prelude::*;

use crate::chunks::check_len;

/// Elements of a sample in an order of their own: element `[i, j, …]` of `shape` stands at
/// `offset + i * strides[0] + j * strides[1] + …`. No two elements may stand at the same place.
///
/// ```
/// use engraft_kernels::StridedView;
/// // The second of two columns, from the bottom up.
/// let view = StridedView::slice(&[3, 2], &[2, 1], &[-1, 1], &[3, 1]);
/// let mut y = [0.0; 3];
/// view.read(6, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], &mut y);
/// assert_eq!(y, [30.0, 20.0, 10.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StridedView {
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: isize,
}

impl StridedView {
    /// Of samples of shape `from`: along each axis `shape` elements from `start` on, `step` apart (negative: backwards).
    pub fn slice(from: &[usize], start: &[usize], step: &[isize], shape: &[usize]) -> Self {
        let dense = dense_strides(from);
        let offset = start.iter().zip(&dense).map(|(&start, stride)| start as isize * stride).sum();
        let strides = step.iter().zip(&dense).map(|(step, stride)| step * stride).collect();
        Self { shape: shape.to_vec(), strides, offset }
    }

    /// Of samples of shape `from`: axis `i` is their axis `axes[i]`.
    pub fn permute(from: &[usize], axes: &[usize]) -> Self {
        let dense = dense_strides(from);
        Self {
            shape: axes.iter().map(|&axis| from[axis]).collect(),
            strides: axes.iter().map(|&axis| dense[axis]).collect(),
            offset: 0,
        }
    }

    /// `y`, the view of every sample in `x`; samples hold `sample` values.
    pub fn read(&self, sample: usize, x: &[f32], y: &mut [f32]) {
        let length = self.check(sample, x, y);
        y.par_chunks_mut(length.max(1)).zip(x.par_chunks(sample.max(1))).for_each(|(y, x)| {
            self.for_each(|to, from| y[to] = x[from]);
        });
    }

    /// The gradient of [`read`](Self::read): every value of `dy` at its place, zeros elsewhere.
    pub fn scatter(&self, sample: usize, dy: &[f32], dx: &mut [f32]) {
        let length = self.check(sample, dx, dy);
        dx.fill(0.0);
        dx.par_chunks_mut(sample.max(1)).zip(dy.par_chunks(length.max(1))).for_each(|(dx, dy)| {
            self.for_each(|from, to| dx[to] = dy[from]);
        });
    }

    fn check(&self, sample: usize, x: &[f32], y: &[f32]) -> usize {
        let length: usize = self.shape.iter().product();
        let samples = x.len() / sample.max(1);
        check_len("x", x, samples * sample);
        check_len("y", y, samples * length);
        length
    }

    /// Calls `visit` with each element's index in the view and in the sample, in the view's order.
    fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        let (Some((&width, outer)), Some((&stride, outer_strides))) =
            (self.shape.split_last(), self.strides.split_last())
        else {
            return visit(0, self.offset as usize);
        };
        for row in 0..outer.iter().product() {
            let mut rest = row;
            let mut place = self.offset;
            for (&size, &stride) in outer.iter().zip(outer_strides).rev() {
                place += (rest % size) as isize * stride;
                rest /= size;
            }
            for column in 0..width {
                visit(row * width + column, (place + column as isize * stride) as usize);
            }
        }
    }
}

/// How far apart neighbours along each axis stand in row-major order.
fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut stride = 1;
    let mut strides: Vec<isize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let own = stride;
            stride *= size as isize;
            own
        })
        .collect();
    strides.reverse();
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dot, integers};

    fn read(view: &StridedView, sample: usize, x: &[f32]) -> Vec<f32> {
        let length: usize = view.shape.iter().product();
        let mut y = vec![f32::NAN; x.len() / sample * length];
        view.read(sample, x, &mut y);
        y
    }

    #[test]
    fn slices_of_every_kind() {
        let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let slice = |start: [usize; 3], step: [isize; 3], shape: [usize; 3]| {
            read(&StridedView::slice(&[2, 3, 4], &start, &step, &shape), 24, &x)
        };
        assert_eq!(slice([0, 0, 0], [1, 1, 1], [2, 3, 4]), x);
        assert_eq!(slice([0, 0, 2], [1, 1, 1], [2, 3, 1]), [2.0, 6.0, 10.0, 14.0, 18.0, 22.0]);
        assert_eq!(slice([1, 2, 3], [1, -2, -3], [1, 2, 2]), [23.0, 20.0, 15.0, 12.0]);
        assert_eq!(slice([0, 1, 0], [1, 1, 2], [1, 1, 2]), [4.0, 6.0]);
    }

    #[test]
    fn a_permutation_and_its_inverse() {
        let x = integers(2 * 24, 1);
        let there = read(&StridedView::permute(&[2, 3, 4], &[2, 0, 1]), 24, &x);
        assert_eq!(there[1], x[4], "element [0, 0, 1] is [0, 1, 0]");
        assert_eq!(read(&StridedView::permute(&[4, 2, 3], &[1, 2, 0]), 24, &there), x);
    }

    #[test]
    fn scattering_is_the_transpose_of_reading() {
        // For a linear map A, <A x, dy> = <x, A' dy>.
        let view = StridedView::slice(&[3, 4], &[2, 0], &[-1, 3], &[2, 2]);
        let (x, dy) = (integers(24, 1), integers(8, 2));
        let mut dx = vec![f32::NAN; 24];
        view.scatter(12, &dy, &mut dx);
        assert_eq!(dot(&read(&view, 12, &x), &dy), dot(&x, &dx));
    }

    #[test]
    fn views_of_single_numbers_and_of_nothing() {
        assert_eq!(read(&StridedView::permute(&[], &[]), 1, &[7.0, 8.0]), [7.0, 8.0]);
        StridedView::permute(&[2, 3], &[1, 0]).read(6, &[], &mut []);
    }
}
