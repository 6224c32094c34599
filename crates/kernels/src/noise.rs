//! Random noise that scales and shifts values, with axes along which values share their noise.

use engraft_ir::Noise;
use engraft_ir::random::finalize;
use rayon::prelude::*;

use crate::chunks::{check_len, row_chunk};

/// Adds noise to one sample: `y = x * scale + shift`, with scale and shift drawn by `noise` from `seed`.
///
/// The noise has the shape `noise_shape`, which is `shape` with size 1 along the axes whose values share their noise.
///
/// ```
/// use engraft_kernels::{Noise, noise};
/// // Whole channels are dropped.
/// let mut y = [f32::NAN; 40];
/// noise(Noise::Dropout { rate: 0.5 }, 3, &[2, 20], &[1, 20], &[1.0; 40], &mut y);
/// assert!(y.contains(&0.0) && y.contains(&2.0));
/// assert_eq!(y[..20], y[20..]);
/// ```
pub fn noise(noise: Noise, seed: u64, shape: &[usize], noise_shape: &[usize], x: &[f32], y: &mut [f32]) {
    apply(noise, seed, shape, noise_shape, x, y, |x, (scale, shift)| x * scale + shift);
}

/// The gradient of [`noise`] with respect to `x`: `dx = dy * scale`.
///
/// ```
/// use engraft_kernels::{Noise, noise_gradient};
/// let mut dx = [0.0; 3];
/// noise_gradient(Noise::GaussianNoise { stddev: 0.5 }, 3, &[3], &[3], &[1.0, 2.0, 3.0], &mut dx);
/// assert_eq!(dx, [1.0, 2.0, 3.0]);
/// ```
pub fn noise_gradient(noise: Noise, seed: u64, shape: &[usize], noise_shape: &[usize], dy: &[f32], dx: &mut [f32]) {
    apply(noise, seed, shape, noise_shape, dy, dx, |dy, (scale, _)| dy * scale);
}

fn apply(
    noise: Noise,
    seed: u64,
    shape: &[usize],
    noise_shape: &[usize],
    x: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, (f32, f32)) -> f32 + Sync,
) {
    check_len("x", x, shape.iter().product());
    check_len("y", y, x.len());
    let (Some((&width, outer)), Some((&noise_width, outer_noise))) = (shape.split_last(), noise_shape.split_last())
    else {
        return y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x, noise.at(finalize(seed), 0)));
    };
    let key = finalize(seed);
    let rows = row_chunk(width);
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).enumerate().for_each(|(chunk, (y, x))| {
        for (row, (y, x)) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
            let first = noise_row(chunk * (rows / width) + row, outer, outer_noise) * noise_width;
            match noise_width {
                1 => {
                    let shared = noise.at(key, first as u64);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x, shared));
                }
                _ => (first as u64..).zip(y.iter_mut().zip(x)).for_each(|(i, (y, x))| *y = f(*x, noise.at(key, i))),
            }
        }
    });
}

/// The row of the noise for a row of values. `shape` and `noise_shape` are without the last axis.
fn noise_row(mut row: usize, shape: &[usize], noise_shape: &[usize]) -> usize {
    let (mut noise_row, mut stride) = (0, 1);
    for (&size, &noise_size) in shape.iter().zip(noise_shape).rev() {
        if noise_size > 1 {
            noise_row += row % size * stride;
            stride *= noise_size;
        }
        row /= size;
    }
    noise_row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_for_any_threads, uniform};

    #[test]
    fn every_value_has_the_noise_of_its_place_in_the_noise_shape() {
        let (shape, kind) = ([3, 4, 5], Noise::GaussianNoise { stddev: 0.5 });
        let x = uniform(60, 1);
        for noise_shape in [[3, 4, 5], [1, 1, 5], [3, 1, 1], [1, 4, 5], [3, 1, 5], [1, 1, 1], [1, 4, 1]] {
            let mut y = vec![f32::NAN; 60];
            noise(kind, 7, &shape, &noise_shape, &x, &mut y);
            for (at, (x, y)) in x.iter().zip(&y).enumerate() {
                let place = [at / 20, at / 5 % 4, at % 5];
                let place: Vec<usize> =
                    place.iter().zip(&noise_shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
                let index = (place[0] * noise_shape[1] + place[1]) * noise_shape[2] + place[2];
                let (scale, shift) = kind.at(finalize(7), index as u64);
                assert_eq!(*y, x * scale + shift, "{noise_shape:?} at {at}");
            }
        }
    }

    #[test]
    fn dropout_of_every_value_is_that_of_the_kernel_without_a_noise_shape() {
        let x = uniform(40_000, 2);
        let [mut plain, mut noisy] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        crate::dropout(&x, 0.3, 5, &mut plain);
        noise(Noise::Dropout { rate: 0.3 }, 5, &[200, 200], &[200, 200], &x, &mut noisy);
        assert_eq!(plain, noisy);
    }

    #[test]
    fn threads_change_nothing_and_gradients_have_the_same_scale() {
        let kind = Noise::GaussianDropout { stddev: 0.5 };
        let x = vec![1.0; 3 * 20_000];
        assert_same_for_any_threads(|| {
            let [mut y, mut dx] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
            noise(kind, 5, &[3, 20_000], &[3, 20_000], &x, &mut y);
            noise_gradient(kind, 5, &[3, 20_000], &[3, 20_000], &x, &mut dx);
            assert_eq!(y, dx);
            y
        });
    }
}
