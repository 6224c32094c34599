//! The kernels and biases of the Dense layers inside a multi-head attention.

use engraft_ir::{Op, ValueId};

use crate::Shape;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Initializer, Regularizer};

/// The names of a projection's kernel and bias: the name of Keras' inner layer, and that of the weight.
pub(super) type Names = [&'static str; 2];

const QUERY: Names = ["query/kernel", "query/bias"];
const KEY: Names = ["key/kernel", "key/bias"];
const GATE: Names = ["gate/kernel", "gate/bias"];
const VALUE: Names = ["value/kernel", "value/bias"];
const OUTPUT: Names = ["attention_output/kernel", "attention_output/bias"];

/// Defines the options of layers with several heads for dropout and bias, and what describes their projections and mask.
macro_rules! multi_head_options {
    ($name:ident) => {
        impl $name {
            /// Sets the share of attention weights that are dropped in training, in `0.0..1.0`; 0 by default.
            #[must_use]
            pub fn dropout(mut self, rate: f32) -> Self {
                self.dropout = rate;
                self
            }

            /// Sets whether the projections add a bias; true by default.
            #[must_use]
            pub fn use_bias(mut self, use_bias: bool) -> Self {
                self.use_bias = use_bias;
                self
            }

            fn projections(&self) -> ProjectionOptions<'_> {
                ProjectionOptions {
                    use_bias: self.use_bias,
                    use_gate: self.use_gate,
                    kernel_initializer: &self.kernel_initializer,
                    bias_initializer: &self.bias_initializer,
                    kernel_regularizer: self.kernel_regularizer.as_ref(),
                    bias_regularizer: self.bias_regularizer.as_ref(),
                    kernel_constraint: self.kernel_constraint.as_ref(),
                    bias_constraint: self.bias_constraint.as_ref(),
                }
            }

            fn mask_options(&self) -> MaskOptions<'_> {
                MaskOptions {
                    causal: self.use_causal_mask,
                    window: self.sliding_window,
                    constant: self.attention_mask.as_ref(),
                }
            }
        }
    };
}
pub(super) use multi_head_options;

/// The options that all projections of a layer share.
pub(super) struct ProjectionOptions<'a> {
    pub(super) use_bias: bool,
    /// Whether a projection of the query multiplies the heads.
    pub(super) use_gate: bool,
    pub(super) kernel_initializer: &'a Initializer,
    pub(super) bias_initializer: &'a Initializer,
    pub(super) kernel_regularizer: Option<&'a Regularizer>,
    pub(super) bias_regularizer: Option<&'a Regularizer>,
    pub(super) kernel_constraint: Option<&'a Constraint>,
    pub(super) bias_constraint: Option<&'a Constraint>,
}

/// The number of heads and the features of each, as which a layer projects its inputs.
pub(super) struct HeadShapes {
    pub(super) query: [usize; 2],
    pub(super) key: [usize; 2],
    pub(super) value: [usize; 2],
    /// What is projected back: the weighted sums of the values.
    pub(super) attended: [usize; 2],
}

impl ProjectionOptions<'_> {
    /// The weights of all projections. `inputs` are the shapes of query, value and key, `output` the sizes of the result's features.
    pub(super) fn specs(&self, inputs: [&Shape; 3], heads: &HeadShapes, output: &[usize]) -> Vec<WeightSpec> {
        let [query, value, key] = inputs.map(|shape| [shape.last().copied().unwrap_or(0)]);
        let mut specs = self.projection(QUERY, &query, &heads.query);
        specs.extend(self.projection(KEY, &key, &heads.key));
        if self.use_gate {
            specs.extend(self.projection(GATE, &query, &heads.attended));
        }
        specs.extend(self.projection(VALUE, &value, &heads.value));
        specs.extend(self.projection(OUTPUT, &heads.attended, output));
        specs
    }

    /// The path of weight `index` in a file: Keras' attribute that holds the projection, and the number of the weight in it.
    pub(super) fn weight_path(&self, [query, key, value, output]: [&str; 4], index: usize) -> String {
        let weights = 1 + usize::from(self.use_bias);
        let gate = self.use_gate.then_some("_gate_dense");
        let mut attributes = [query, key].into_iter().chain(gate).chain([value, output]);
        let attribute = attributes.nth(index / weights).unwrap_or_default();
        format!("{attribute}/vars/{}", index % weights)
    }

    /// The weights of a projection from axes of sizes `inputs` to axes of sizes `outputs`.
    fn projection(&self, [kernel, bias]: Names, inputs: &[usize], outputs: &[usize]) -> Vec<WeightSpec> {
        let shape = [inputs, outputs].concat();
        // Saturation only matters for sizes that the check of the shape refuses.
        let size = |axes: &[usize]| axes.iter().fold(1, |size: usize, &axis| size.saturating_mul(axis));
        let kernel = WeightSpec {
            name: kernel.into(),
            initializer: self.kernel_initializer.with_fans(&shape, size(inputs), size(outputs)),
            shape,
            trainable: true,
            regularizer: self.kernel_regularizer.cloned(),
            constraint: self.kernel_constraint.cloned(),
        };
        let bias = self.use_bias.then(|| WeightSpec {
            name: bias.into(),
            shape: outputs.to_vec(),
            initializer: self.bias_initializer.clone(),
            trainable: true,
            regularizer: self.bias_regularizer.cloned(),
            constraint: self.bias_constraint.cloned(),
        });
        std::iter::once(kernel).chain(bias).collect()
    }

    /// The projections in the order of their weights, to be lowered.
    pub(super) fn in_order(&self) -> Projections {
        Projections { next: 0, weights: 1 + usize::from(self.use_bias) }
    }
}

/// Lowers projections: each takes the next weights of the layer.
pub(super) struct Projections {
    next: usize,
    weights: usize,
}

impl Projections {
    /// Claims the weights of the next projection.
    pub(super) fn next(&mut self) -> Projection {
        let first = self.next;
        self.next += self.weights;
        Projection { first, weights: self.weights }
    }
}

/// A projection: the position of its weights among those of the layer.
#[derive(Clone, Copy)]
pub(super) struct Projection {
    first: usize,
    weights: usize,
}

impl Projection {
    /// The product of `x`, along its last axis, and the kernel, plus the bias.
    pub(super) fn lower(self, to: &mut Lowering<'_>, x: ValueId, units: usize) -> ValueId {
        let mut shape: Shape = to.shape(x).clone();
        if let Some(last) = shape.last_mut() {
            *last = units;
        }
        to.push_with(Op::Dense, &[x], shape, self.first..self.first + self.weights)
    }
}
