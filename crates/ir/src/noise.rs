//! [`Noise`]: random noise on values in training.

use crate::random::{normal_at, uniform_at};

/// A distribution of random noise. It scales and shifts each value: `x * scale + shift`.
///
/// The mean of a value stays the same. Each number of a random sequence gives the noise of one value, or of all values that
/// share it.
///
/// ```
/// use engraft_ir::Noise;
/// let noise = Noise::Dropout { rate: 0.25 };
/// let dropped = (0..1000).filter(|&index| noise.at(7, index) == (0.0, 0.0)).count();
/// assert!((200..300).contains(&dropped), "about a quarter: {dropped}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the layers' options of the same names")]
pub enum Noise {
    /// Sets values to 0 with probability `rate` and divides the others by `1 - rate` (Srivastava et al. 2014, JMLR 15).
    Dropout { rate: f32 },
    /// Sets values to the limit of SELU for large negative inputs with probability `rate`, then scales and shifts all values so
    /// that mean 0 and variance 1 are preserved (Klambauer et al. 2017, arXiv:1706.02515, section 3).
    AlphaDropout { rate: f32 },
    /// Multiplies by normal numbers of mean 1 and this standard deviation (Srivastava et al. 2014, section 10).
    GaussianDropout { stddev: f32 },
    /// Adds normal numbers of mean 0 and this standard deviation.
    GaussianNoise { stddev: f32 },
}

/// The limit of SELU for large negative inputs: `-alpha * scale`.
const SELU_LIMIT: f64 = -1.673_263_242_354_377_2 * 1.050_700_987_355_480_5;

impl Noise {
    /// The scale and the shift of the value with number `index` of the random sequence of `key`.
    ///
    /// ```
    /// use engraft_ir::Noise;
    /// let (scale, shift) = Noise::GaussianNoise { stddev: 0.5 }.at(7, 0);
    /// assert!(scale == 1.0 && shift.abs() < 5.0);
    /// ```
    pub fn at(self, key: u64, index: u64) -> (f32, f32) {
        match self {
            Self::Dropout { rate } if uniform_at(key, index) < rate => (0.0, 0.0),
            Self::Dropout { rate } => (1.0 / (1.0 - rate), 0.0),
            Self::AlphaDropout { rate } => {
                let p = f64::from(rate);
                let scale = ((1.0 - p) * (1.0 + p * SELU_LIMIT * SELU_LIMIT)).powf(-0.5);
                let shift = -scale * SELU_LIMIT * p;
                if uniform_at(key, index) < rate {
                    (0.0, (scale * SELU_LIMIT + shift) as f32)
                } else {
                    (scale as f32, shift as f32)
                }
            }
            Self::GaussianDropout { stddev } => (1.0 + stddev * normal_at(key, index), 0.0),
            Self::GaussianNoise { stddev } => (1.0, stddev * normal_at(key, index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of noisy values whose mean is 0 and variance 1: half of them -1, the others 1.
    fn moments(noise: Noise) -> (f64, f64) {
        let count = 100_000;
        let values = (0..count).map(|index| {
            let (scale, shift) = noise.at(9, index);
            f64::from(if index % 2 == 0 { -scale } else { scale } + shift)
        });
        let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        (sum / count as f64, squares / count as f64)
    }

    #[test]
    fn moments_are_those_of_the_definitions() {
        for (noise, variance) in [
            (Noise::Dropout { rate: 0.2 }, 1.25),
            (Noise::AlphaDropout { rate: 0.3 }, 1.0),
            (Noise::GaussianDropout { stddev: 0.5 }, 1.25),
            (Noise::GaussianNoise { stddev: 0.5 }, 1.25),
        ] {
            let (mean, found) = moments(noise);
            // Five standard errors, of at most sqrt(4 / 100,000) for the mean and three times as much for the variance.
            assert!(mean.abs() < 0.02 && (found - variance).abs() < 0.06, "{noise:?}: {mean}, {found}");
        }
    }

    #[test]
    fn the_dropped_value_of_alpha_dropout_is_that_of_keras() {
        // a = ((1 - p)(1 + p l²))^-1/2 and a l + b with b = -a l p, for p = 0.5 and l = -1.7580993408473766, by Python.
        let values: Vec<(f32, f32)> = (0..50).map(|index| Noise::AlphaDropout { rate: 0.5 }.at(1, index)).collect();
        let expected = [(0.886_404_9, 0.779_193_93), (0.0, -0.779_193_93)];
        for (scale, shift) in values {
            assert!(expected.iter().any(|(a, b): &(f32, f32)| (a - scale).abs() + (b - shift).abs() < 1e-6));
        }
    }
}
