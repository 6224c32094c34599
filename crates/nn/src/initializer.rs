//! Initializers: formulas for the initial values of weights (Keras' `keras.initializers`).

use engraft_memory::prefer_huge_pages;
use serde::{Deserialize, Serialize};

use engraft_ir::random::Rng;

/// A weight initializer, with Keras' formulas and defaults (`keras.initializers`).
///
/// As in Keras, a `seed` of `None` derives a seed from that of [`set_random_seed`](crate::set_random_seed). The random generator
/// isn't Keras', so the same seed gives other values.
///
/// ```
/// use engraft_nn::Initializer;
/// let kernel = Initializer::glorot_uniform().values(&[3, 5], 1);
/// let limit = (6.0f32 / 8.0).sqrt();
/// assert!(kernel.iter().all(|w| w.abs() <= limit));
/// assert_eq!(Initializer::zeros().values(&[5], 1), [0.0; 5]);
/// assert_eq!(Initializer::ones().values(&[5], 1), [1.0; 5]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub enum Initializer {
    /// All 0.
    Zeros {},
    /// All 1.
    Ones {},
    /// All `value`.
    Constant { value: f32 },
    /// Uniform in `minval..maxval`.
    RandomUniform {
        minval: f32,
        maxval: f32,
        #[serde(default)]
        seed: Option<u64>,
    },
    /// Normal distribution.
    RandomNormal {
        mean: f32,
        stddev: f32,
        #[serde(default)]
        seed: Option<u64>,
    },
    /// Normal distribution; values beyond two standard deviations are drawn again.
    TruncatedNormal {
        mean: f32,
        stddev: f32,
        #[serde(default)]
        seed: Option<u64>,
    },
    /// Uniform within ±sqrt(6 / (`fan_in` + `fan_out`)) (Glorot and Bengio 2010).
    GlorotUniform(Fan),
    /// Truncated normal of variance 2 / (`fan_in` + `fan_out`).
    GlorotNormal(Fan),
    /// Uniform within ±sqrt(6 / `fan_in`) (He et al. 2015, arXiv:1502.01852).
    HeUniform(Fan),
    /// Truncated normal of variance 2 / `fan_in`.
    HeNormal(Fan),
    /// Uniform within ±sqrt(3 / `fan_in`).
    LecunUniform(Fan),
    /// Truncated normal of variance 1 / `fan_in`.
    LecunNormal(Fan),
}

/// Options of the initializers that scale with a layer's fan-in or fan-out.
///
/// ```
/// use engraft_nn::{Fan, Initializer};
/// let mut fan = Fan::default();
/// fan.seed = Some(5);
/// let fixed = Initializer::HeNormal(fan);
/// // The seed of the initializer takes precedence over the seed that `values` receives.
/// assert_eq!(fixed.values(&[4, 4], 1), fixed.values(&[4, 4], 2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fan {
    /// Seed of the values; `None` derives one from the seed of [`set_random_seed`](crate::set_random_seed).
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    input_axes: crate::keras_object::Unset,
    #[serde(default)]
    output_axes: crate::keras_object::Unset,
}

/// Keras' default for kernels, for `#[serde(default = …)]`.
pub(crate) fn kernel_default() -> Initializer {
    Initializer::glorot_uniform()
}

/// Serializes an initializer as a Keras object and deserializes it, for `#[serde(with = …)]`.
pub(crate) mod object {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Initializer;
    use crate::keras_object;

    pub(crate) fn serialize<S: Serializer>(initializer: &Initializer, s: S) -> Result<S::Ok, S::Error> {
        keras_object::to_value("keras.initializers", initializer).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Initializer, D::Error> {
        keras_object::from_value(serde_json::Value::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// Standard deviation of the standard normal distribution after truncation to ±2.
const TRUNCATED_STDDEV: f32 = 0.879_625_7;

impl Initializer {
    /// Glorot uniform: Keras' default for kernels.
    pub fn glorot_uniform() -> Self {
        Self::GlorotUniform(Fan::default())
    }

    /// He normal, for layers followed by ReLU.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let hidden = Dense::new(64).activation(Relu).kernel_initializer(Initializer::he_normal()).into_layer();
    /// hidden.call(&Input::new([200]))?;
    /// let weights = hidden.weights();
    /// let variance = weights[0].values().iter().map(|w| w * w).sum::<f32>() / (200.0 * 64.0);
    /// assert!((variance - 2.0 / 200.0).abs() < 0.001, "{variance}");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn he_normal() -> Self {
        Self::HeNormal(Fan::default())
    }

    /// He uniform, for layers followed by ReLU.
    ///
    /// ```
    /// use engraft_nn::Initializer;
    /// let kernel = Initializer::he_uniform().values(&[24, 8], 1);
    /// assert!(kernel.iter().all(|w| w.abs() <= 0.5), "the limit is sqrt(6 / 24)");
    /// ```
    pub fn he_uniform() -> Self {
        Self::HeUniform(Fan::default())
    }

    /// All 0: Keras' default for biases.
    pub fn zeros() -> Self {
        Self::Zeros {}
    }

    /// All 1: Keras' default for the scale of a batch normalization.
    pub fn ones() -> Self {
        Self::Ones {}
    }

    /// Values for a weight of `shape`. `seed` is used if the initializer has no seed of its own.
    pub fn values(&self, shape: &[usize], seed: u64) -> Vec<f32> {
        let (fan_in, fan_out) = fans(shape);
        let uniform = |scale: f32, fan: &Fan| {
            let limit = (3.0 * scale).sqrt();
            draw(shape, fan.seed.unwrap_or(seed), |rng| rng.uniform(-limit, limit))
        };
        let normal = |scale: f32, fan: &Fan| {
            let stddev = scale.sqrt() / TRUNCATED_STDDEV;
            draw(shape, fan.seed.unwrap_or(seed), |rng| stddev * truncated_normal(rng))
        };
        match self {
            Self::Zeros {} => vec![0.0; shape.iter().product()],
            Self::Ones {} => vec![1.0; shape.iter().product()],
            Self::Constant { value } => vec![*value; shape.iter().product()],
            Self::RandomUniform { minval, maxval, seed: own } => {
                draw(shape, own.unwrap_or(seed), |rng| rng.uniform(*minval, *maxval))
            }
            Self::RandomNormal { mean, stddev, seed: own } => {
                draw(shape, own.unwrap_or(seed), |rng| mean + stddev * rng.normal())
            }
            Self::TruncatedNormal { mean, stddev, seed: own } => {
                draw(shape, own.unwrap_or(seed), |rng| mean + stddev * truncated_normal(rng))
            }
            Self::GlorotUniform(fan) => uniform(2.0 / (fan_in + fan_out), fan),
            Self::GlorotNormal(fan) => normal(2.0 / (fan_in + fan_out), fan),
            Self::HeUniform(fan) => uniform(2.0 / fan_in, fan),
            Self::HeNormal(fan) => normal(2.0 / fan_in, fan),
            Self::LecunUniform(fan) => uniform(1.0 / fan_in, fan),
            Self::LecunNormal(fan) => normal(1.0 / fan_in, fan),
        }
    }
}

fn draw(shape: &[usize], seed: u64, mut next: impl FnMut(&mut Rng) -> f32) -> Vec<f32> {
    let (mut rng, count) = (Rng::new(seed), shape.iter().product());
    let mut values = Vec::with_capacity(count);
    // Reading a column block of a large Dense kernel touches another 4 KiB page per row; huge pages save TLB misses.
    prefer_huge_pages(&mut values);
    values.extend((0..count).map(|_| next(&mut rng)));
    values
}

fn truncated_normal(rng: &mut Rng) -> f32 {
    loop {
        let x = rng.normal();
        if x.abs() <= 2.0 {
            return x;
        }
    }
}

/// Fan-in and fan-out of a weight (Keras' `compute_fans`). For a convolution's kernel, both are multiplied by the kernel's height
/// and width.
fn fans(shape: &[usize]) -> (f32, f32) {
    let (fan_in, fan_out) = match *shape {
        [] => (1, 1),
        [units] => (units, units),
        [ref field @ .., inputs, outputs] => {
            let field: usize = field.iter().product();
            (field * inputs, field * outputs)
        }
    };
    (fan_in.max(1) as f32, fan_out.max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_follows_the_formula() {
        let shape = [3, 3, 20, 30];
        let n = 3 * 3 * 20 * 30;
        for (initializer, variance) in [
            (Initializer::glorot_uniform(), 2.0 / 450.0),
            (Initializer::GlorotNormal(Fan::default()), 2.0 / 450.0),
            (Initializer::he_uniform(), 2.0 / 180.0),
            (Initializer::he_normal(), 2.0 / 180.0),
            (Initializer::LecunNormal(Fan::default()), 1.0 / 180.0),
            (Initializer::RandomNormal { mean: 0.0, stddev: 0.5, seed: None }, 0.25),
        ] {
            let values = initializer.values(&shape, 11);
            let found = values.iter().map(|w| f64::from(w * w)).sum::<f64>() / n as f64;
            // The tolerance is six standard errors of the variance of n = 5400 normal values: 6 sqrt(2 / n) = 11.5 %.
            assert!((found / variance - 1.0).abs() < 0.12, "{initializer:?}: {found} for {variance}");
        }
    }

    #[test]
    fn a_seed_of_its_own_wins() {
        let own = Initializer::HeNormal(Fan { seed: Some(5), ..Fan::default() });
        assert_eq!(own.values(&[4, 4], 1), own.values(&[4, 4], 2));
        assert_ne!(Initializer::he_normal().values(&[4, 4], 1), Initializer::he_normal().values(&[4, 4], 2));
    }
}
