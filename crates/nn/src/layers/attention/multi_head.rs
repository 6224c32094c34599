//! `MultiHeadAttention`: several attentions side by side, each on projections of its own.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::options::{config_of, yes};
use super::super::rearranged::{multiplied, reshaped, scaled};
use super::attend::{Attend, check_dropout, gated};
use super::call_options::{ConstantMask, keywords, query_value_key};
use super::heads::HeadAxes;
use super::mask::MaskOptions;
use super::projection::{HeadShapes, ProjectionOptions, multi_head_options};
use crate::Shape;
use crate::keras_object::Unset;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Multi-head attention (Keras' `MultiHeadAttention`; Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).
///
/// Called on `[query, value]` or `[query, value, key]`: `[.., places, features]` each. The key is the value if there is none. The
/// result has the shape of the query, or the features of `output_shape`. Each head projects query, key and value by kernels
/// `[features, heads, width]`, attends with softmax of the scaled products, and the heads are projected back together.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::MultiHeadAttention;
/// // Self-attention over 196 patches of 64 features.
/// let x = Input::new([196, 64]);
/// let y = MultiHeadAttention::new(4, 16).dropout(0.1).call([&x, &x])?;
/// assert_eq!(y.shape(), &[196, 64]);
/// assert_eq!(y.layer().count_params(), 4 * (64 * 64 + 64));
/// let names: Vec<String> = y.layer().weights().iter().map(|weight| weight.name().to_owned()).collect();
/// assert_eq!(names[..2], ["query/kernel", "query/bias"]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiHeadAttention {
    num_heads: usize,
    key_dim: usize,
    #[serde(default)]
    value_dim: Option<usize>,
    #[serde(default)]
    dropout: f32,
    #[serde(default = "yes")]
    use_bias: bool,
    #[serde(default)]
    use_gate: bool,
    #[serde(default)]
    output_shape: Option<OneOrMore<usize>>,
    #[serde(default)]
    attention_axes: Option<OneOrMore<i64>>,
    #[serde(default)]
    sliding_window: Option<usize>,
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

/// One number, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an integer or a list of them")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }
}

impl MultiHeadAttention {
    /// A layer of `num_heads` heads, whose queries, keys and values have `key_dim` features.
    pub fn new(num_heads: usize, key_dim: usize) -> Self {
        Self {
            num_heads,
            key_dim,
            value_dim: Some(key_dim),
            dropout: 0.0,
            use_bias: true,
            use_gate: false,
            output_shape: None,
            attention_axes: None,
            sliding_window: None,
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

    /// Sets the features of the values of each head; `key_dim` by default.
    #[must_use]
    pub fn value_dim(mut self, value_dim: usize) -> Self {
        self.value_dim = Some(value_dim);
        self
    }

    /// Sets whether a sigmoid of a projection of the query multiplies the heads; false by default (Qiu et al. 2025,
    /// arXiv:2505.06708).
    #[must_use]
    pub fn use_gate(mut self, use_gate: bool) -> Self {
        self.use_gate = use_gate;
        self
    }

    /// Sets the features of the result; those of the query by default.
    #[must_use]
    pub fn output_shape(mut self, output_shape: impl Into<Vec<usize>>) -> Self {
        self.output_shape = Some(OneOrMore::More(output_shape.into()));
        self
    }

    /// Sets the axes to attend over, in Keras' numbering (0 is the batch); all but the features by default.
    #[must_use]
    pub fn attention_axes(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.attention_axes = Some(OneOrMore::More(axes.into()));
        self
    }

    /// Sets whether query `i` attends to the keys `0..=i` alone; false by default. In Keras, it is an argument of the call.
    #[must_use]
    pub fn use_causal_mask(mut self, use_causal_mask: bool) -> Self {
        self.use_causal_mask = use_causal_mask;
        self
    }

    /// Sets a seed for the dropout of this layer, which replaces the seed of `fit`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    fn value_width(&self) -> usize {
        self.value_dim.unwrap_or(self.key_dim)
    }

    /// The sizes of the output's features for a query of this shape.
    fn output_features(&self, query: &Shape) -> Vec<usize> {
        match &self.output_shape {
            Some(shape) if !shape.as_slice().is_empty() => shape.as_slice().to_vec(),
            _ => query.last().copied().into_iter().collect(),
        }
    }

    fn axes(&self, rank: usize) -> Result<HeadAxes> {
        HeadAxes::new(self.attention_axes.as_ref().map(OneOrMore::as_slice), rank)
    }

    fn check_options(&self) -> Result<()> {
        check_dropout(self.dropout)?;
        check_size("num_heads, key_dim and value_dim", &[self.num_heads, self.key_dim, self.value_width()])
    }

    /// Checks that the inputs fit each other: query, value and key.
    fn check_inputs(&self, inputs: [&Shape; 3]) -> Result<()> {
        let [query, value, key] = inputs;
        let rank = query.len();
        let axes = self.axes(rank)?;
        let differ = || {
            Error::new(
                "inputs",
                "value and key with the places of each other and axes like the query's",
                format_args!("{inputs:?}"),
            )
        };
        if value.len() != rank || key.len() != rank || value[..rank - 1] != key[..rank - 1] {
            return Err(differ());
        }
        if axes.others(query) != axes.others(value) {
            return Err(differ());
        }
        let (queries, keys) = (axes.places(query), axes.places(value));
        let mut scores = axes.others(query);
        scores.extend([self.num_heads, queries, keys]);
        check_size("attention scores", &scores)?;
        // Values between the layers inside have as many axes as the inputs, with all heads instead of the features.
        for places in [&query[..rank - 1], &value[..rank - 1]] {
            check_size("projection", &[places, &[self.num_heads, self.key_dim.max(self.value_width())]].concat())?;
        }
        self.mask_options().mask(queries, keys).map(|_| ())
    }
}

multi_head_options!(MultiHeadAttention);

impl LayerDef for MultiHeadAttention {
    fn class_name(&self) -> &'static str {
        "MultiHeadAttention"
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
        self.projections().weight_path(["query_dense", "key_dense", "value_dense", "output_dense"], index)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.check_options()?;
        let [query, value, key] = query_value_key(inputs)?;
        self.check_inputs([query, value, key])?;
        Ok([&query[..query.len() - 1], &self.output_features(query)].concat())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let [query, value, key] = query_value_key(inputs)?;
        let [keys, values] = [self.key_dim, self.value_width()].map(|width| [self.num_heads, width]);
        let heads = HeadShapes { query: keys, key: keys, value: values, attended: values };
        Ok(self.projections().specs([query, value, key], &heads, &self.output_features(query)))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let [&query, &value, &key] = query_value_key(inputs)?;
        let sample = to.shape(query).clone();
        let axes = self.axes(sample.len())?;
        let (queries, keys) = (axes.places(&sample), axes.places(to.shape(value)));
        let (heads, width) = (self.num_heads, self.value_width());
        let options = self.projections();
        let mut projections = options.in_order();

        let q = projections.next().lower(to, query, heads * self.key_dim);
        let k = projections.next().lower(to, key, heads * self.key_dim);
        let gate = self.use_gate.then(|| projections.next().lower(to, query, heads * width));
        let v = projections.next().lower(to, value, heads * width);
        // The queries are scaled, since they are usually smaller than the scores.
        let q = scaled(to, q, 1.0 / (self.key_dim as f32).sqrt(), 0.0);
        let [q, k, v] = [q, k, v].map(|x| axes.split(to, x, heads));
        let scores = multiplied(to, q, k, true);
        let attend = Attend {
            mask: self.mask_options().mask(queries, keys)?,
            zeros_without_keys: self.dropout > 0.0 || sample.len() != 2,
            dropout: self.dropout,
            seed: self.seed,
        };
        let y = attend.lower(to, scores, v);
        let y = axes.merge(to, y, &sample[..sample.len() - 1]);
        let y = gate.map_or(y, |gate| gated(to, y, gate));
        let features = self.output_features(&sample);
        let y = projections.next().lower(to, y, features.iter().product());
        Ok(reshaped(to, y, [&sample[..sample.len() - 1], &features].concat()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::from_config;
    use crate::prelude::*;

    #[test]
    fn inputs_that_do_not_fit_are_named() {
        let call = |shapes: &[&[usize]]| {
            let inputs: Vec<SymbolicTensor> = shapes.iter().map(|&shape| Input::new(shape)).collect();
            super::MultiHeadAttention::new(2, 3).call(&inputs[..]).map(|y| y.shape().clone())
        };
        assert_eq!(call(&[&[4, 6], &[5, 3]]).unwrap(), [4, 6]);
        assert_eq!(call(&[&[4, 6], &[5, 3], &[5, 2]]).unwrap(), [4, 6]);
        for (shapes, expected) in [
            (&[&[4, 6][..]][..], "query and value"),
            (&[&[4, 6], &[5, 3], &[4, 3]], "value and key with the places of each other"),
            (&[&[4, 6], &[5, 5, 3]], "axes like the query's"),
            (&[&[6], &[6]], "attention_axes"),
            (&[&[1 << 30, 1], &[1 << 30, 1]], "attention scores"),
        ] {
            let error = call(shapes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn arguments_of_the_call_are_options_here() {
        let read = |option: &str, value: Value| {
            let mut config = json!({"name": "mha", "num_heads": 2, "key_dim": 4});
            config[option] = value;
            from_config("MultiHeadAttention", config.as_object().unwrap().clone())
        };
        let causal = read("use_causal_mask", json!(true)).unwrap();
        assert_eq!(Value::Object(causal.def().keyword_arguments()), json!({"use_causal_mask": true}));
        assert!(!causal.def().config().contains_key("use_causal_mask"));
        let tensor = read("attention_mask", json!({"class_name": "__keras_tensor__"})).unwrap_err().to_string();
        assert!(
            tensor.contains("option `attention_mask`: expected an array that is the same in every call"),
            "{tensor}"
        );
    }

    #[test]
    fn initial_kernels_scale_with_their_fans() {
        let x = Input::new([4, 64]);
        let y = super::MultiHeadAttention::new(8, 8).call([&x, &x]).unwrap();
        let kernel = y.layer().weights()[0].values().clone();
        let limit = (6.0f32 / (64.0 + 64.0)).sqrt();
        let largest = kernel.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
        assert!(largest <= limit && largest > 0.95 * limit, "{largest}, limit {limit}");
    }
}
