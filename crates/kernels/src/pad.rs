//! Padding of samples with a constant along any axes.

use rayon::prelude::*;

use crate::chunks::check_len;

/// Pads samples of shape `shape` with `value`: `pad[axis]` elements `[before, after]` at the ends of each axis.
///
/// ```
/// use engraft_kernels::{pad, pad_gradient};
/// let mut y = [0.0; 6];
/// pad(&[2], &[[1, 0]], 9.0, &[1.0, 2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [9.0, 1.0, 2.0, 9.0, 3.0, 4.0]);
/// let mut dx = [0.0; 4];
/// pad_gradient(&[2], &[[1, 0]], &y, &mut dx);
/// assert_eq!(dx, [1.0, 2.0, 3.0, 4.0]);
/// ```
pub fn pad(shape: &[usize], pad: &[[usize; 2]], value: f32, x: &[f32], y: &mut [f32]) {
    let padding = Padding::new(shape, pad);
    let [from, to] = padding.sizes;
    check_len("y", y, x.len() / from.max(1) * to);
    y.par_chunks_mut(to.max(1)).zip(x.par_chunks(from.max(1))).for_each(|(y, x)| {
        y.fill(value);
        padding.rows(|inside, outside, width| y[outside..][..width].copy_from_slice(&x[inside..][..width]));
    });
}

/// The gradient of [`pad`]: `dy` without the padding.
pub fn pad_gradient(shape: &[usize], pad: &[[usize; 2]], dy: &[f32], dx: &mut [f32]) {
    let padding = Padding::new(shape, pad);
    let [from, to] = padding.sizes;
    check_len("dx", dx, dy.len() / to.max(1) * from);
    dx.par_chunks_mut(from.max(1)).zip(dy.par_chunks(to.max(1))).for_each(|(dx, dy)| {
        padding.rows(|inside, outside, width| dx[inside..][..width].copy_from_slice(&dy[outside..][..width]));
    });
}

struct Padding<'a> {
    shape: &'a [usize],
    pad: &'a [[usize; 2]],
    /// Values of a sample before and after padding.
    sizes: [usize; 2],
}

impl<'a> Padding<'a> {
    fn new(shape: &'a [usize], pad: &'a [[usize; 2]]) -> Self {
        assert!(shape.len() == pad.len(), "`pad` must have {} axes, has {}", shape.len(), pad.len());
        let padded = shape.iter().zip(pad).map(|(size, [before, after])| before + size + after).product();
        Self { shape, pad, sizes: [shape.iter().product(), padded] }
    }

    /// Calls `visit(start in the sample, start in the padded sample, length)` for each row of a sample.
    fn rows(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Some((&width, outer)) = self.shape.split_last() else { return visit(0, 0, 1) };
        let [before, after] = self.pad[outer.len()];
        for row in 0..outer.iter().product() {
            let (mut rest, mut start, mut stride) = (row, before, before + width + after);
            for (&size, &[before, after]) in outer.iter().zip(self.pad).rev() {
                start += (before + rest % size) * stride;
                rest /= size;
                stride *= before + size + after;
            }
            visit(row * width, start, width);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::integers;

    #[test]
    fn every_axis_is_padded() {
        let (shape, by) = ([2, 3, 2], [[1, 0], [0, 2], [1, 1]]);
        let x = integers(2 * 12, 1);
        let mut y = vec![f32::NAN; 2 * 3 * 5 * 4];
        pad(&shape, &by, 0.5, &x, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let (sample, row, column, channel) = (i / 60, i / 20 % 3, i / 4 % 5, i % 4);
            let inside = row >= 1 && column < 3 && (1..3).contains(&channel);
            let expected = if inside { x[sample * 12 + (row - 1) * 6 + column * 2 + channel - 1] } else { 0.5 };
            assert_eq!(y, expected, "{sample} {row} {column} {channel}");
        }
        let mut dx = vec![f32::NAN; x.len()];
        pad_gradient(&shape, &by, &y, &mut dx);
        assert_eq!(dx, x);
        pad(&shape, &by, 0.5, &[], &mut []);
    }
}
