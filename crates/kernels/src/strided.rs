//! Strided views of samples: slices with steps, reversed axes, permuted axes.

use rayon::prelude::*;

use crate::chunks::check_len;

/// A strided view of a sample, as of a tensor in NumPy. It is applied to each sample of a batch.
///
/// Element `[i, j, …]` of the view is the sample's value at `offset + i * strides[0] + j * strides[1] + …`. No two elements of a
/// view refer to the same value of the sample.
///
/// ```
/// use engraft_kernels::StridedView;
/// // The second of two columns, from the bottom up.
/// let view = StridedView::slice(&[3, 2], &[2, 1], &[-1, 1], &[3, 1]);
/// let mut y = [0.0; 3];
/// view.read(6, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], &mut y);
/// assert_eq!(y, [30.0, 20.0, 10.0]);
///
/// // The gradient of `read`.
/// let mut dx = [0.0; 6];
/// view.scatter(6, &[1.0, 2.0, 3.0], &mut dx);
/// assert_eq!(dx, [0.0, 3.0, 0.0, 2.0, 0.0, 1.0]);
///
/// let transpose = StridedView::permute(&[3, 2], &[1, 0]);
/// let mut columns = [0.0; 6];
/// transpose.read(6, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], &mut columns);
/// assert_eq!(columns, [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StridedView {
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: isize,
}

impl StridedView {
    /// A slice of samples of shape `from`: `shape[i]` elements along axis `i`, from `start[i]` on, in steps of `step[i]`.
    ///
    /// Negative steps go backwards.
    pub fn slice(from: &[usize], start: &[usize], step: &[isize], shape: &[usize]) -> Self {
        let dense = dense_strides(from);
        let offset = start.iter().zip(&dense).map(|(&start, stride)| start as isize * stride).sum();
        let strides = step.iter().zip(&dense).map(|(step, stride)| step * stride).collect();
        Self { shape: shape.to_vec(), strides, offset }
    }

    /// A permutation of the axes of samples of shape `from`: axis `i` of the view is axis `axes[i]` of a sample (NumPy's
    /// `transpose`).
    pub fn permute(from: &[usize], axes: &[usize]) -> Self {
        let dense = dense_strides(from);
        Self {
            shape: axes.iter().map(|&axis| from[axis]).collect(),
            strides: axes.iter().map(|&axis| dense[axis]).collect(),
            offset: 0,
        }
    }

    /// Copies the view of every sample in `x` to `y`. A sample has `sample` values.
    ///
    /// # Panics
    /// If the length of `x` isn't a multiple of `sample`, or the length of `y` isn't that of the views of all samples.
    pub fn read(&self, sample: usize, x: &[f32], y: &mut [f32]) {
        let length = self.check(sample, x, y);
        y.par_chunks_mut(length.max(1)).zip(x.par_chunks(sample.max(1))).for_each(|(y, x)| {
            self.for_each(|to, from| y[to] = x[from]);
        });
    }

    /// The gradient of [`read`](Self::read): writes the elements of `dy` to their positions in `dx`, and zeros elsewhere.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn scatter(&self, sample: usize, dy: &[f32], dx: &mut [f32]) {
        let length = self.check(sample, dx, dy);
        dx.fill(0.0);
        dx.par_chunks_mut(sample.max(1)).zip(dy.par_chunks(length.max(1))).for_each(|(dx, dy)| {
            self.for_each(|from, to| dx[to] = dy[from]);
        });
    }

    /// Checks both lengths, and returns the length of the view.
    fn check(&self, sample: usize, x: &[f32], y: &[f32]) -> usize {
        let length: usize = self.shape.iter().product();
        let samples = x.len() / sample.max(1);
        check_len("x", x, samples * sample);
        check_len("y", y, samples * length);
        length
    }

    /// Calls `visit(view index, sample index)` for each element, in the order of the view.
    fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        let (Some((&width, outer)), Some((&stride, outer_strides))) =
            (self.shape.split_last(), self.strides.split_last())
        else {
            return visit(0, self.offset as usize);
        };
        for row in 0..outer.iter().product() {
            let mut rest = row;
            let mut start = self.offset;
            for (&size, &stride) in outer.iter().zip(outer_strides).rev() {
                start += (rest % size) as isize * stride;
                rest /= size;
            }
            for column in 0..width {
                visit(row * width + column, (start + column as isize * stride) as usize);
            }
        }
    }
}

/// The strides of a contiguous row-major tensor of `shape`.
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
