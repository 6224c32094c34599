//! Batch normalization over rows of channels (Ioffe and Szegedy 2015, arXiv 1502.03167; `keras.layers.BatchNormalization`).
//!
//! A row is a pixel of a sample. The moments take two passes ([`channel_sums`], [`squared_deviation_sums`]). A caller with
//! several replicas adds up the sums of all replicas after each pass. Callers also update the moving statistics.

use crate::chunks::{check_len, column_sums, count_rows, row_chunk, zip_chunks};
use crate::elementwise::scale_shift;

/// Mean and population variance of each channel, in two passes (`keras.ops.moments`). Zero rows give zeros.
///
/// ```
/// let (mut mean, mut variance) = ([0.0], [0.0]);
/// engraft_kernels::moments(1, &[1.0, 3.0], &mut mean, &mut variance);
/// assert_eq!((mean, variance), ([2.0], [1.0]));
/// ```
pub fn moments(channels: usize, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let count = count_rows("x", x, channels).max(1) as f64;
    means(&channel_sums(channels, x), count, mean);
    means(&squared_deviation_sums(channels, x, mean), count, variance);
}

/// The sum of each channel: the first pass of [`moments`].
///
/// ```
/// assert_eq!(engraft_kernels::channel_sums(2, &[1.0, 2.0, 3.0, 4.0]), [4.0, 6.0]);
/// ```
pub fn channel_sums(channels: usize, x: &[f32]) -> Vec<f64> {
    let rows = count_rows("x", x, channels);
    let row = |row: usize| &x[row * channels..][..channels];
    column_sums(channels, rows, 1, |i, sum| sum.iter_mut().zip(row(i)).for_each(|(sum, x)| *sum += x))
}

/// The sum of squared deviations from `mean` for each channel: the second pass of [`moments`].
///
/// ```
/// assert_eq!(engraft_kernels::squared_deviation_sums(1, &[1.0, 3.0], &[2.0]), [2.0]);
/// ```
pub fn squared_deviation_sums(channels: usize, x: &[f32], mean: &[f32]) -> Vec<f64> {
    let rows = count_rows("x", x, channels);
    check_len("mean", mean, channels);
    let row = |row: usize| &x[row * channels..][..channels];
    column_sums(channels, rows, 1, |i, sum| {
        for ((sum, x), mean) in sum.iter_mut().zip(row(i)).zip(mean) {
            *sum += (x - mean) * (x - mean);
        }
    })
}

/// Divides sums over `count` rows by `count`, in f32. Turns [`channel_sums`] into means and [`squared_deviation_sums`] into
/// variances.
///
/// ```
/// let mut mean = [0.0];
/// engraft_kernels::means(&[6.0], 4.0, &mut mean);
/// assert_eq!(mean, [1.5]);
/// ```
pub fn means(sums: &[f64], count: f64, mean: &mut [f32]) {
    check_len("mean", mean, sums.len());
    mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = (sum / count) as f32);
}

/// Batch normalization: `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta`. A missing `gamma` is 1, a missing `beta` 0.
///
/// ```
/// let mut y = [0.0; 2];
/// engraft_kernels::batch_norm(1, &[1.0, 5.0], &[3.0], &[4.0], Some(&[10.0]), Some(&[0.5]), 0.0, &mut y);
/// assert_eq!(y, [-9.5, 10.5]);
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of the layer")]
pub fn batch_norm(
    channels: usize,
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    epsilon: f32,
    y: &mut [f32],
) {
    check_len("mean", mean, channels);
    let scale = scales(&inverse_deviations(channels, variance, epsilon), gamma);
    let mut shift: Vec<f32> = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
    if let Some(beta) = beta {
        check_len("beta", beta, channels);
        shift.iter_mut().zip(beta).for_each(|(shift, beta)| *shift += beta);
    }
    scale_shift(channels, &scale, &shift, x, y);
}

/// Folds a [`batch_norm`] into the kernel and bias of the convolution or Dense layer before it, in place.
///
/// The last axis of `kernel` has the output channels, and `bias` has one value for each of them. The scale of a channel is
/// `gamma / sqrt(variance + epsilon)`. Its kernel becomes `kernel * scale`, and its bias `(bias - mean) * scale + beta`, computed
/// in f64 and rounded once.
///
/// ```
/// // y = 2 x + 5, then (y - 3) / sqrt(4) * 10 + 0.5.
/// let (mut kernel, mut bias) = ([2.0], [5.0]);
/// engraft_kernels::fold_batch_norm(&mut kernel, &mut bias, &[3.0], &[4.0], Some(&[10.0]), Some(&[0.5]), 0.0);
/// assert_eq!((kernel, bias), ([10.0], [10.5]));
/// ```
pub fn fold_batch_norm(
    kernel: &mut [f32],
    bias: &mut [f32],
    mean: &[f32],
    variance: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    epsilon: f32,
) {
    let channels = bias.len();
    count_rows("kernel", kernel, channels);
    for (name, values) in [("mean", Some(mean)), ("variance", Some(variance)), ("gamma", gamma), ("beta", beta)] {
        values.iter().for_each(|values| check_len(name, values, channels));
    }
    let scale = |c: usize| {
        gamma.map_or(1.0, |gamma| f64::from(gamma[c])) / (f64::from(variance[c]) + f64::from(epsilon)).sqrt()
    };
    let scales: Vec<f64> = (0..channels).map(scale).collect();
    for (c, (bias, scale)) in bias.iter_mut().zip(&scales).enumerate() {
        let beta = beta.map_or(0.0, |beta| f64::from(beta[c]));
        *bias = ((f64::from(*bias) - f64::from(mean[c])) * scale + beta) as f32;
    }
    for row in kernel.chunks_exact_mut(channels) {
        row.iter_mut().zip(&scales).for_each(|(w, scale)| *w = (f64::from(*w) * scale) as f32);
    }
}

/// The gradients of [`batch_norm`] in inference mode, where `mean` and `variance` are constants (moving statistics).
///
/// Writes the gradients with respect to `x`, `gamma` and `beta` into `dx`, `dgamma` and `dbeta`. A gradient is skipped if its
/// slice is `None`.
///
/// ```
/// use engraft_kernels::batch_norm_gradient_inference;
/// let (x, dy, mut dx, mut dbeta) = ([1.0, 5.0], [1.0, 2.0], [0.0; 2], [0.0]);
/// let gamma = Some(&[10.0][..]);
/// batch_norm_gradient_inference(1, &dy, &x, &[3.0], &[4.0], gamma, 0.0, Some(&mut dx), None, Some(&mut dbeta));
/// assert_eq!((dx, dbeta), ([5.0, 10.0], [3.0]));
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of the layer and their gradients")]
pub fn batch_norm_gradient_inference(
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: Option<&[f32]>,
    epsilon: f32,
    dx: Option<&mut [f32]>,
    dgamma: Option<&mut [f32]>,
    dbeta: Option<&mut [f32]>,
) {
    let inverse = inverse_deviations(channels, variance, epsilon);
    if dgamma.is_some() || dbeta.is_some() {
        write_sums(&parameter_sums(channels, dy, x, mean, &inverse), dgamma, dbeta);
    }
    if let Some(dx) = dx {
        crate::elementwise::scale_gradient(channels, &scales(&inverse, gamma), dy, dx);
    }
}

/// The gradients of [`batch_norm`] in training mode, where `mean` and `variance` are the [`moments`] of `x` itself.
///
/// The gradient with respect to `x` includes the part that flows through the moments. A gradient is skipped if its slice (`dx`,
/// `dgamma` or `dbeta`) is `None`.
///
/// ```
/// use engraft_kernels::batch_norm_gradient_training;
/// let (x, dy, mut dx) = ([1.0, 1.0, 5.0, 5.0], [1.0, 0.0, 0.0, 0.0], [0.0; 4]);
/// batch_norm_gradient_training(1, &dy, &x, &[3.0], &[4.0], None, 0.0, Some(&mut dx), None, None);
/// assert_eq!(dx, [0.25, -0.25, 0.0, 0.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of the layer and their gradients")]
pub fn batch_norm_gradient_training(
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: Option<&[f32]>,
    epsilon: f32,
    dx: Option<&mut [f32]>,
    dgamma: Option<&mut [f32]>,
    dbeta: Option<&mut [f32]>,
) {
    let sums = batch_norm_gradient_sums(channels, dy, x, mean, variance, epsilon);
    if let Some(dx) = dx {
        let rows = (x.len() / channels).max(1) as f64;
        batch_norm_input_gradient(channels, dy, x, mean, variance, gamma, epsilon, &sums, rows, dx);
    }
    write_sums(&sums[..2 * channels], dgamma, dbeta);
}

/// `[sum(dy * normalized x), sum(dy), sum(x - mean)]` of each channel: the gradients with respect to gamma and beta, and what the
/// rounding of the mean leaves.
///
/// [`batch_norm_input_gradient`] takes these sums, added up over all replicas.
pub fn batch_norm_gradient_sums(
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    epsilon: f32,
) -> Vec<f64> {
    let inverse = inverse_deviations(channels, variance, epsilon);
    let mut sums = parameter_sums(channels, dy, x, mean, &inverse);
    let row = |row: usize| &x[row * channels..][..channels];
    sums.extend(column_sums(channels, x.len() / channels, 1, |i, sum| {
        sum.iter_mut().zip(row(i)).zip(mean).for_each(|((sum, x), mean)| *sum += x - mean);
    }));
    sums
}

/// The gradient of [`batch_norm`] with respect to `x` in training mode, if `x` is one replica's part of the batch.
///
/// `mean` and `variance` are the moments of all `rows` rows of the batch. `sums` are the
/// [gradient sums](batch_norm_gradient_sums) of all replicas, added up.
///
/// ```
/// use engraft_kernels::{batch_norm_gradient_sums, batch_norm_input_gradient};
/// // Four rows on two replicas.
/// let (x, dy, mean, variance) = ([1.0, 1.0, 5.0, 5.0], [1.0, 0.0, 0.0, 0.0], [3.0], [4.0]);
/// let mut sums = batch_norm_gradient_sums(1, &dy[..2], &x[..2], &mean, &variance, 0.0);
/// let other = batch_norm_gradient_sums(1, &dy[2..], &x[2..], &mean, &variance, 0.0);
/// sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
/// let mut dx = [0.0; 2];
/// batch_norm_input_gradient(1, &dy[..2], &x[..2], &mean, &variance, None, 0.0, &sums, 4.0, &mut dx);
/// assert_eq!(dx, [0.25, -0.25]);
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of the layer and their gradients")]
pub fn batch_norm_input_gradient(
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: Option<&[f32]>,
    epsilon: f32,
    sums: &[f64],
    rows: f64,
    dx: &mut [f32],
) {
    check_len("dx", dx, x.len());
    assert!(sums.len() == 3 * channels, "`sums` must hold {} values, holds {}", 3 * channels, sums.len());
    let inverse = inverse_deviations(channels, variance, epsilon);
    // dx = scale * (dy - mean(dy) - normalized * mean(dy * normalized)), where normalized = (x - mean - rest) * inverse, and `rest`
    // is what the rounding of the mean leaves. The terms in parentheses often cancel: their sum over the rows is 0, as is that of
    // the gradient with respect to a bias below. So they are subtracted first, and what is the same for all rows is in f64:
    // multiplied out in f32, each term would be rounded to the size of `dy`, all in the same direction.
    let scale = scales(&inverse, gamma);
    let (mut x_factor, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
    for c in 0..channels {
        let [products, gradients, rest] = [0, 1, 2].map(|sum| sums[sum * channels + c] / rows);
        let inverse = f64::from(inverse[c]);
        x_factor[c] = inverse * (products - rest * inverse * gradients);
        shift[c] = gradients - rest * x_factor[c];
    }
    dx.copy_from_slice(x);
    zip_chunks(dy, dx, row_chunk(channels), |dy, dx| {
        for (dy, dx) in dy.chunks_exact(channels).zip(dx.chunks_exact_mut(channels)) {
            for (c, (dx, dy)) in dx.iter_mut().zip(dy).enumerate() {
                let centered = f64::from(*dy) - shift[c] - f64::from(*dx - mean[c]) * x_factor[c];
                *dx = scale[c] * centered as f32;
            }
        }
    });
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse_deviations(channels: usize, variance: &[f32], epsilon: f32) -> Vec<f32> {
    check_len("variance", variance, channels);
    variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect()
}

fn scales(inverse: &[f32], gamma: Option<&[f32]>) -> Vec<f32> {
    match gamma {
        Some(gamma) => {
            check_len("gamma", gamma, inverse.len());
            inverse.iter().zip(gamma).map(|(inverse, gamma)| inverse * gamma).collect()
        }
        None => inverse.to_vec(),
    }
}

/// The sums of [`batch_norm_gradient_sums`], computed from `inverse`, the reciprocal standard deviations.
fn parameter_sums(channels: usize, dy: &[f32], x: &[f32], mean: &[f32], inverse: &[f32]) -> Vec<f64> {
    let rows = count_rows("x", x, channels);
    check_len("dy", dy, x.len());
    check_len("mean", mean, channels);
    column_sums(channels, rows, 2, |row, sums| {
        let (dy, x) = (&dy[row * channels..][..channels], &x[row * channels..][..channels]);
        let (dgamma, dbeta) = sums.split_at_mut(channels);
        for c in 0..channels {
            dgamma[c] += dy[c] * ((x[c] - mean[c]) * inverse[c]);
            dbeta[c] += dy[c];
        }
    })
}

fn write_sums(sums: &[f64], dgamma: Option<&mut [f32]>, dbeta: Option<&mut [f32]>) {
    let (gamma_sums, beta_sums) = sums.split_at(sums.len() / 2);
    for (name, to, sums) in [("dgamma", dgamma, gamma_sums), ("dbeta", dbeta, beta_sums)] {
        if let Some(to) = to {
            check_len(name, to, sums.len());
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, numeric_gradient, uniform};

    const EPSILON: f32 = 1e-3;

    #[test]
    fn values_are_those_of_keras() {
        let x = [1.0, 2.0, 3.0, -1.0, 5.0, 0.5];
        let (mut mean, mut variance, mut y) = ([0.0; 2], [0.0; 2], [0.0; 6]);
        moments(2, &x, &mut mean, &mut variance);
        assert_eq!((mean, variance), ([3.0, 0.5], [2.6666667, 1.5]));
        batch_norm(2, &x, &mean, &variance, Some(&[2.0, -1.0]), Some(&[0.1, 0.2]), EPSILON, &mut y);
        // TensorFlow's reciprocal square root differs in the last place.
        assert_close(&y, &[-2.3490305, -1.0243368, 0.1, 1.4243368, 2.5490308, 0.2], 4e-7);
    }

    #[test]
    fn a_folded_normalization_gives_the_values_of_one_after_the_layer() {
        for channels in [1, 3, 17, 64] {
            let [w, x] = [uniform(5 * channels, 1), uniform(5 * 4, 2)];
            let [bias, mean, gamma, beta] = [3, 4, 5, 6].map(|seed| uniform(channels, seed));
            let variance: Vec<f32> = uniform(channels, 7).iter().map(|x| x.abs()).collect();
            for (gamma, beta, with_bias) in [(Some(&gamma), Some(&beta), true), (None, None, false)] {
                let (gamma, beta) = (gamma.map(Vec::as_slice), beta.map(Vec::as_slice));
                let (mut folded, mut shift) = (w.clone(), vec![0.0; channels]);
                if with_bias {
                    shift.copy_from_slice(&bias);
                }
                let dense = |w: &[f32], bias: &[f32]| {
                    let mut y = vec![f32::NAN; 4 * channels];
                    crate::dense(4, 5, channels, &x, w, Some(bias), crate::Activation::Linear, &mut y);
                    y
                };
                let (mut expected, y) = (vec![f32::NAN; 4 * channels], dense(&w, &shift));
                batch_norm(channels, &y, &mean, &variance, gamma, beta, EPSILON, &mut expected);
                fold_batch_norm(&mut folded, &mut shift, &mean, &variance, gamma, beta, EPSILON);
                // Scales are up to 1 / sqrt(EPSILON) = 32, which multiplies the rounding of values near 1.
                assert_close(&dense(&folded, &shift), &expected, 2e-5);
            }
        }
    }

    #[test]
    fn moments_far_from_zero_keep_their_digits() {
        let x: Vec<f32> = (0..100_000).map(|i| 4096.0 + (i % 2) as f32).collect();
        let (mut mean, mut variance) = ([0.0], [0.0]);
        moments(1, &x, &mut mean, &mut variance);
        assert_eq!((mean, variance), ([4096.5], [0.25]));
    }

    #[test]
    fn moments_of_nothing_are_zero() {
        let (mut mean, mut variance) = ([f32::NAN; 2], [f32::NAN; 2]);
        moments(2, &[], &mut mean, &mut variance);
        assert_eq!((mean, variance), ([0.0; 2], [0.0; 2]));
    }

    /// `sum(weights * batch_norm(x))` in f64, with the moments of `x` itself or with the constants `fixed`.
    fn weighted_sum(x: &[f64], fixed: Option<[f64; 2]>, gamma: &[f64], beta: &[f64], weights: &[f32]) -> f64 {
        let channel = |c: usize| {
            let x: Vec<f64> = x.iter().skip(c).step_by(2).copied().collect();
            let [mean, variance] = fixed.unwrap_or_else(|| {
                let mean = x.iter().sum::<f64>() / x.len() as f64;
                [mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64]
            });
            let y = x.iter().map(|x| (x - mean) / (variance + f64::from(EPSILON)).sqrt() * gamma[c] + beta[c]);
            y.zip(weights.iter().skip(c).step_by(2)).map(|(y, w)| y * f64::from(*w)).sum::<f64>()
        };
        channel(0) + channel(1)
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (x, dy) = (uniform(14, 1), uniform(14, 2));
        let (gamma, beta) = ([1.5f32, -0.5], [0.25f32, 1.0]);
        let [x64, gamma64, beta64] =
            [&x[..], &gamma, &beta].map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        for fixed in [None, Some([0.25, 0.75])] {
            let (mut mean, mut variance) = ([0.25; 2], [0.75; 2]);
            let mut gradient = batch_norm_gradient_inference as Gradient;
            if fixed.is_none() {
                moments(2, &x, &mut mean, &mut variance);
                gradient = batch_norm_gradient_training;
            }
            let (mut dx, mut dgamma, mut dbeta) = ([0.0; 14], [0.0; 2], [0.0; 2]);
            let outputs = (Some(&mut dx[..]), Some(&mut dgamma[..]), Some(&mut dbeta[..]));
            gradient(2, &dy, &x, &mean, &variance, Some(&gamma), EPSILON, outputs.0, outputs.1, outputs.2);
            let tolerance = 2e-6; // sums of seven terms near 1, each rounded to 6e-8
            let expected = numeric_gradient(&x, |x| weighted_sum(x, fixed, &gamma64, &beta64, &dy));
            assert_close(&dx, &expected, tolerance);
            let expected = numeric_gradient(&gamma, |gamma| weighted_sum(&x64, fixed, gamma, &beta64, &dy));
            assert_close(&dgamma, &expected, tolerance);
            let expected = numeric_gradient(&beta, |beta| weighted_sum(&x64, fixed, &gamma64, beta, &dy));
            assert_close(&dbeta, &expected, tolerance);
        }
    }

    #[test]
    fn the_input_gradient_sums_to_zero_beside_a_large_mean() {
        // The mean, near 1000, is rounded by up to 3e-5: an error of the same sign in all 300 rows.
        let x: Vec<f32> = uniform(300, 1).iter().map(|x| 1000.0 + x / 10.0).collect();
        let dy = uniform(300, 2);
        let (mut mean, mut variance, mut dx) = ([0.0], [0.0], vec![0.0; 300]);
        moments(1, &x, &mut mean, &mut variance);
        batch_norm_gradient_training(1, &dy, &x, &mean, &variance, None, EPSILON, Some(&mut dx), None, None);
        let sum: f64 = dx.iter().map(|&dx| f64::from(dx)).sum();
        let largest = dx.iter().fold(0.0f32, |largest, dx| largest.max(dx.abs()));
        // 300 roundings of 6e-8, of which few point the same way.
        assert!(sum.abs() < 2e-6 * f64::from(largest), "{sum:e} of {largest}");
    }

    type Gradient = fn(
        usize,
        &[f32],
        &[f32],
        &[f32],
        &[f32],
        Option<&[f32]>,
        f32,
        Option<&mut [f32]>,
        Option<&mut [f32]>,
        Option<&mut [f32]>,
    );

    #[test]
    fn outputs_not_asked_for_change_nothing_in_the_others() {
        let (x, dy) = (uniform(20, 1), uniform(20, 2));
        let (mut all, mut alone) = ([0.0; 20], [0.0; 20]);
        let mut dbeta = [0.0; 2];
        let (mean, variance) = ([0.1, 0.2], [1.0, 2.0]);
        batch_norm_gradient_training(
            2,
            &dy,
            &x,
            &mean,
            &variance,
            None,
            EPSILON,
            Some(&mut all),
            None,
            Some(&mut dbeta),
        );
        batch_norm_gradient_training(2, &dy, &x, &mean, &variance, None, EPSILON, Some(&mut alone), None, None);
        assert_eq!(all, alone);
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let x = uniform(50_000 * 3, 1);
        assert_same_for_any_threads(|| {
            let mut statistics = vec![0.0; 6];
            let (mean, variance) = statistics.split_at_mut(3);
            moments(3, &x, mean, variance);
            statistics
        });
    }
}
