//! Batch normalisation over rows of channels (Ioffe and Szegedy 2015, `keras.layers.BatchNormalization`).

use crate::chunks::{check_len, column_sums, count_rows, row_chunk, zip_chunks};
use crate::elementwise::scale_shift;

/// Mean and population variance of each channel, in two passes (`keras.ops.moments`). Zero rows give zeros.
pub fn moments(channels: usize, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let rows = count_rows("x", x, channels);
    check_len("mean", mean, channels);
    check_len("variance", variance, channels);
    let count = rows.max(1) as f64;
    let row = |row: usize| &x[row * channels..][..channels];
    let sums = column_sums(channels, rows, 1, |i, sum| sum.iter_mut().zip(row(i)).for_each(|(sum, x)| *sum += x));
    mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = (sum / count) as f32);
    let mean = &*mean;
    let squares = column_sums(channels, rows, 1, |i, sum| {
        for ((sum, x), mean) in sum.iter_mut().zip(row(i)).zip(mean) {
            *sum += (x - mean) * (x - mean);
        }
    });
    variance.iter_mut().zip(squares).for_each(|(variance, sum)| *variance = (sum / count) as f32);
}

/// `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta`, where a missing `gamma` is 1 and a missing `beta` 0.
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

/// The gradients of [`batch_norm`] with `mean` and `variance` held fixed (moving statistics). Each output is written only where
/// it is asked for.
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

/// The gradients of [`batch_norm`] where `mean` and `variance` are the [`moments`] of `x` itself, differentiated through.
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
    let inverse = inverse_deviations(channels, variance, epsilon);
    let sums = parameter_sums(channels, dy, x, mean, &inverse);
    if let Some(dx) = dx {
        check_len("dx", dx, x.len());
        let count = (x.len() / channels).max(1) as f64;
        // dx = scale * (dy - mean(dy) - normalised * mean(dy * normalised)), gathered into dy * a + x * b + c.
        let scale = scales(&inverse, gamma);
        let by_x: Vec<f32> = (0..channels).map(|c| -scale[c] * inverse[c] * (sums[c] / count) as f32).collect();
        let constant: Vec<f32> = (0..channels).map(|c| -scale[c] * (sums[channels + c] / count) as f32).collect();
        dx.copy_from_slice(x);
        zip_chunks(dy, dx, row_chunk(channels), |dy, dx| {
            for (dy, dx) in dy.chunks_exact(channels).zip(dx.chunks_exact_mut(channels)) {
                for (c, (dx, dy)) in dx.iter_mut().zip(dy).enumerate() {
                    *dx = dy * scale[c] + (*dx - mean[c]) * by_x[c] + constant[c];
                }
            }
        });
    }
    write_sums(&sums, dgamma, dbeta);
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

/// `[sum(dy * normalised x), sum(dy)]` of each channel: the gradients of gamma and beta.
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
