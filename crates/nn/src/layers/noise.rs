//! Noise in training: `GaussianNoise`, `GaussianDropout` and `AlphaDropout`.

use engraft_ir::{Noise, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::noise_shape::{NoiseShape, push_noise};
use super::options::{config_of, single};
use super::seed::Seed;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Adds normal numbers of mean 0 in training (Keras' `GaussianNoise`).
///
/// Has no effect outside training.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::GaussianNoise};
/// let x = Input::new([10]);
/// let model = Model::new(&x, &GaussianNoise::new(0.1).seed(7).call(&x)?)?;
/// assert_eq!(Program::of(&model, true, 0)?.steps.len(), 1);
/// assert!(Program::of(&model, false, 0)?.steps.is_empty());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianNoise {
    stddev: f32,
    #[serde(default)]
    seed: Seed,
}

impl GaussianNoise {
    /// A layer that adds numbers of standard deviation `stddev`, from 0 to 1.
    pub fn new(stddev: f32) -> Self {
        Self { stddev, seed: Seed::default() }
    }
}

/// Multiplies by normal numbers of mean 1 in training (Keras' `GaussianDropout`).
///
/// Their standard deviation, `sqrt(rate / (1 - rate))`, gives values the variance that dropout with this rate gives them. Has no
/// effect outside training. Source: Srivastava et al. 2014, JMLR 15, section 10.
///
/// ```
/// use engraft_nn::{prelude::*, layers::GaussianDropout};
/// let x = Input::new([10]);
/// assert_eq!(GaussianDropout::new(0.3).call(&x)?.shape(), &[10]);
/// assert!(GaussianDropout::new(1.5).call(&x).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianDropout {
    rate: f32,
    #[serde(default)]
    seed: Seed,
}

impl GaussianDropout {
    /// A layer with the standard deviation of dropout with this rate, in `0.0..1.0`.
    pub fn new(rate: f32) -> Self {
        Self { rate, seed: Seed::default() }
    }
}

/// Dropout for networks of SELU in training (Keras' `AlphaDropout`): dropped values get SELU's limit, not 0.
///
/// Mean 0 and variance 1 are preserved. Has no effect outside training. Source: Klambauer et al. 2017, arXiv:1706.02515,
/// section 3.
///
/// ```
/// use engraft_nn::{prelude::*, layers::AlphaDropout};
/// assert_eq!(AlphaDropout::new(0.1).seed(7).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlphaDropout {
    rate: f32,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    noise_shape: Option<NoiseShape>,
}

impl AlphaDropout {
    /// A layer that drops each value with probability `rate`, in `0.0..1.0`.
    pub fn new(rate: f32) -> Self {
        Self { rate, seed: Seed::default(), noise_shape: None }
    }

    fn noise_shape(&self) -> Option<&NoiseShape> {
        self.noise_shape.as_ref()
    }
}

/// Checks the rate of a dropout layer. Keras opens 1, too.
pub(super) fn check_rate(rate: f32) -> Result<()> {
    if (0.0..=1.0).contains(&rate) { Ok(()) } else { Err(Error::new("rate", "at least 0 and below 1", rate)) }
}

/// Refuses the rate 1 where training would divide by 0.
fn check_training_rate(rate: f32) -> Result<()> {
    if rate < 1.0 { Ok(()) } else { Err(Error::new("rate", "below 1, to train the model", rate)) }
}

/// Implements `LayerDef` for a layer that adds noise in training: its check, whether it has an effect, and its noise.
macro_rules! noise_layer {
    ($name:ident, $check:expr, $amount:ident, $noise:expr, $shape:expr) => {
        impl $name {
            /// Sets a seed for this layer, which replaces the seed of `fit`.
            #[must_use]
            pub fn seed(mut self, seed: u64) -> Self {
                self.seed = seed.into();
                self
            }
        }

        impl LayerDef for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Map<String, Value> {
                config_of(self)
            }

            fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
                $check(self.$amount)?;
                single(inputs).cloned()
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(DType::common(inputs))
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                if !to.training() || self.$amount == 0.0 {
                    return Ok(inputs[0]);
                }
                push_noise(to, inputs[0], $noise(self.$amount)?, $shape(self), self.seed.number())
            }
        }
    };
}

fn check_stddev(stddev: f32) -> Result<()> {
    if (0.0..=1.0).contains(&stddev) { Ok(()) } else { Err(Error::new("stddev", "from 0 to 1", stddev)) }
}

fn gaussian_dropout(rate: f32) -> Result<Noise> {
    check_training_rate(rate)?;
    Ok(Noise::GaussianDropout { stddev: (rate / (1.0 - rate)).sqrt() })
}

fn alpha_dropout(rate: f32) -> Result<Noise> {
    check_training_rate(rate)?;
    Ok(Noise::AlphaDropout { rate })
}

noise_layer!(GaussianNoise, check_stddev, stddev, |stddev| Ok(Noise::GaussianNoise { stddev }), |_| None);
noise_layer!(GaussianDropout, check_rate, rate, gaussian_dropout, |_| None);
noise_layer!(AlphaDropout, check_rate, rate, alpha_dropout, AlphaDropout::noise_shape);

#[cfg(test)]
mod tests {
    use engraft_ir::Op;
    use serde_json::json;

    use super::*;
    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn trained(class: &str, config: Value) -> Result<Op> {
        let layer = from_config(class, config.as_object().unwrap().clone())?;
        let x = Input::new([4, 3]);
        let model = Model::new(&x, &layer.call(&x)?)?;
        Ok(Program::of(&model, true, 0)?.steps.remove(0).op)
    }

    #[test]
    fn options_of_keras_decide_the_noise() {
        let op = trained("GaussianDropout", json!({"name": "n", "rate": 0.2, "seed": null})).unwrap();
        assert!(matches!(op, Op::Noise { noise: Noise::GaussianDropout { stddev: 0.5 }, across_samples: false, .. }));
        let op = trained("AlphaDropout", json!({"name": "n", "rate": 0.2, "seed": 3, "noise_shape": [1, null, 1]}));
        let (noise, shape) = (Noise::AlphaDropout { rate: 0.2 }, vec![4, 1]);
        assert_eq!(op.unwrap(), Op::Noise { noise, shape, across_samples: true, seed: 3 });
        let op = trained("GaussianNoise", json!({"name": "n", "stddev": 0.2, "seed": -1})).unwrap();
        assert!(matches!(op, Op::Noise { noise: Noise::GaussianNoise { stddev: 0.2 }, seed: u64::MAX, .. }));
    }

    #[test]
    fn rates_outside_keras_bounds_are_named() {
        for (class, config, expected) in [
            ("GaussianNoise", json!({"name": "n", "stddev": 1.5}), "stddev: expected from 0 to 1, received 1.5"),
            ("AlphaDropout", json!({"name": "n", "rate": -0.5}), "rate: expected at least 0"),
            ("AlphaDropout", json!({"name": "n", "rate": 1.0}), "rate: expected below 1, to train the model"),
            ("GaussianDropout", json!({"name": "n", "rate": 1.0}), "rate: expected below 1, to train the model"),
        ] {
            let error = trained(class, config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
