//! Pooling: the maximum or mean of each channel over windows of pixels. Pooling over whole images is in
//! [`global_pool`](crate::global_pool).

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::{Pool2dShape, PoolKind};

fn check(shape: &Pool2dShape, input: &[f32], output: &[f32]) {
    assert!(shape.channels > 0 && !shape.stride.contains(&0), "{shape:?} has no channels or a stride of zero");
    check_len("input", input, shape.batch * shape.in_size());
    check_len("output", output, shape.batch * shape.out_size());
}

/// Whether [`replace_max_pool2d_input`] supports this shape: windows don't overlap, leave no gaps and stay inside the image.
///
/// ```
/// use engraft_kernels::{Pool2dShape, max_pool2d_gradient_in_place};
/// let shape = Pool2dShape {
///     batch: 1, in_h: 4, in_w: 4, channels: 8, size: [2, 2], stride: [2, 2], pad: [0, 0], out_h: 2, out_w: 2,
/// };
/// assert!(max_pool2d_gradient_in_place(&shape));
/// assert!(!max_pool2d_gradient_in_place(&Pool2dShape { stride: [1, 1], out_h: 3, out_w: 3, ..shape }));
/// ```
pub fn max_pool2d_gradient_in_place(shape: &Pool2dShape) -> bool {
    shape.windows_are_disjoint()
}

/// The maximum or mean of each window of `x`. A window without pixels gives minus infinity (maximum) or NaN (mean).
///
/// ```
/// use engraft_kernels::{Pool2dShape, PoolKind, pool2d};
/// let shape = Pool2dShape {
///     batch: 1, in_h: 2, in_w: 2, channels: 1, size: [2, 2], stride: [2, 2], pad: [0, 0], out_h: 1, out_w: 1,
/// };
/// let mut y = [0.0];
/// pool2d(PoolKind::Average, &shape, &[1.0, 2.0, 3.0, 6.0], &mut y);
/// assert_eq!(y, [3.0]);
/// ```
pub fn pool2d(kind: PoolKind, shape: &Pool2dShape, x: &[f32], y: &mut [f32]) {
    check(shape, x, y);
    let row = shape.out_w * shape.channels;
    y.par_chunks_mut(row.max(1)).enumerate().for_each(|(index, y)| {
        let (image, row) = (index / shape.out_h, index % shape.out_h);
        let x = &x[image * shape.in_size()..][..shape.in_size()];
        for (column, y) in y.chunks_exact_mut(shape.channels).enumerate() {
            let (rows, columns) = shape.window(row, column);
            let pixels = rows.flat_map(|row| columns.clone().map(move |column| shape.pixel_offset(row, column)));
            reduce(kind, pixels.map(|start| &x[start..][..shape.channels]), y);
        }
    });
}

/// The maximum or mean of `pixels`, channel by channel.
pub(crate) fn reduce<'a>(kind: PoolKind, pixels: impl Iterator<Item = &'a [f32]>, y: &mut [f32]) {
    match kind {
        PoolKind::Max => {
            y.fill(f32::NEG_INFINITY);
            // `f32::max` would drop NaN and hide that a model has diverged.
            let greater = |(y, &x): (&mut f32, &f32)| *y = if x > *y || x.is_nan() { x } else { *y };
            pixels.for_each(|x| y.iter_mut().zip(x).for_each(greater));
        }
        PoolKind::Average => {
            y.fill(0.0);
            let mut count = 0;
            pixels.for_each(|x| {
                count += 1;
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            });
            y.iter_mut().for_each(|y| *y /= count as f32);
        }
    }
}

/// The gradient of max pooling: each `dy` goes to the first maximum of its window in row-major order, as in TensorFlow.
///
/// ```
/// use engraft_kernels::{Pool2dShape, PoolKind, average_pool2d_gradient, max_pool2d_gradient, pool2d};
/// let shape = Pool2dShape {
///     batch: 1, in_h: 1, in_w: 3, channels: 1, size: [1, 2], stride: [1, 1], pad: [0, 0], out_h: 1, out_w: 2,
/// };
/// let (x, dy, mut y, mut dx) = ([1.0, 5.0, 2.0], [10.0, 20.0], [0.0; 2], [0.0; 3]);
/// pool2d(PoolKind::Max, &shape, &x, &mut y);
/// max_pool2d_gradient(&shape, &x, &y, &dy, &mut dx);
/// assert_eq!(dx, [0.0, 30.0, 0.0]);
/// average_pool2d_gradient(&shape, &dy, &mut dx);
/// assert_eq!(dx, [5.0, 15.0, 10.0]);
/// ```
pub fn max_pool2d_gradient(shape: &Pool2dShape, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    check(shape, x, y);
    check(shape, dx, dy);
    dx.par_chunks_mut(shape.in_size().max(1)).enumerate().for_each(|(image, dx)| {
        let x = &x[image * shape.in_size()..][..shape.in_size()];
        let [y, dy] = [y, dy].map(|slice| &slice[image * shape.out_size()..][..shape.out_size()]);
        dx.fill(0.0);
        let mut left = vec![0.0; shape.channels];
        for (pixel, (y, dy)) in y.chunks_exact(shape.channels).zip(dy.chunks_exact(shape.channels)).enumerate() {
            let (rows, columns) = shape.window(pixel / shape.out_w, pixel % shape.out_w);
            left.copy_from_slice(dy);
            for at in rows.flat_map(|row| columns.clone().map(move |column| shape.pixel_offset(row, column))) {
                let (x, dx) = (&x[at..][..shape.channels], &mut dx[at..][..shape.channels]);
                for (((dx, x), y), left) in dx.iter_mut().zip(x).zip(y).zip(&mut left) {
                    let taken = if x == y { *left } else { 0.0 };
                    *dx += taken;
                    *left -= taken;
                }
            }
        }
    });
}

/// [`max_pool2d_gradient`] in place: `x` holds the input on entry and the gradient with respect to it on return.
///
/// With `relu`, `x` is the output of a ReLU, and the gradient on return is with respect to the ReLU's input.
///
/// ```
/// use engraft_kernels::{Pool2dShape, replace_max_pool2d_input};
/// let shape = Pool2dShape {
///     batch: 1, in_h: 2, in_w: 2, channels: 1, size: [2, 2], stride: [2, 2], pad: [0, 0], out_h: 1, out_w: 1,
/// };
/// let mut x = [1.0, 2.0, 3.0, 6.0];
/// replace_max_pool2d_input(&shape, &[6.0], &[0.5], true, &mut x);
/// assert_eq!(x, [0.0, 0.0, 0.0, 0.5]);
/// ```
///
/// # Panics
/// A slice has the wrong length, or [the shape isn't supported](max_pool2d_gradient_in_place).
pub fn replace_max_pool2d_input(shape: &Pool2dShape, y: &[f32], dy: &[f32], relu: bool, x: &mut [f32]) {
    check(shape, x, y);
    check(shape, x, dy);
    assert!(shape.windows_are_disjoint(), "windows of {shape:?} overlap, leave gaps or reach beyond the image");
    let row = shape.out_w * shape.channels;
    x.par_chunks_mut(shape.in_size().max(1)).enumerate().for_each(|(image, x)| {
        let [y, dy] = [y, dy].map(|slice| &slice[image * shape.out_size()..][..shape.out_size()]);
        let mut left = vec![0.0; row];
        for (index, x) in x.chunks_mut(shape.size[0] * shape.in_w * shape.channels).enumerate() {
            match y.get(index * row..(index + 1) * row) {
                Some(y) => {
                    left.copy_from_slice(&dy[index * row..][..row]);
                    let rows = x.chunks_exact_mut(shape.in_w * shape.channels);
                    rows.for_each(|x| replace_row(shape, y, &mut left, relu, x));
                }
                // Rows below the last window have no gradient.
                None => x.fill(0.0),
            }
        }
    });
}

/// Replaces one row of pixels by its gradient.
///
/// `left` holds the gradient of each window that no pixel has received yet. The first pixel that equals the maximum receives it
/// and sets `left` to zero, so later ties get none.
fn replace_row(shape: &Pool2dShape, y: &[f32], left: &mut [f32], relu: bool, x: &mut [f32]) {
    let channels = shape.channels;
    let (windows, uncovered) = x.split_at_mut(shape.out_w * shape.size[1] * channels);
    uncovered.fill(0.0);
    let windows = windows.chunks_exact_mut(shape.size[1] * channels);
    for ((x, y), left) in windows.zip(y.chunks_exact(channels)).zip(left.chunks_exact_mut(channels)) {
        for x in x.chunks_exact_mut(channels) {
            for ((x, y), left) in x.iter_mut().zip(y).zip(&mut *left) {
                let taken = if *x == *y { *left } else { 0.0 };
                *left -= taken;
                *x = if relu && *x <= 0.0 { 0.0 } else { taken };
            }
        }
    }
}

/// The gradient of average pooling: each `dy` is divided equally among the pixels of its window.
pub fn average_pool2d_gradient(shape: &Pool2dShape, dy: &[f32], dx: &mut [f32]) {
    check(shape, dx, dy);
    dx.par_chunks_mut(shape.in_size().max(1)).enumerate().for_each(|(image, dx)| {
        let dy = &dy[image * shape.out_size()..][..shape.out_size()];
        dx.fill(0.0);
        for (pixel, dy) in dy.chunks_exact(shape.channels).enumerate() {
            let (rows, columns) = shape.window(pixel / shape.out_w, pixel % shape.out_w);
            let share = 1.0 / (rows.len() * columns.len()) as f32;
            for at in rows.flat_map(|row| columns.clone().map(move |column| shape.pixel_offset(row, column))) {
                dx[at..][..shape.channels].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, integers, to_f32};

    fn shapes() -> Vec<Pool2dShape> {
        let base = Pool2dShape {
            batch: 2,
            in_h: 7,
            in_w: 6,
            channels: 3,
            size: [2, 2],
            stride: [2, 2],
            pad: [0, 0],
            out_h: 3,
            out_w: 3,
        };
        vec![
            base,
            // Padding "same": the last windows reach beyond the lower edge.
            Pool2dShape { out_h: 4, ..base },
            // Overlapping windows with padding on all sides.
            Pool2dShape { size: [3, 3], stride: [2, 1], pad: [1, 1], out_h: 4, out_w: 6, ..base },
            // Some rows and a column that no window covers.
            Pool2dShape { in_h: 9, in_w: 7, ..base },
            // Gaps between windows.
            Pool2dShape { size: [1, 2], stride: [3, 3], out_h: 3, out_w: 2, ..base },
            Pool2dShape { batch: 1, channels: 70, size: [7, 6], stride: [1, 1], out_h: 1, out_w: 1, ..base },
        ]
    }

    #[test]
    fn pools_agree_with_the_reference() {
        for shape in shapes() {
            let x = integers(shape.batch * shape.in_size(), 1);
            for kind in [PoolKind::Max, PoolKind::Average] {
                let mut y = vec![f32::NAN; shape.batch * shape.out_size()];
                pool2d(kind, &shape, &x, &mut y);
                assert_eq!(y, to_f32(&reference::pool2d(kind, &shape, &x)), "{kind:?} {shape:?}");
            }
        }
    }

    #[test]
    fn gradients_agree_with_the_reference() {
        for shape in shapes() {
            // Inputs are small whole numbers, so that ties for the maximum are frequent.
            let x = integers(shape.batch * shape.in_size(), 1);
            let dy = integers(shape.batch * shape.out_size(), 2);
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![f32::NAN; x.len()]);
            pool2d(PoolKind::Max, &shape, &x, &mut y);
            max_pool2d_gradient(&shape, &x, &y, &dy, &mut dx);
            assert_eq!(dx, to_f32(&reference::pool2d_gradient(PoolKind::Max, &shape, &x, &dy)), "{shape:?}");
            if shape.windows_are_disjoint() {
                for relu in [false, true] {
                    let mut replaced = x.clone();
                    replace_max_pool2d_input(&shape, &y, &dy, relu, &mut replaced);
                    dx.iter_mut().zip(&x).filter(|(_, x)| relu && **x <= 0.0).for_each(|(dx, _)| *dx = 0.0);
                    assert_eq!(replaced, dx, "{shape:?}");
                }
            }
            average_pool2d_gradient(&shape, &dy, &mut dx);
            // Each gradient is a sum of a few terms of at most 4, each rounded once.
            assert_close(&dx, &to_f32(&reference::pool2d_gradient(PoolKind::Average, &shape, &x, &dy)), 1e-6);
        }
    }

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        let shape = Pool2dShape {
            batch: 1,
            in_h: 3,
            in_w: 3,
            channels: 1,
            size: [2, 2],
            stride: [2, 2],
            pad: [0, 0],
            out_h: 2,
            out_w: 2,
        };
        let (x, dy) = ([1.0, 5.0, 5.0, 2.0, 5.0, 0.0, 7.0, 7.0, 3.0], [1.0, 2.0, 3.0, 4.0]);
        let (mut y, mut dx) = ([0.0; 4], [0.0; 9]);
        pool2d(PoolKind::Average, &shape, &x, &mut y);
        assert_eq!(y, [3.25, 2.5, 7.0, 3.0]);
        average_pool2d_gradient(&shape, &dy, &mut dx);
        assert_eq!(dx, [0.25, 0.25, 1.0, 0.25, 0.25, 1.0, 1.5, 1.5, 4.0]);
        pool2d(PoolKind::Max, &shape, &x, &mut y);
        assert_eq!(y, [5.0, 5.0, 7.0, 3.0]);
        max_pool2d_gradient(&shape, &x, &y, &dy, &mut dx);
        assert_eq!(dx, [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0]);
    }

    #[test]
    fn empty_batches_are_fine() {
        let shape = Pool2dShape { batch: 0, ..shapes()[0] };
        pool2d(PoolKind::Max, &shape, &[], &mut []);
        max_pool2d_gradient(&shape, &[], &[], &[], &mut []);
        average_pool2d_gradient(&shape, &[], &mut []);
    }
}
