//! `GroupQueryAttention`: multi-head attention in which several query heads share the head of a key and a value.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::options::{config_of, yes};
use super::super::rearranged::{multiplied, permuted, reshaped, scaled};
use super::attend::{Attend, check_dropout, gated};
use super::call_options::{ConstantMask, keywords, query_value_key};
use super::mask::MaskOptions;
use super::projection::{HeadShapes, ProjectionOptions, multi_head_options};
use crate::Shape;
use crate::keras_object::Unset;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Grouped-query attention (Keras' `GroupQueryAttention`; Ainslie et al. 2023, arXiv:2305.13245).
///
/// Called on `[query, value]` or `[query, value, key]`, `[places, features]` each. The query has `num_query_heads` heads, of which
/// groups of equal size share one of the `num_key_value_heads` heads of key and value. The result has the shape of the query.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::GroupQueryAttention;
/// let x = Input::new([196, 64]);
/// let y = GroupQueryAttention::new(16, 4, 2).call([&x, &x])?;
/// assert_eq!(y.shape(), &[196, 64]);
/// // Query and output: 4 heads of 16; key and value: 2 heads.
/// assert_eq!(y.layer().count_params(), 2 * (64 * 64 + 64) + 2 * (64 * 32 + 32));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupQueryAttention {
    head_dim: usize,
    num_query_heads: usize,
    num_key_value_heads: usize,
    #[serde(default = "yes")]
    use_bias: bool,
    #[serde(default)]
    use_gate: bool,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    dropout: f32,
    #[serde(default = "initializer::kernel_default", with = "initializer::object")]
    kernel_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    bias_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    kernel_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    bias_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    kernel_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default, skip_serializing, rename = "flash_attention")]
    _flash_attention: Unset,
    #[serde(default, skip_serializing)]
    use_causal_mask: bool,
    #[serde(default, skip_serializing)]
    attention_mask: Option<ConstantMask>,
}

impl GroupQueryAttention {
    /// A layer of heads with `head_dim` features. `num_query_heads` must be a multiple of `num_key_value_heads`.
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> Self {
        Self {
            head_dim,
            num_query_heads,
            num_key_value_heads,
            use_bias: true,
            use_gate: false,
            sliding_window: None,
            dropout: 0.0,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            seed: None,
            _flash_attention: Unset,
            use_causal_mask: false,
            attention_mask: None,
        }
    }

    fn check_options(&self) -> Result<()> {
        let heads = [self.num_query_heads, self.num_key_value_heads];
        check_size("head_dim, num_query_heads and num_key_value_heads", &[self.head_dim, heads[0], heads[1]])?;
        if !heads[0].is_multiple_of(heads[1]) {
            let expected = format!("a multiple of num_key_value_heads, {}", heads[1]);
            return Err(Error::new("num_query_heads", expected, heads[0]));
        }
        check_dropout(self.dropout)
    }
}

multi_head_options!(GroupQueryAttention);

impl LayerDef for GroupQueryAttention {
    fn class_name(&self) -> &'static str {
        "GroupQueryAttention"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn argument_names(&self) -> &'static [&'static str] {
        &["query", "value", "key"]
    }

    fn keyword_arguments(&self) -> Map<String, Value> {
        keywords(self.use_causal_mask, self.attention_mask.as_ref())
    }

    fn builds_layers_inside(&self) -> bool {
        true
    }

    fn weight_path(&self, index: usize) -> String {
        self.projections().weight_path(["_query_dense", "_key_dense", "_value_dense", "_output_dense"], index)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.check_options()?;
        let [query, value, key] = query_value_key(inputs)?;
        match [query, value, key].map(Vec::as_slice) {
            [&[queries, _], &[keys, _], &[same, _]] if keys == same => {
                check_size("attention scores", &[self.num_query_heads, queries, keys])?;
                check_size("projection", &[queries.max(keys), self.num_query_heads, self.head_dim])?;
                self.mask_options().mask(queries, keys)?;
                Ok(query.clone())
            }
            other => {
                Err(Error::new("inputs", "[places, features], as many for value and key", format_args!("{other:?}")))
            }
        }
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [query, value, key] = query_value_key(inputs)?;
        let [queries, keys] = [self.num_query_heads, self.num_key_value_heads].map(|heads| [heads, self.head_dim]);
        let heads = HeadShapes { query: queries, key: keys, value: keys, attended: queries };
        let features = query.last().copied().unwrap_or(0);
        Ok(self.projections().specs([query, value, key], &heads, &[features]))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let [&query, &value, &key] = query_value_key(inputs)?;
        let [sample, other] = [query, value].map(|x| to.shape(x).clone());
        let (queries, keys, width) = (sample[0], other[0], self.head_dim);
        let (groups, heads) = (self.num_key_value_heads, self.num_query_heads / self.num_key_value_heads);
        let options = self.projections();
        let mut projections = options.in_order();

        let q = projections.next().lower(to, query, groups * heads * width);
        let k = projections.next().lower(to, key, groups * width);
        let gate = self.use_gate.then(|| projections.next().lower(to, query, groups * heads * width));
        let v = projections.next().lower(to, value, groups * width);
        let q = scaled(to, q, 1.0 / (width as f32).sqrt(), 0.0);
        // [groups, heads of the group, places, width]: the one head of a key or value is broadcast to its group.
        let mut split = |x: ValueId, places: usize, heads: usize| {
            let x = reshaped(to, x, [places, groups, heads, width]);
            permuted(to, x, vec![1, 2, 0, 3])
        };
        let (q, k, v) = (split(q, queries, heads), split(k, keys, 1), split(v, keys, 1));
        let scores = multiplied(to, q, k, true);
        let attend = Attend {
            mask: self.mask_options().mask(queries, keys)?,
            zeros_without_keys: self.dropout > 0.0,
            dropout: self.dropout,
            seed: self.seed,
        };
        let y = attend.lower(to, scores, v);
        let y = permuted(to, y, vec![2, 0, 1, 3]);
        let y = reshaped(to, y, [queries, groups * heads * width]);
        let y = gate.map_or(y, |gate| gated(to, y, gate));
        Ok(projections.next().lower(to, y, sample[1]))
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::GroupQueryAttention;
    use crate::prelude::*;

    #[test]
    fn heads_that_can_not_be_grouped_are_named() {
        let x = Input::new([3, 4]);
        let error = GroupQueryAttention::new(2, 3, 2).call([&x, &x]).unwrap_err().to_string();
        assert!(
            error.contains("num_query_heads: expected a multiple of num_key_value_heads, 2, received 3"),
            "{error}"
        );
        assert!(GroupQueryAttention::new(2, 2, 0).call([&x, &x]).is_err());
        assert!(GroupQueryAttention::new(2, 2, 2).call([&x, &Input::new([3, 3, 4])]).is_err());
    }
}
