//! Global pooling: the maximum or mean of each channel over a whole image. Pooling over windows is in [`pool`](crate::pool).

use rayon::prelude::*;

use crate::PoolKind;
use crate::chunks::check_len;
use crate::pooling::reduce;

/// The maximum or mean over all pixels: `x` `[batch, pixels, channels]` -> `y` `[batch, channels]`.
///
/// ```
/// use engraft_kernels::{PoolKind, global_average_pool_gradient, global_max_pool_gradient, global_pool};
/// // One image of two pixels with two channels.
/// let x = [1.0, 8.0, 3.0, 4.0];
/// let (mut y, mut dx) = ([0.0; 2], [0.0; 4]);
/// global_pool(PoolKind::Max, 1, 2, 2, &x, &mut y);
/// assert_eq!(y, [3.0, 8.0]);
/// global_max_pool_gradient(1, 2, 2, &x, &y, &[10.0, 20.0], &mut dx);
/// assert_eq!(dx, [0.0, 20.0, 10.0, 0.0]);
/// global_average_pool_gradient(1, 2, 2, &[10.0, 20.0], &mut dx);
/// assert_eq!(dx, [5.0, 10.0, 5.0, 10.0]);
/// ```
pub fn global_pool(kind: PoolKind, batch: usize, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    check_global(batch, pixels, channels, x, y);
    let images = x.par_chunks_exact(pixels * channels);
    y.par_chunks_exact_mut(channels).zip(images).for_each(|(y, x)| reduce(kind, x.chunks_exact(channels), y));
}

/// The gradient of global max pooling. Pixels that tie for the maximum share it equally, as with TensorFlow's `reduce_max`.
pub fn global_max_pool_gradient(
    batch: usize,
    pixels: usize,
    channels: usize,
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    check_global(batch, pixels, channels, x, y);
    check_global(batch, pixels, channels, dx, dy);
    let images =
        x.par_chunks_exact(pixels * channels).zip(y.par_chunks_exact(channels)).zip(dy.par_chunks_exact(channels));
    dx.par_chunks_exact_mut(pixels * channels).zip(images).for_each(|(dx, ((x, y), dy))| {
        let mut ties = vec![0.0f32; channels];
        for x in x.chunks_exact(channels) {
            ties.iter_mut().zip(x).zip(y).for_each(|((ties, x), y)| *ties += if x == y { 1.0 } else { 0.0 });
        }
        for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for c in 0..channels {
                dx[c] = if x[c] == y[c] { dy[c] / ties[c] } else { 0.0 };
            }
        }
    });
}

/// The gradient of global average pooling: `dx = dy / pixels`.
pub fn global_average_pool_gradient(batch: usize, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    check_global(batch, pixels, channels, dx, dy);
    let images = dx.par_chunks_exact_mut(pixels * channels).zip(dy.par_chunks_exact(channels));
    images.for_each(|(dx, dy)| {
        for dx in dx.chunks_exact_mut(channels) {
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy / pixels as f32);
        }
    });
}

fn check_global(batch: usize, pixels: usize, channels: usize, x: &[f32], y: &[f32]) {
    assert!(pixels > 0 && channels > 0, "cannot pool {pixels} pixels of {channels} channels");
    check_len("input", x, batch * pixels * channels);
    check_len("output", y, batch * channels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_pools_and_their_gradients() {
        // Two images of three pixels with two channels. Channel 0 of the first image has a tie.
        let x = [5.0, 1.0, 5.0, 2.0, 2.0, 9.0, -1.0, -4.0, -2.0, -5.0, -3.0, -6.0];
        let (mut y, mut dx) = ([0.0; 4], [f32::NAN; 12]);
        global_pool(PoolKind::Average, 2, 3, 2, &x, &mut y);
        assert_eq!(y, [4.0, 4.0, -2.0, -5.0]);
        global_pool(PoolKind::Max, 2, 3, 2, &x, &mut y);
        assert_eq!(y, [5.0, 9.0, -1.0, -4.0]);
        global_max_pool_gradient(2, 3, 2, &x, &y, &[2.0, 3.0, 4.0, 5.0], &mut dx);
        assert_eq!(dx, [1.0, 0.0, 1.0, 0.0, 0.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0, 0.0]);
        global_average_pool_gradient(2, 3, 2, &[3.0, 6.0, 9.0, 12.0], &mut dx);
        assert_eq!(dx, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
    }

    #[test]
    fn nan_stays_nan() {
        for kind in [PoolKind::Max, PoolKind::Average] {
            let mut y = [0.0];
            global_pool(kind, 1, 3, 1, &[1.0, f32::NAN, 2.0], &mut y);
            assert!(y[0].is_nan(), "{kind:?} gave {}", y[0]);
        }
    }

    #[test]
    fn empty_batches_are_fine() {
        global_pool(PoolKind::Max, 0, 3, 2, &[], &mut []);
        global_average_pool_gradient(0, 3, 2, &[], &mut []);
        global_max_pool_gradient(0, 3, 2, &[], &[], &[], &mut []);
    }
}
