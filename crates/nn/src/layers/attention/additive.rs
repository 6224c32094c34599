//! `AdditiveAttention`: attention whose scores are weighted sums of tanh(query + key).

use engraft_ir::{Interpolation, Op, PoolKind, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::options::{config_of, yes};
use super::super::rearranged::{permuted, reshaped, scaled};
use super::attend::{Attend, check_dropout};
use super::call_options::{keywords, query_value_key};
use super::mask::MaskOptions;
use super::single_head::attended_shape;
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{DType, Initializer, Result};

/// Additive attention (Keras' `AdditiveAttention`; Bahdanau et al. 2015, arXiv:1409.0473).
///
/// Called on `[query, value]` or `[query, value, key]`: `[queries, width]`, `[keys, features]` and `[keys, width]`. The key is the
/// value if there is none. The result is `[queries, features]`. With a scale, a trained weight `[width]` weighs the features of
/// `tanh(query + key)`.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::AdditiveAttention;
/// let (query, value) = (Input::new([5, 8]), Input::new([7, 8]));
/// let y = AdditiveAttention::new().call([&query, &value])?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![5, 8], 8));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditiveAttention {
    #[serde(default = "yes")]
    use_scale: bool,
    #[serde(default)]
    dropout: f32,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default, skip_serializing)]
    use_causal_mask: bool,
}

impl AdditiveAttention {
    /// A layer with a scale.
    pub fn new() -> Self {
        Self { use_scale: true, dropout: 0.0, seed: None, use_causal_mask: false }
    }

    /// Sets whether a trained weight scales each feature; true by default.
    #[must_use]
    pub fn use_scale(mut self, use_scale: bool) -> Self {
        self.use_scale = use_scale;
        self
    }
}

impl Default for AdditiveAttention {
    fn default() -> Self {
        Self::new()
    }
}

/// The sums of every query and every key: `[queries, keys, width]`.
pub(super) fn pairwise_sums(to: &mut Lowering<'_>, query: ValueId, key: ValueId) -> ValueId {
    let (queries, keys, width) = (to.shape(query)[0], to.shape(key)[0], to.shape(query)[1]);
    let shape = vec![queries, keys, width];
    // As images of one column or row, both are repeated by nearest-neighbour resizing.
    let mut repeated = |x: ValueId, size: [usize; 3]| {
        let x = reshaped(to, x, size);
        if to.shape(x) == &shape {
            return x;
        }
        to.push_with(Op::Resize { interpolation: Interpolation::Nearest, antialias: false }, &[x], shape.clone(), 0..0)
    };
    let terms = [repeated(query, [queries, 1, width]), repeated(key, [1, keys, width])];
    to.push_with(Op::Add, &terms, shape, 0..0)
}

/// The sum over the last axis: `[queries, keys, width]` to `[queries, keys]`.
pub(super) fn summed(to: &mut Lowering<'_>, x: ValueId) -> ValueId {
    let (queries, keys, width) = (to.shape(x)[0], to.shape(x)[1], to.shape(x)[2]);
    // The mean over the pixels of an image whose channels are the pairs, times their number.
    let x = permuted(to, x, vec![2, 0, 1]);
    let x = reshaped(to, x, [width, 1, queries * keys]);
    let mean = to.push_with(Op::GlobalPool { kind: PoolKind::Average }, &[x], vec![queries * keys], 0..0);
    let mean = reshaped(to, mean, [queries * keys, 1]);
    let sum = scaled(to, mean, width as f32, 0.0);
    reshaped(to, sum, [queries, keys])
}

impl LayerDef for AdditiveAttention {
    fn class_name(&self) -> &'static str {
        "AdditiveAttention"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn keyword_arguments(&self) -> Map<String, Value> {
        keywords(self.use_causal_mask, None)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check_dropout(self.dropout)?;
        attended_shape(inputs, MaskOptions { causal: self.use_causal_mask, ..MaskOptions::default() })
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let width = query_value_key(inputs)?[0].last().copied().unwrap_or(0);
        let scale = self.use_scale.then(|| WeightSpec {
            name: "scale".into(),
            shape: vec![width],
            initializer: Initializer::glorot_uniform(),
            trainable: true,
            regularizer: None,
            constraint: None,
        });
        Ok(scale.into_iter().collect())
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        DType::of_arithmetic(inputs).map(|_| DType::Float)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [&query, &value, &key] = query_value_key(inputs)?;
        let sums = pairwise_sums(to, query, key);
        let activated = to.activate(ActivationFn::Tanh, sums);
        let (queries, keys) = (to.shape(query)[0], to.shape(value)[0]);
        let scores = match self.use_scale {
            // The sum weighted by the scale is a product with a kernel of one unit.
            true => to.push(Op::Dense, &[activated], vec![queries, keys, 1]),
            false => summed(to, activated),
        };
        let scores = reshaped(to, scores, [queries, keys]);
        let mask = MaskOptions { causal: self.use_causal_mask, ..MaskOptions::default() };
        let mask = mask.mask(queries, keys)?;
        let attend = Attend { mask, zeros_without_keys: false, dropout: self.dropout, seed: self.seed };
        Ok(attend.lower(to, scores, value))
    }
}
