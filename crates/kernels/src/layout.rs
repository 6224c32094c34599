//! Kernels that rearrange values: zero padding, copies of channels, channel order, mirror images. Slices with steps, and permuted
//! axes, are in [`strided`](crate::strided).

use rayon::prelude::*;

use crate::chunks::{check_len, count_rows, row_chunk, zip_chunks};

/// Pads images with zeros: `pad = [[top, bottom], [left, right]]` (Keras' `ZeroPadding2D`).
///
/// Shapes: `x` `[batch, h, w, c]`, `y` `[batch, top + h + bottom, left + w + right, c]`.
///
/// ```
/// use engraft_kernels::{pad2d, pad2d_gradient};
/// let (mut y, mut dx) = ([9.0; 4], [0.0]);
/// pad2d(1, 1, 1, 1, [[1, 0], [0, 1]], &[5.0], &mut y);
/// assert_eq!(y, [0.0, 0.0, 5.0, 0.0]);
/// pad2d_gradient(1, 1, 1, 1, [[1, 0], [0, 1]], &[1.0, 2.0, 3.0, 4.0], &mut dx);
/// assert_eq!(dx, [3.0]);
/// ```
pub fn pad2d(batch: usize, h: usize, w: usize, c: usize, pad: [[usize; 2]; 2], x: &[f32], y: &mut [f32]) {
    let [[top, bottom], [left, right]] = pad;
    let (out_h, out_row) = (top + h + bottom, (left + w + right) * c);
    check_len("x", x, batch * h * w * c);
    check_len("y", y, batch * out_h * out_row);
    y.par_chunks_mut(out_row.max(1)).enumerate().for_each(|(row, y)| {
        y.fill(0.0);
        let (image, row) = (row / out_h, row % out_h);
        if (top..top + h).contains(&row) {
            y[left * c..][..w * c].copy_from_slice(&x[(image * h + row - top) * w * c..][..w * c]);
        }
    });
}

/// The gradient of [`pad2d`]: `dy` without the border.
pub fn pad2d_gradient(batch: usize, h: usize, w: usize, c: usize, pad: [[usize; 2]; 2], dy: &[f32], dx: &mut [f32]) {
    let [[top, bottom], [left, right]] = pad;
    let (out_h, out_row) = (top + h + bottom, (left + w + right) * c);
    check_len("dy", dy, batch * out_h * out_row);
    check_len("dx", dx, batch * h * w * c);
    dx.par_chunks_mut((w * c).max(1)).enumerate().for_each(|(row, dx)| {
        let (image, row) = (row / h, row % h);
        dx.copy_from_slice(&dy[(image * out_h + top + row) * out_row + left * c..][..w * c]);
    });
}

/// Copies `count` channels of each row: `y[row, to_offset + i] = x[row, from_offset + i]`.
///
/// Concatenation is one call for each input. Its gradient is one call for each input with source and destination exchanged:
/// slices, channels and offsets.
///
/// ```
/// use engraft_kernels::copy_channels;
/// // Two rows: one channel of `a` and two of `b`, concatenated.
/// let (a, b, mut y) = ([1.0, 2.0], [10.0, 11.0, 20.0, 21.0], [0.0; 6]);
/// copy_channels(2, 1, 0, 3, 0, 1, &a, &mut y);
/// copy_channels(2, 2, 0, 3, 1, 2, &b, &mut y);
/// assert_eq!(y, [1.0, 10.0, 11.0, 2.0, 20.0, 21.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "two slices with their channels and offsets")]
pub fn copy_channels(
    rows: usize,
    from_channels: usize,
    from_offset: usize,
    to_channels: usize,
    to_offset: usize,
    count: usize,
    x: &[f32],
    y: &mut [f32],
) {
    check_len("x", x, rows * from_channels);
    check_len("y", y, rows * to_channels);
    assert!(from_offset + count <= from_channels, "channels {from_offset}..+{count} lie outside x's {from_channels}");
    assert!(to_offset + count <= to_channels, "channels {to_offset}..+{count} lie outside y's {to_channels}");
    if count == 0 {
        return;
    }
    let chunk_rows = row_chunk(to_channels) / to_channels;
    y.par_chunks_mut(chunk_rows * to_channels).zip(x.par_chunks(chunk_rows * from_channels)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(to_channels).zip(x.chunks_exact(from_channels)) {
            y[to_offset..][..count].copy_from_slice(&x[from_offset..][..count]);
        }
    });
}

/// Reverses the order of channels, such as RGB to BGR: `y[row, c] = x[row, channels - 1 - c]`.
///
/// ```
/// let mut bgr = [0.0; 3];
/// engraft_kernels::reverse_channels(3, &[1.0, 2.0, 3.0], &mut bgr);
/// assert_eq!(bgr, [3.0, 2.0, 1.0]);
/// ```
pub fn reverse_channels(channels: usize, x: &[f32], y: &mut [f32]) {
    count_rows("x", x, channels);
    check_len("y", y, x.len());
    zip_chunks(x, y, row_chunk(channels), |x, y| {
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            y.iter_mut().zip(x.iter().rev()).for_each(|(y, x)| *y = *x);
        }
    });
}

/// Mirrors one image `[h, w, c]`: `horizontal` swaps left and right, `vertical` swaps top and bottom.
///
/// ```
/// let mut y = [0.0; 4];
/// engraft_kernels::flip(true, false, 2, 2, 1, &[1.0, 2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [2.0, 1.0, 4.0, 3.0]);
/// ```
pub fn flip(horizontal: bool, vertical: bool, h: usize, w: usize, c: usize, x: &[f32], y: &mut [f32]) {
    check_len("x", x, h * w * c);
    check_len("y", y, h * w * c);
    if y.is_empty() {
        return;
    }
    for (row, y) in y.chunks_exact_mut(w * c).enumerate() {
        let row = if vertical { h - 1 - row } else { row };
        let x = &x[row * w * c..][..w * c];
        match (horizontal, c) {
            (false, _) => y.copy_from_slice(x),
            (true, 1) => reverse_pixels::<1>(x, y),
            (true, 3) => reverse_pixels::<3>(x, y),
            (true, 4) => reverse_pixels::<4>(x, y),
            (true, _) => y.chunks_exact_mut(c).zip(x.chunks_exact(c).rev()).for_each(|(y, x)| y.copy_from_slice(x)),
        }
    }
}

/// Reverses a row of pixels with `C` channels. The length is a constant, as a copy of unknown length costs more than its few
/// values.
fn reverse_pixels<const C: usize>(x: &[f32], y: &mut [f32]) {
    y.as_chunks_mut::<C>().0.iter_mut().zip(x.as_chunks::<C>().0.iter().rev()).for_each(|(y, x)| *y = *x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::integers;

    #[test]
    fn pad_surrounds_by_zeros_and_its_gradient_takes_them_off() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let mut y = [f32::NAN; 12];
        pad2d(1, 2, 2, 1, [[1, 0], [0, 2]], &x, &mut y);
        assert_eq!(y, [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        let mut dx = [f32::NAN; 4];
        pad2d_gradient(1, 2, 2, 1, [[1, 0], [0, 2]], &y, &mut dx);
        assert_eq!(dx, x);
    }

    #[test]
    fn every_image_of_a_batch_is_padded() {
        let x = integers(3 * 4 * 5 * 2, 1);
        let (mut y, mut dx) = (vec![f32::NAN; 3 * 7 * 8 * 2], vec![f32::NAN; x.len()]);
        pad2d(3, 4, 5, 2, [[1, 2], [3, 0]], &x, &mut y);
        pad2d_gradient(3, 4, 5, 2, [[1, 2], [3, 0]], &y, &mut dx);
        assert_eq!(dx, x);
        assert_eq!(y.iter().sum::<f32>(), x.iter().sum::<f32>());
    }

    #[test]
    fn copy_channels_concatenates_over_many_rows() {
        let rows = 20_000;
        let (a, b) = (integers(rows * 2, 1), integers(rows, 2));
        let mut y = vec![f32::NAN; rows * 3];
        copy_channels(rows, 2, 0, 3, 0, 2, &a, &mut y);
        copy_channels(rows, 1, 0, 3, 2, 1, &b, &mut y);
        for row in [0, 1, rows - 1] {
            assert_eq!(y[row * 3..][..3], [a[row * 2], a[row * 2 + 1], b[row]]);
        }
        let mut db = vec![f32::NAN; rows];
        copy_channels(rows, 3, 2, 1, 0, 1, &y, &mut db);
        assert_eq!(db, b);
    }

    #[test]
    fn reverse_channels_turns_rgb_to_bgr() {
        let mut y = [0.0; 6];
        reverse_channels(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut y);
        assert_eq!(y, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn flips() {
        // Two rows of two pixels with two channels.
        let x = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0];
        for (horizontal, vertical, expected) in [
            (false, false, x),
            (true, false, [2.0, 20.0, 1.0, 10.0, 4.0, 40.0, 3.0, 30.0]),
            (false, true, [3.0, 30.0, 4.0, 40.0, 1.0, 10.0, 2.0, 20.0]),
            (true, true, [4.0, 40.0, 3.0, 30.0, 2.0, 20.0, 1.0, 10.0]),
        ] {
            let mut y = [0.0; 8];
            flip(horizontal, vertical, 2, 2, 2, &x, &mut y);
            assert_eq!(y, expected);
        }
        for c in 1..6 {
            let x = integers(3 * 5 * c, 1);
            let mut y = vec![f32::NAN; x.len()];
            flip(true, false, 3, 5, c, &x, &mut y);
            let expected = |i: usize| x[(i / (5 * c) * 5 + 4 - i / c % 5) * c + i % c];
            assert!(y.iter().copied().eq((0..x.len()).map(expected)), "{c} channels");
        }
    }

    #[test]
    fn empty_inputs_are_fine() {
        pad2d(0, 2, 2, 1, [[1, 1], [1, 1]], &[], &mut []);
        pad2d_gradient(0, 2, 2, 1, [[1, 1], [1, 1]], &[], &mut []);
        copy_channels(0, 2, 0, 3, 0, 2, &[], &mut []);
        reverse_channels(3, &[], &mut []);
        flip(true, true, 0, 0, 3, &[], &mut []);
    }
}
