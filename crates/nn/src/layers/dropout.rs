//! `Dropout`: random zeros in training.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

/// Sets a random share of its inputs to zero in training and divides the others by `1 - rate` (Keras' `Dropout`).
///
/// Has no effect outside training. A `noise_shape` of a file is kept, and training with it refused. Source: Srivastava et al. 2014, JMLR 15.
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
    seed: Option<u64>,
    #[serde(default)]
    noise_shape: Option<Value>,
}

impl Dropout {
    /// A layer that drops each value with probability `rate`, in `0.0..1.0`.
    pub fn new(rate: f32) -> Self {
        Self { rate, seed: None, noise_shape: None }
    }

    /// Sets a seed for this layer, which replaces the seed of `fit`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
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
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::new("rate", "at least 0 and below 1", self.rate));
        }
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if !to.training() || self.rate == 0.0 {
            return Ok(inputs[0]);
        }
        if let Some(shape) = &self.noise_shape {
            return Err(Error::new("noise_shape", "none, to train the model", shape)
                .with_kind(ErrorKind::Unsupported)
                .hint("the model predicts as it is; to train it here, build the layer without noise_shape"));
        }
        let seed = to.random_seed(self.seed);
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Dropout { rate: self.rate, seed }, inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::layers::from_config;
    use crate::prelude::*;
    use crate::{ErrorKind, Program};

    #[test]
    fn a_noise_shape_is_kept_and_refused_in_training_alone() {
        let config = json!({"name": "drop", "rate": 0.2, "seed": null, "noise_shape": [null, 1]});
        let layer = from_config("Dropout", config.as_object().unwrap().clone()).unwrap();
        assert_eq!(layer.def().config()["noise_shape"], config["noise_shape"]);
        let x = Input::new([4]);
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        assert!(Program::of(&model, false, 0).unwrap().steps.is_empty());
        let error = Program::of(&model, true, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("layer `drop` (Dropout), noise_shape: expected none"), "{error}");
    }
}
