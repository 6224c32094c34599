//! `Dropout`: random zeros in training.

use engraft_ir::{Noise, Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::noise::check_rate;
use super::noise_shape::{NoiseShape, push_noise};
use super::options::{config_of, single};
use super::seed::Seed;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Result, Shape};

/// Sets a random share of its inputs to zero in training and divides the others by `1 - rate` (Keras' `Dropout`).
///
/// Has no effect outside training. With a `noise_shape`, values along axes of size 1 are dropped together. Source: Srivastava et al.
/// 2014, JMLR 15.
///
/// ```
/// use engraft_nn::{Program, prelude::*};
/// let x = Input::new([10]);
/// let model = Model::new(&x, &Dropout::new(0.5).seed(7).call(&x)?)?;
/// // With a seed of its own, a layer ignores the seed of the run.
/// assert_eq!(Program::of(&model, true, 1)?.steps[0].op, Program::of(&model, true, 2)?.steps[0].op);
/// assert!(Program::of(&model, false, 1)?.steps.is_empty());
/// assert!(Dropout::new(1.5).call(&x).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    rate: f32,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    noise_shape: Option<NoiseShape>,
}

impl Dropout {
    /// A layer that drops each value with probability `rate`, in `0.0..1.0`.
    pub fn new(rate: f32) -> Self {
        Self { rate, seed: Seed::default(), noise_shape: None }
    }

    /// Sets a seed for this layer, which replaces the seed of `fit`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed.into();
        self
    }

    /// Sets along which axes values are dropped together: a size for each axis, the batch first. Along axes of size 1 they are;
    /// `None` stands for the size of the input.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// // Stochastic depth: all values of a sample or none.
    /// let drop = Dropout::new(0.2).noise_shape([None, Some(1), Some(1), Some(1)]);
    /// assert_eq!(drop.call(&Input::new([8, 8, 16]))?.shape(), &[8, 8, 16]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn noise_shape(mut self, sizes: impl Into<Vec<Option<usize>>>) -> Self {
        self.noise_shape = Some(NoiseShape::new(sizes.into()));
        self
    }
}

impl LayerDef for Dropout {
    fn class_name(&self) -> &'static str {
        "Dropout"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check_rate(self.rate)?;
        single(inputs).cloned()
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if !to.training() || self.rate == 0.0 {
            return Ok(inputs[0]);
        }
        if let Some(shape) = &self.noise_shape {
            return push_noise(to, inputs[0], Noise::Dropout { rate: self.rate }, Some(shape), self.seed.number());
        }
        let seed = to.random_seed(self.seed.number());
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Dropout { rate: self.rate, seed }, inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::{Noise, Op};
    use serde_json::json;

    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    #[test]
    fn a_noise_shape_is_kept_and_drops_values_together() {
        let config = json!({"name": "drop", "rate": 0.2, "seed": 3, "noise_shape": [null, 1, 5]});
        let layer = from_config("Dropout", config.as_object().unwrap().clone()).unwrap();
        assert_eq!(layer.def().config()["noise_shape"], config["noise_shape"]);
        let x = Input::new([4, 5]);
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        assert!(Program::of(&model, false, 0).unwrap().steps.is_empty());
        let (noise, shape) = (Noise::Dropout { rate: 0.2 }, vec![1, 5]);
        let expected = Op::Noise { noise, shape, across_samples: false, seed: 3 };
        assert_eq!(Program::of(&model, true, 0).unwrap().steps[0].op, expected);
    }

    #[test]
    fn a_noise_shape_that_does_not_fit_predicts_and_is_named_in_training() {
        let config = json!({"name": "drop", "rate": 0.2, "seed": null, "noise_shape": [null, 2]});
        let layer = from_config("Dropout", config.as_object().unwrap().clone()).unwrap();
        let x = Input::new([4]);
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        assert!(Program::of(&model, false, 0).unwrap().steps.is_empty());
        let error = Program::of(&model, true, 0).unwrap_err().to_string();
        assert!(error.starts_with("layer `drop` (Dropout), noise_shape: expected null, 1"), "{error}");
    }
}
