//! `Embedding`: a trained vector for each integer.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, ErrorKind, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// A trained vector for each integer from 0 on (Keras' `Embedding`).
///
/// `[..] -> [.., output_dim]`; embeddings `[input_dim, output_dim]`. Integers beyond the last vector read the last one, negative
/// ones the first. The options of a file for LoRA, `lora_rank` and `lora_alpha`, are kept as those of [`Dense`](super::Dense).
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::Embedding;
/// let y = Embedding::new(10, 4).call(&Input::new([6]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![6, 4], 40));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    #[serde(default = "small_uniform", with = "initializer::object")]
    embeddings_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    embeddings_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    embeddings_constraint: Option<Constraint>,
    #[serde(default)]
    mask_zero: bool,
    /// Keras 2 wrote the number of integers, which the input has, too.
    #[serde(default, skip_serializing, rename = "input_length")]
    _input_length: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_rank: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<Number>,
    /// The settings of quantized weights, which are dequantized when they are read.
    #[serde(default, skip_serializing, rename = "quantization_config")]
    _quantization_config: Value,
}

/// Keras' default for embeddings.
fn small_uniform() -> Initializer {
    Initializer::RandomUniform { minval: -0.05, maxval: 0.05, seed: None }
}

impl Embedding {
    /// A layer with vectors of length `output_dim` for the integers `0..input_dim`.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        Self {
            input_dim,
            output_dim,
            embeddings_initializer: small_uniform(),
            embeddings_regularizer: None,
            activity_regularizer: None,
            embeddings_constraint: None,
            mask_zero: false,
            _input_length: None,
            lora_rank: None,
            lora_alpha: None,
            _quantization_config: Value::Null,
        }
    }

    /// Sets the initializer of the vectors; uniform within ±0.05 by default.
    #[must_use]
    pub fn embeddings_initializer(mut self, initializer: Initializer) -> Self {
        self.embeddings_initializer = initializer;
        self
    }
}

impl LayerDef for Embedding {
    fn class_name(&self) -> &'static str {
        "Embedding"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.mask_zero {
            return Err(Error::new("mask_zero", "false: masks that layers pass on are not supported", true)
                .with_kind(ErrorKind::Unsupported)
                .hint("build the model with mask_zero=False"));
        }
        let mut shape = single(inputs)?.clone();
        shape.push(self.output_dim);
        Ok(shape)
    }

    fn weights(&self, _inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec {
            name: "embeddings".into(),
            shape: vec![self.input_dim, self.output_dim],
            initializer: self.embeddings_initializer.clone(),
            trainable: true,
            regularizer: self.embeddings_regularizer.clone(),
            constraint: self.embeddings_constraint.clone(),
        }])
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let mut shape = to.shape(inputs[0]).clone();
        shape.push(self.output_dim);
        Ok(to.push(Op::Embedding, inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::layers::from_config;
    use crate::prelude::*;

    #[test]
    fn masks_are_refused_by_name() {
        let config = json!({"name": "words", "input_dim": 3, "output_dim": 2, "mask_zero": true});
        let layer = from_config("Embedding", config.as_object().unwrap().clone()).unwrap();
        let error = layer.call(&Input::new([4])).unwrap_err().to_string();
        assert!(error.starts_with("layer `words` (Embedding), mask_zero: expected false"), "{error}");
    }
}
