//! The kernels and biases of the Dense layers inside a multi-head attention.

use engraft_ir::{Op, ValueId};

use crate::Shape;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Initializer, Regularizer};

/// The names of a projection's kernel and bias: the name of Keras' inner layer, and that of the weight.
pub(super) type Names = [&'static str; 2];

pub(super) const QUERY: Names = ["query/kernel", "query/bias"];
pub(super) const KEY: Names = ["key/kernel", "key/bias"];
pub(super) const GATE: Names = ["gate/kernel", "gate/bias"];
pub(super) const VALUE: Names = ["value/kernel", "value/bias"];
pub(super) const OUTPUT: Names = ["attention_output/kernel", "attention_output/bias"];

/// The options that all projections of a layer share.
pub(super) struct ProjectionOptions<'a> {
    pub(super) use_bias: bool,
    pub(super) kernel_initializer: &'a Initializer,
    pub(super) bias_initializer: &'a Initializer,
    pub(super) kernel_regularizer: Option<&'a Regularizer>,
    pub(super) bias_regularizer: Option<&'a Regularizer>,
    pub(super) kernel_constraint: Option<&'a Constraint>,
    pub(super) bias_constraint: Option<&'a Constraint>,
}

impl ProjectionOptions<'_> {
    /// The weights of a projection from axes of sizes `inputs` to axes of sizes `outputs`.
    pub(super) fn specs(&self, [kernel, bias]: Names, inputs: &[usize], outputs: &[usize]) -> Vec<WeightSpec> {
        let shape = [inputs, outputs].concat();
        // Saturation only matters for sizes that the check of the shape refuses.
        let size = |axes: &[usize]| axes.iter().fold(1, |size: usize, &axis| size.saturating_mul(axis));
        let kernel = WeightSpec {
            name: kernel,
            initializer: self.kernel_initializer.with_fans(&shape, size(inputs), size(outputs)),
            shape,
            trainable: true,
            regularizer: self.kernel_regularizer.cloned(),
            constraint: self.kernel_constraint.cloned(),
        };
        let bias = self.use_bias.then(|| WeightSpec {
            name: bias,
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
