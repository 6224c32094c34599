//! Cross-entropy losses: the loss of each sample and, on request, its gradient with respect to the predictions.
//!
//! The gradient is that of each sample's own loss. Executors divide it by the batch size and multiply it by sample weights.

use rayon::prelude::*;

use crate::activation::sigmoid;
use crate::chunks::{check_len, count_rows, row_chunk};

/// Keras' `backend.epsilon()`: probabilities are clipped to this distance from 0 and 1.
const EPSILON: f32 = 1e-7;

/// Categorical cross-entropy from logits, in rows of `classes` values (`tf.nn.softmax_cross_entropy_with_logits`).
///
/// `losses[row] = sum(targets * (log(sum(exp(logits))) - logits))`, `gradient = softmax(logits) - targets`.
///
/// ```
/// use engraft_kernels::softmax_cross_entropy;
/// let (mut losses, mut gradient) = ([0.0], [0.0; 2]);
/// softmax_cross_entropy(2, &[0.0, 0.0], &[1.0, 0.0], &mut losses, Some(&mut gradient));
/// assert_eq!(losses, [std::f32::consts::LN_2]);
/// assert_eq!(gradient, [-0.5, 0.5]);
/// ```
pub fn softmax_cross_entropy(
    classes: usize,
    logits: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    for_each_row(classes, logits, targets, losses, gradient, |logits, targets, gradient| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|x| (x - max).exp()).sum();
        for ((gradient, x), target) in gradient.iter_mut().zip(logits).zip(targets) {
            *gradient = (x - max).exp() / sum - target;
        }
        let log_sum = sum.ln();
        logits.iter().zip(targets).map(|(x, target)| target * (log_sum - (x - max))).sum()
    });
}

/// Binary cross-entropy from logits, averaged over each row of `width` values (`tf.nn.sigmoid_cross_entropy_with_logits`).
///
/// ```
/// use engraft_kernels::sigmoid_cross_entropy;
/// let (mut losses, mut gradient) = ([0.0], [0.0]);
/// sigmoid_cross_entropy(1, &[0.0], &[1.0], &mut losses, Some(&mut gradient));
/// assert_eq!((losses, gradient), ([std::f32::consts::LN_2], [-0.5]));
/// ```
pub fn sigmoid_cross_entropy(
    width: usize,
    logits: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    let count = width as f32;
    for_each_row(width, logits, targets, losses, gradient, |logits, targets, gradient| {
        for ((gradient, &x), target) in gradient.iter_mut().zip(logits).zip(targets) {
            *gradient = (sigmoid(x) - target) / count;
        }
        let loss = |(&x, &target): (&f32, &f32)| x.max(0.0) - x * target + (-x.abs()).exp().ln_1p();
        logits.iter().zip(targets).map(loss).sum::<f32>() / count
    });
}

/// Categorical cross-entropy from probabilities, as Keras' TensorFlow backend computes it with `from_logits=False`.
///
/// Each row is divided by its sum, then clipped to 1e-7 ..= 1 - 1e-7. The slope of the clip is zero for clipped values. They
/// still get the gradient that flows through the sum.
///
/// ```
/// use engraft_kernels::cross_entropy_from_probabilities;
/// let (mut losses, mut gradient) = ([0.0], [0.0; 2]);
/// cross_entropy_from_probabilities(2, &[0.5, 0.5], &[1.0, 0.0], &mut losses, Some(&mut gradient));
/// assert_eq!((losses, gradient), ([std::f32::consts::LN_2], [-1.0, 1.0]));
/// ```
pub fn cross_entropy_from_probabilities(
    classes: usize,
    probs: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    for_each_row(classes, probs, targets, losses, gradient, |probs, targets, gradient| {
        let sum: f32 = probs.iter().sum();
        for ((gradient, p), target) in gradient.iter_mut().zip(probs).zip(targets) {
            *gradient = if is_clipped(p / sum) { 0.0 } else { -target / (p / sum) };
        }
        let through_sum: f32 = gradient.iter().zip(probs).map(|(gradient, p)| gradient * (p / sum)).sum();
        gradient.iter_mut().for_each(|gradient| *gradient = (*gradient - through_sum) / sum);
        -probs.iter().zip(targets).map(|(p, target)| target * clip(p / sum).ln()).sum::<f32>()
    });
}

/// Binary cross-entropy from probabilities, averaged over each row of `width` values.
///
/// As Keras' TensorFlow backend computes it with `from_logits=False`: probabilities are clipped to 1e-7 ..= 1 - 1e-7. Clipped
/// values have a gradient of zero.
///
/// ```
/// use engraft_kernels::binary_cross_entropy_from_probabilities;
/// let (mut losses, mut gradient) = ([0.0], [0.0]);
/// binary_cross_entropy_from_probabilities(1, &[0.5], &[1.0], &mut losses, Some(&mut gradient));
/// assert_eq!((losses, gradient), ([std::f32::consts::LN_2], [-2.0]));
/// ```
pub fn binary_cross_entropy_from_probabilities(
    width: usize,
    probs: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    let count = width as f32;
    for_each_row(width, probs, targets, losses, gradient, |probs, targets, gradient| {
        for ((gradient, &p), target) in gradient.iter_mut().zip(probs).zip(targets) {
            let slope = (1.0 - target) / (1.0 - p) - target / p;
            *gradient = if is_clipped(p) { 0.0 } else { slope / count };
        }
        let loss = |(&p, &target): (&f32, &f32)| target * clip(p).ln() + (1.0 - target) * (1.0 - clip(p)).ln();
        -probs.iter().zip(targets).map(loss).sum::<f32>() / count
    });
}

fn clip(p: f32) -> f32 {
    p.clamp(EPSILON, 1.0 - EPSILON)
}

fn is_clipped(p: f32) -> bool {
    !(EPSILON..=1.0 - EPSILON).contains(&p)
}

/// Writes `loss(x, targets, gradient)` of each row into `losses`. The row's `gradient` is empty if no gradient is requested.
fn for_each_row(
    width: usize,
    x: &[f32],
    targets: &[f32],
    losses: &mut [f32],
    gradient: Option<&mut [f32]>,
    loss: impl Fn(&[f32], &[f32], &mut [f32]) -> f32 + Sync,
) {
    let rows = count_rows("predictions", x, width);
    check_len("targets", targets, x.len());
    check_len("losses", losses, rows);
    let chunk = row_chunk(width);
    let inputs = x.par_chunks(chunk).zip(targets.par_chunks(chunk)).zip(losses.par_chunks_mut(chunk / width));
    match gradient {
        Some(gradient) => {
            check_len("gradient", gradient, x.len());
            inputs.zip(gradient.par_chunks_mut(chunk)).for_each(|(((x, targets), losses), gradient)| {
                let rows = x.chunks_exact(width).zip(targets.chunks_exact(width)).zip(gradient.chunks_exact_mut(width));
                losses.iter_mut().zip(rows).for_each(|(to, ((x, targets), gradient))| *to = loss(x, targets, gradient));
            });
        }
        None => inputs.for_each(|((x, targets), losses)| {
            let rows = x.chunks_exact(width).zip(targets.chunks_exact(width));
            losses.iter_mut().zip(rows).for_each(|(to, (x, targets))| *to = loss(x, targets, &mut []));
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, uniform};

    type Loss = fn(usize, &[f32], &[f32], &mut [f32], Option<&mut [f32]>);

    /// Compares losses and gradient with Keras, and the losses with and without a gradient with each other.
    #[track_caller]
    fn check(loss: Loss, predictions: &[f32], targets: &[f32], losses: &[f32], gradient: &[f32]) {
        let width = predictions.len() / losses.len();
        let (mut received, mut slopes) = (vec![f32::NAN; losses.len()], vec![f32::NAN; gradient.len()]);
        loss(width, predictions, targets, &mut received, Some(&mut slopes));
        // `exp` and `ln` differ by one unit in the last place between libraries, and sums are rounded a few times.
        assert_close(&received, losses, 5e-7);
        assert_close(&slopes, gradient, 5e-7);
        let mut alone = vec![f32::NAN; losses.len()];
        loss(width, predictions, targets, &mut alone, None);
        assert_eq!(alone, received);
    }

    #[test]
    fn categorical_from_logits() {
        check(
            softmax_cross_entropy,
            &[1.0, 2.0, -1.0, 0.5, 0.0, 3.0],
            &[0.0, 1.0, 0.0, 0.2, 0.3, 0.5],
            &[0.34901217, 1.523873],
            &[0.25949648, -0.29461545, 0.035119027, -0.12747855, -0.25601354, 0.38349205],
        );
    }

    #[test]
    fn categorical_from_probabilities_normalises_and_clips() {
        check(
            cross_entropy_from_probabilities,
            &[0.2, 0.7, 0.3, 0.0, 0.4, 0.6, 1.0, 0.0, 0.0],
            &[0.0, 1.0, 0.0, 0.2, 0.3, 0.5, 1.0, 0.0, 0.0],
            &[0.5389966, 3.7539194, 1.192_093e-7],
            &[0.8333332, -0.59523815, 0.8333332, 0.8, 0.05, -0.0333333, 0.0, 0.0, 0.0],
        );
    }

    #[test]
    fn binary_from_logits() {
        check(
            sigmoid_cross_entropy,
            &[1.0, -2.0, 30.0, 0.5],
            &[1.0, 0.0, 0.0, 0.3],
            &[0.22009484, 15.412039],
            &[-0.13447072, 0.059601456, 0.5, 0.16122966],
        );
    }

    #[test]
    fn binary_from_probabilities_clips() {
        check(
            binary_cross_entropy_from_probabilities,
            &[0.8, 0.1, 1.0, 0.5],
            &[1.0, 0.0, 0.0, 0.3],
            &[0.16425204, 8.317766],
            &[-0.625, 0.5555556, 0.0, 0.4],
        );
    }

    #[test]
    fn logits_that_overflow_exp_give_finite_losses() {
        let mut losses = [0.0; 2];
        softmax_cross_entropy(2, &[1000.0, 0.0, -1000.0, 0.0], &[0.0, 1.0, 0.0, 1.0], &mut losses, None);
        assert_eq!(losses, [1000.0, 0.0]);
        sigmoid_cross_entropy(1, &[1000.0, -1000.0], &[0.0, 0.0], &mut losses, None);
        assert_eq!(losses, [1000.0, 0.0]);
    }

    #[test]
    fn an_empty_batch_is_fine() {
        softmax_cross_entropy(3, &[], &[], &mut [], Some(&mut []));
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (logits, targets) = (uniform(30_000 * 3, 1), uniform(30_000 * 3, 2));
        assert_same_for_any_threads(|| {
            let (mut losses, mut gradient) = (vec![0.0; 30_000], vec![0.0; 90_000]);
            softmax_cross_entropy(3, &logits, &targets, &mut losses, Some(&mut gradient));
            [losses, gradient].concat()
        });
    }
}
