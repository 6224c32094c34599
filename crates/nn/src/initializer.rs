//! Initializers: formulas for the initial values of weights (Keras' `keras.initializers`).

use engraft_memory::prefer_huge_pages;
use serde::{Deserialize, Serialize};

use engraft_ir::random::Rng;

use crate::keras_object::{Kept, UnknownObject, Unset};

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
    /// A distribution of variance `scale` / n, where `mode` chooses n.
    VarianceScaling(VarianceScaling),
    /// Orthonormal columns, or rows if there are fewer of these, times `gain` (Saxe et al. 2014, arXiv:1312.6120). All axes but the
    /// last are the rows.
    #[serde(alias = "OrthogonalInitializer")]
    Orthogonal {
        #[serde(default = "one")]
        gain: f32,
        #[serde(default)]
        seed: Option<u64>,
    },
    /// The identity matrix times `gain`.
    #[serde(alias = "IdentityInitializer")]
    Identity {
        #[serde(default = "one")]
        gain: f32,
    },
    /// Another initializer of a file. The values of a weight that the file lacks would be NaN.
    #[serde(skip)]
    Unknown(UnknownObject),
}

/// The options of [`Initializer::VarianceScaling`].
///
/// ```
/// use engraft_nn::{Distribution, FanMode, Initializer, VarianceScaling};
/// let mut scaling = VarianceScaling::new(3.0, FanMode::FanOut, Distribution::Uniform);
/// scaling.seed = Some(5);
/// let kernel = Initializer::VarianceScaling(scaling).values(&[2, 36], 1);
/// assert!(kernel.iter().all(|w| w.abs() <= 0.5), "the limit is sqrt(3 * 3 / 36)");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VarianceScaling {
    /// The variance times n.
    #[serde(default = "one")]
    pub scale: f32,
    /// What n is.
    #[serde(default)]
    pub mode: FanMode,
    /// The distribution of the values.
    #[serde(default)]
    pub distribution: Distribution,
    /// Seed of the values; `None` derives one from the seed of [`set_random_seed`](crate::set_random_seed).
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    input_axes: Unset,
    #[serde(default)]
    output_axes: Unset,
}

impl VarianceScaling {
    /// Options without a seed.
    pub fn new(scale: f32, mode: FanMode, distribution: Distribution) -> Self {
        Self { scale, mode, distribution, seed: None, input_axes: Unset, output_axes: Unset }
    }
}

/// The number that `VarianceScaling` divides by.
///
/// ```
/// assert_eq!(engraft_nn::FanMode::default(), engraft_nn::FanMode::FanIn);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanMode {
    /// The fan-in: number of inputs of a unit.
    #[default]
    FanIn,
    /// The fan-out: number of outputs of an input.
    FanOut,
    /// The mean of both.
    FanAvg,
}

/// The distribution of `VarianceScaling`.
///
/// ```
/// assert_eq!(engraft_nn::Distribution::default(), engraft_nn::Distribution::TruncatedNormal);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal; values beyond two standard deviations are drawn again.
    #[default]
    #[serde(alias = "normal")]
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
    /// Uniform.
    Uniform,
}

fn one() -> f32 {
    1.0
}

impl Kept for Initializer {
    const MODULE: &'static str = "keras.initializers";

    fn keep(object: UnknownObject) -> Self {
        Self::Unknown(object)
    }

    fn kept(&self) -> Option<&UnknownObject> {
        match self {
            Self::Unknown(object) => Some(object),
            _ => None,
        }
    }
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
    input_axes: Unset,
    #[serde(default)]
    output_axes: Unset,
}

/// Keras' default for kernels, for `#[serde(default = …)]`.
pub(crate) fn kernel_default() -> Initializer {
    Initializer::glorot_uniform()
}

/// Serializes an initializer as a Keras object and deserializes it, for `#[serde(with = …)]`.
pub(crate) mod object {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Initializer;
    use crate::keras_object;

    pub(crate) fn serialize<S: Serializer>(initializer: &Initializer, s: S) -> Result<S::Ok, S::Error> {
        keras_object::write_kept(initializer).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Initializer, D::Error> {
        serde_json::Value::deserialize(d).map(keras_object::read_kept)
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

    /// The initializer that draws values of a weight of `shape` with this fan-in and fan-out, which differ from those of a
    /// convolution's kernel of this shape (Keras' `input_axes` and `output_axes`).
    pub(crate) fn with_fans(&self, shape: &[usize], fan_in: usize, fan_out: usize) -> Self {
        let (fan_in, fan_out) = (fan_in.max(1) as f32, fan_out.max(1) as f32);
        let (variance, distribution, seed) = match self {
            Self::GlorotUniform(fan) => (2.0 / (fan_in + fan_out), Distribution::Uniform, fan.seed),
            Self::GlorotNormal(fan) => (2.0 / (fan_in + fan_out), Distribution::TruncatedNormal, fan.seed),
            Self::HeUniform(fan) => (2.0 / fan_in, Distribution::Uniform, fan.seed),
            Self::HeNormal(fan) => (2.0 / fan_in, Distribution::TruncatedNormal, fan.seed),
            Self::LecunUniform(fan) => (1.0 / fan_in, Distribution::Uniform, fan.seed),
            Self::LecunNormal(fan) => (1.0 / fan_in, Distribution::TruncatedNormal, fan.seed),
            Self::VarianceScaling(VarianceScaling { scale, mode, distribution, seed, .. }) => {
                let fan = match mode {
                    FanMode::FanIn => fan_in,
                    FanMode::FanOut => fan_out,
                    FanMode::FanAvg => (fan_in + fan_out) / 2.0,
                };
                (scale / fan, *distribution, *seed)
            }
            other => return other.clone(),
        };
        // `values` divides by the fan-in of the shape.
        let scale = variance * fans(shape).0;
        Self::VarianceScaling(VarianceScaling { seed, ..VarianceScaling::new(scale, FanMode::FanIn, distribution) })
    }

    /// Values for a weight of `shape`. `seed` is used if the initializer has no seed of its own.
    pub fn values(&self, shape: &[usize], seed: u64) -> Vec<f32> {
        let (fan_in, fan_out) = fans(shape);
        let uniform = |scale: f32, own: Option<u64>| {
            let limit = (3.0 * scale).sqrt();
            draw(shape, own.unwrap_or(seed), |rng| rng.uniform(-limit, limit))
        };
        let normal = |scale: f32, own: Option<u64>| {
            let stddev = scale.sqrt() / TRUNCATED_STDDEV;
            draw(shape, own.unwrap_or(seed), |rng| stddev * truncated_normal(rng))
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
            Self::GlorotUniform(fan) => uniform(2.0 / (fan_in + fan_out), fan.seed),
            Self::GlorotNormal(fan) => normal(2.0 / (fan_in + fan_out), fan.seed),
            Self::HeUniform(fan) => uniform(2.0 / fan_in, fan.seed),
            Self::HeNormal(fan) => normal(2.0 / fan_in, fan.seed),
            Self::LecunUniform(fan) => uniform(1.0 / fan_in, fan.seed),
            Self::LecunNormal(fan) => normal(1.0 / fan_in, fan.seed),
            Self::VarianceScaling(VarianceScaling { scale, mode, distribution, seed: own, .. }) => {
                let fan = match mode {
                    FanMode::FanIn => fan_in,
                    FanMode::FanOut => fan_out,
                    FanMode::FanAvg => (fan_in + fan_out) / 2.0,
                };
                let variance = scale / fan;
                match distribution {
                    Distribution::TruncatedNormal => normal(variance, *own),
                    Distribution::UntruncatedNormal => {
                        draw(shape, own.unwrap_or(seed), |rng| variance.sqrt() * rng.normal())
                    }
                    Distribution::Uniform => uniform(variance, *own),
                }
            }
            Self::Orthogonal { gain, seed: own } => orthogonal(shape, *gain, own.unwrap_or(seed)),
            Self::Identity { gain } => identity(shape, *gain),
            Self::Unknown(_) => vec![f32::NAN; shape.iter().product()],
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

fn identity(shape: &[usize], gain: f32) -> Vec<f32> {
    let columns = shape.last().copied().unwrap_or(1).max(1);
    let count = shape.iter().product();
    (0..count).map(|i| if i / columns == i % columns { gain } else { 0.0 }).collect()
}

/// Orthonormal columns or rows, by the Gram-Schmidt process on normal values. Its result is the factor Q of the QR decomposition
/// in which the diagonal of R is positive, which Keras takes as well.
fn orthogonal(shape: &[usize], gain: f32, seed: u64) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let columns = shape.last().copied().unwrap_or(1).max(1);
    let rows = count / columns;
    let (vectors, length) = (rows.min(columns), rows.max(columns));
    let mut rng = Rng::new(seed);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(vectors);
    while basis.len() < vectors {
        let mut vector: Vec<f64> = (0..length).map(|_| f64::from(rng.normal())).collect();
        // One projection loses accuracy where a vector is close to the span of the others; a second one restores it.
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|v| *v /= norm);
            basis.push(vector);
        }
    }
    let at = |row: usize, column: usize| if rows >= columns { basis[column][row] } else { basis[row][column] };
    (0..count).map(|i| (f64::from(gain) * at(i / columns, i % columns)) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
            (scaling(FanMode::FanIn, Distribution::Uniform), 0.5 / 180.0),
            (scaling(FanMode::FanOut, Distribution::TruncatedNormal), 0.5 / 270.0),
            (scaling(FanMode::FanAvg, Distribution::UntruncatedNormal), 0.5 / 225.0),
        ] {
            let values = initializer.values(&shape, 11);
            let found = values.iter().map(|w| f64::from(w * w)).sum::<f64>() / n as f64;
            // The tolerance is six standard errors of the variance of n = 5400 normal values: 6 sqrt(2 / n) = 11.5 %.
            assert!((found / variance - 1.0).abs() < 0.12, "{initializer:?}: {found} for {variance}");
        }
    }

    fn scaling(mode: FanMode, distribution: Distribution) -> Initializer {
        Initializer::VarianceScaling(VarianceScaling::new(0.5, mode, distribution))
    }

    #[test]
    fn orthogonal_rows_or_columns() {
        for shape in [vec![3, 3, 2, 5], vec![4, 9]] {
            let columns = shape[shape.len() - 1];
            let values = Initializer::Orthogonal { gain: 2.0, seed: None }.values(&shape, 3);
            let rows = values.len() / columns;
            let at = |vector: usize, i: usize| {
                if rows >= columns { values[i * columns + vector] } else { values[vector * columns + i] }
            };
            for (a, b) in (0..rows.min(columns)).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                let product: f32 = (0..rows.max(columns)).map(|i| at(a, i) * at(b, i)).sum();
                assert!((product - if a == b { 4.0 } else { 0.0 }).abs() < 1e-5, "{shape:?} {a} {b}: {product}");
            }
        }
        assert_eq!(Initializer::Identity { gain: 3.0 }.values(&[2, 3], 0), [3.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
    }

    #[test]
    fn others_are_kept_word_for_word() {
        use crate::keras_object::{read_kept, write_kept};
        use serde_json::json;

        let scaling = json!({
            "module": "keras.initializers", "class_name": "VarianceScaling", "registered_name": null,
            "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal", "seed": 7,
                "input_axes": null, "output_axes": null},
        });
        let read: Initializer = read_kept(scaling.clone());
        assert_eq!((read.kept(), write_kept(&read)), (None, scaling));
        for other in [
            json!({"class_name": "STFT", "config": {"side": "real"}}),
            json!({"class_name": "GlorotUniform", "config": {"seed": {"class_name": "SeedGenerator", "config": {}}}}),
            json!({"class_name": "HeNormal", "config": {"seed": 1, "input_axes": [0]}}),
            json!({"module": "my", "class_name": "Zeros", "config": {}, "registered_name": "my>Zeros"}),
            json!("my_initializer"),
        ] {
            let read: Initializer = read_kept(other.clone());
            assert_eq!(write_kept(&read), other);
            assert!(read.values(&[2], 1).iter().all(|value| value.is_nan()), "{other}");
        }
    }

    #[test]
    fn a_seed_of_its_own_wins() {
        let own = Initializer::HeNormal(Fan { seed: Some(5), ..Fan::default() });
        assert_eq!(own.values(&[4, 4], 1), own.values(&[4, 4], 2));
        assert_ne!(Initializer::he_normal().values(&[4, 4], 1), Initializer::he_normal().values(&[4, 4], 2));
    }
}
