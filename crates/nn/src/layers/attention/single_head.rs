//! `Attention`: attention of one head, without projections.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::options::config_of;
use super::super::rearranged::{multiplied, reshaped, scaled_by_weight};
use super::additive::{pairwise_sums, summed};
use super::attend::{Attend, check_dropout};
use super::call_options::{keywords, query_value_key};
use super::mask::MaskOptions;
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::weight::WeightSpec;
use crate::{Error, Initializer, Result};

/// How [`Attention`] scores a key for a query.
///
/// ```
/// assert_eq!(engraft_nn::layers::ScoreMode::default(), engraft_nn::layers::ScoreMode::Dot);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreMode {
    /// The product of query and key (Luong et al. 2015, arXiv:1508.04025).
    #[default]
    Dot,
    /// The sum of tanh(query + key) over the features.
    Concat,
}

/// Attention of one head, without projections (Keras' `Attention`).
///
/// Called on `[query, value]` or `[query, value, key]`: `[queries, width]`, `[keys, features]` and `[keys, width]`. The key is the
/// value if there is none. The result is `[queries, features]`.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::Attention;
/// let (query, value) = (Input::new([5, 8]), Input::new([7, 8]));
/// assert_eq!(Attention::new().use_scale(true).call([&query, &value])?.shape(), &[5, 8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    #[serde(default)]
    use_scale: bool,
    #[serde(default)]
    score_mode: ScoreMode,
    #[serde(default)]
    dropout: f32,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default, skip_serializing)]
    use_causal_mask: bool,
}

impl Attention {
    /// An attention layer whose scores are dot products of query and key, not scaled by a weight.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether a trained number scales the scores; false by default.
    #[must_use]
    pub fn use_scale(mut self, use_scale: bool) -> Self {
        self.use_scale = use_scale;
        self
    }

    /// Sets how keys are scored; by products by default.
    #[must_use]
    pub fn score_mode(mut self, score_mode: ScoreMode) -> Self {
        self.score_mode = score_mode;
        self
    }

    /// Sets the share of attention weights that are dropped in training, in `0.0..1.0`; 0 by default.
    #[must_use]
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = rate;
        self
    }

    fn scores(&self, to: &mut Lowering<'_>, query: ValueId, key: ValueId) -> ValueId {
        match (self.score_mode, self.use_scale) {
            (ScoreMode::Dot, false) => multiplied(to, query, key, true),
            (ScoreMode::Dot, true) => {
                let scores = multiplied(to, query, key, true);
                scaled_by_weight(to, scores, 0)
            }
            (ScoreMode::Concat, scaled) => {
                let mut sums = pairwise_sums(to, query, key);
                if scaled {
                    sums = scaled_by_weight(to, sums, 0);
                }
                let activated = to.activate(ActivationFn::Tanh, sums);
                let scores = summed(to, activated);
                scaled_by_weight(to, scores, usize::from(scaled))
            }
        }
    }
}

/// Checks that query, value and key are `[places, features]` and fit each other; returns the shape of the output.
pub(super) fn attended_shape(inputs: &[Shape], mask: MaskOptions<'_>) -> Result<Shape> {
    let [query, value, key] = query_value_key(inputs)?;
    match [query, value, key].map(Vec::as_slice) {
        [&[queries, width], &[keys, features], &[same_keys, same_width]]
            if keys == same_keys && width == same_width =>
        {
            check_size("attention scores", &[queries, keys, width])?;
            mask.mask(queries, keys)?;
            Ok(vec![queries, features])
        }
        other => {
            let expected = "[queries, width] and [keys, features], and keys [keys, width] if they are not the values";
            Err(Error::new("inputs", expected, format_args!("{other:?}")))
        }
    }
}

impl LayerDef for Attention {
    fn class_name(&self) -> &'static str {
        "Attention"
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

    fn weights(&self, _inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let spec = |name: &'static str| WeightSpec {
            name: name.into(),
            shape: Vec::new(),
            initializer: Initializer::ones(),
            trainable: true,
            regularizer: None,
            constraint: None,
        };
        let scale = self.use_scale.then(|| spec("scale"));
        let concat = (self.score_mode == ScoreMode::Concat).then(|| spec("concat_score_weight"));
        Ok(scale.into_iter().chain(concat).collect())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [&query, &value, &key] = query_value_key(inputs)?;
        let scores = self.scores(to, query, key);
        let (queries, keys) = (to.shape(query)[0], to.shape(value)[0]);
        let scores = reshaped(to, scores, [queries, keys]);
        let mask = MaskOptions { causal: self.use_causal_mask, ..MaskOptions::default() };
        let mask = mask.mask(queries, keys)?;
        let attend = Attend { mask, zeros_without_keys: false, dropout: self.dropout, seed: self.seed };
        Ok(attend.lower(to, scores, value))
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::Attention;
    use crate::prelude::*;

    #[test]
    fn queries_and_keys_need_one_width() {
        let error = Attention::new().call([&Input::new([5, 8]), &Input::new([7, 6])]).unwrap_err().to_string();
        assert!(error.contains("[queries, width] and [keys, features]"), "{error}");
    }
}
