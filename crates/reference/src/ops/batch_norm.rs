//! Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167; Keras' `BatchNormalization`).

use engraft_ir::Op;
use engraft_nn::{Error, Result};
use engraft_plan::GradientReducer;

use super::{Call, OpGradients};
use crate::array::{Array, positions};

/// The mean and population variance of each channel over the rows of a batch. Rows are the samples, or the pixels of all images.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// The number of rows.
    rows: f64,
}

/// The options of [`Op::BatchNorm`].
struct Options {
    epsilon: f64,
    momentum: f64,
    scale: bool,
    center: bool,
}

impl Options {
    fn of(op: &Op) -> Result<Self> {
        match *op {
            Op::BatchNorm { epsilon, momentum, scale, center, .. } => {
                let [epsilon, momentum] = [epsilon, momentum].map(f64::from);
                Ok(Self { epsilon, momentum, scale, center })
            }
            _ => Err(Error::new("operation", "batch normalization", format_args!("{op:?}"))),
        }
    }

    /// The position of the moving mean among the weights; the moving variance follows.
    fn moving_mean(&self) -> usize {
        usize::from(self.scale) + usize::from(self.center)
    }
}

/// Computes the statistics of the batch; `None` if `op` doesn't normalize by them.
///
/// If the reducer sums over replicas, they are the statistics of the global batch.
///
/// # Errors
/// The reducer's errors.
pub(crate) fn batch_statistics(op: &Op, x: &Array, reducer: &mut dyn GradientReducer) -> Result<Option<Statistics>> {
    if !matches!(op, Op::BatchNorm { batch_statistics: true, .. }) {
        return Ok(None);
    }
    let x = x.as_rows();
    // The number of rows is summed too, since replicas may have batches of different sizes.
    let mut sums = channel_sums(&x, |x, _| x);
    sums.push(x.shape()[0] as f64);
    reducer.sum_statistics(&mut sums)?;
    let rows = sums.pop().unwrap_or_default().max(1.0);
    let mean: Vec<f64> = sums.iter().map(|sum| sum / rows).collect();
    let mut squares = channel_sums(&x, |x, channel| (x - mean[channel]).powi(2));
    reducer.sum_statistics(&mut squares)?;
    let variance = squares.iter().map(|sum| sum / rows).collect();
    Ok(Some(Statistics { mean, variance, rows }))
}

/// The updated moving mean and variance, `moving * momentum + batch * (1 - momentum)`, each with its position among the weights.
pub(crate) fn moving_statistics(op: &Op, weights: &[&Array], batch: &Statistics) -> Result<[(usize, Array); 2]> {
    let options = Options::of(op)?;
    let updated = |position: usize, batch: &[f64]| {
        let batch = Array::new([batch.len()], batch.to_vec());
        let momentum = options.momentum;
        (position, weights[position].zip(&batch, |moving, batch| moving * momentum + batch * (1.0 - momentum)))
    };
    let first = options.moving_mean();
    Ok([updated(first, &batch.mean), updated(first + 1, &batch.variance)])
}

/// Computes `normalized * gamma + beta`.
pub(super) fn forward(call: &Call<'_>) -> Result<Array> {
    let options = Options::of(call.op)?;
    let Normalized { mut values, .. } = Normalized::of(call, &options);
    let (gamma, beta) = (gamma(call, &options), options.center.then(|| call.weights[usize::from(options.scale)]));
    for at @ [_, channel] in positions(values.sizes()?) {
        values[at] = values[at] * gamma[channel] + beta.map_or(0.0, |beta| beta[[channel]]);
    }
    Ok(values.reshaped(call.output.clone()))
}

/// Computes the gradients with respect to input, gamma and beta.
///
/// Batch statistics are differentiated as functions of the input; moving statistics are constants.
pub(super) fn backward(call: &Call<'_>, dy: &Array, reducer: &mut dyn GradientReducer) -> Result<OpGradients> {
    let options = Options::of(call.op)?;
    let (normalized, dy) = (Normalized::of(call, &options), dy.as_rows());
    let channels = normalized.inverse_deviation.len();
    let d_gamma = channel_sums(&dy.zip(&normalized.values, |dy, normalized| dy * normalized), |product, _| product);
    let d_beta = channel_sums(&dy, |dy, _| dy);

    // The batch's mean and variance depend on every row. Their derivatives contribute the mean of `dy` and the mean of
    // `dy * normalized` to the gradient of each row.
    let mut means = vec![0.0; 2 * channels];
    if let Some(batch) = call.statistics {
        means = [d_gamma.as_slice(), &d_beta].concat();
        reducer.sum_statistics(&mut means)?;
        means.iter_mut().for_each(|sum| *sum /= batch.rows);
    }
    let gamma = gamma(call, &options);
    let mut dx = dy.clone();
    for at @ [_, channel] in positions(dy.sizes()?) {
        let through_statistics = normalized.values[at] * means[channel] + means[channels + channel];
        dx[at] = gamma[channel] * normalized.inverse_deviation[channel] * (dy[at] - through_statistics);
    }

    let weights = [(options.scale, d_gamma), (options.center, d_beta)];
    let weights = weights.into_iter().filter(|(exists, _)| *exists).map(|(_, sums)| Array::new([channels], sums));
    Ok(OpGradients { inputs: vec![dx.reshaped(call.x[0].shape())], weights: weights.collect() })
}

/// The normalized rows: mean subtracted, divided by the standard deviation.
struct Normalized {
    values: Array,
    /// `1 / sqrt(variance + epsilon)` of each channel.
    inverse_deviation: Vec<f64>,
}

impl Normalized {
    fn of(call: &Call<'_>, options: &Options) -> Self {
        let moving = || [0, 1].map(|i| call.weights[options.moving_mean() + i].data().to_vec());
        let [mean, variance] =
            call.statistics.map_or_else(moving, |batch| [batch.mean.clone(), batch.variance.clone()]);
        let inverse_deviation: Vec<f64> =
            variance.iter().map(|variance| (variance + options.epsilon).sqrt().recip()).collect();
        let mut values = call.x[0].as_rows();
        let normalize =
            |(i, x): (usize, &mut f64)| *x = (*x - mean[i % mean.len()]) * inverse_deviation[i % mean.len()];
        values.data_mut().iter_mut().enumerate().for_each(normalize);
        Self { values, inverse_deviation }
    }
}

/// The weight gamma, or ones if the layer has none.
fn gamma(call: &Call<'_>, options: &Options) -> Vec<f64> {
    let ones = || vec![1.0; call.weights[options.moving_mean()].data().len()];
    if options.scale { call.weights[0].data().to_vec() } else { ones() }
}

/// The sum of `term(value, channel)` over the rows.
fn channel_sums(rows: &Array, term: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    let channels = rows.shape()[1];
    let mut sums = vec![0.0; channels];
    rows.data().iter().enumerate().for_each(|(i, &value)| sums[i % channels] += term(value, i % channels));
    sums
}

#[cfg(test)]
mod tests {
    use engraft_plan::SingleReplica;

    use super::super::RngKey;
    use super::*;
    use crate::testing::check_gradients;

    fn op(scale: bool, center: bool, batch_statistics: bool) -> Op {
        Op::BatchNorm { epsilon: 0.25, momentum: 0.75, scale, center, batch_statistics }
    }

    #[test]
    fn gradients_go_through_the_batch_and_not_through_moving_statistics() {
        for (scale, center, batch_statistics) in
            [(true, true, true), (true, false, true), (false, true, false), (false, false, true), (true, true, false)]
        {
            let weights = vec![&[3][..]; usize::from(scale) + usize::from(center) + 2];
            check_gradients(&op(scale, center, batch_statistics), &[&[2, 2, 2, 3]], &weights, &[2, 2, 2, 3]);
        }
    }

    #[test]
    fn a_batch_has_mean_0_and_variance_1_and_updates_the_moving_statistics() {
        let op = op(false, false, true);
        let x = Array::new([4, 1], vec![1.0, 3.0, 5.0, 7.0]);
        let (mean, variance) = (Array::new([1], vec![8.0]), Array::new([1], vec![1.0]));
        let statistics = batch_statistics(&op, &x, &mut SingleReplica).unwrap().unwrap();
        let (weights, rng_key, output) = (vec![&mean, &variance], RngKey::default(), vec![4, 1]);
        let call = Call { op: &op, x: vec![&x], weights, output, rng_key, statistics: Some(&statistics) };
        let y = forward(&call).unwrap();
        // The batch's variance is 5, and epsilon is 0.25.
        let expected = [-3.0, -1.0, 1.0, 3.0].map(|difference| difference / 5.25f64.sqrt());
        assert!(y.data().iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-15));
        let [(0, mean), (1, variance)] = moving_statistics(&op, &call.weights, &statistics).unwrap() else { panic!() };
        assert_eq!((mean.data(), variance.data()), (&[7.0][..], &[2.0][..]));
    }
}
