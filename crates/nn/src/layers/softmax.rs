//! `Softmax`: softmax as a layer.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::normalization_options::{normalized_axes, with_axes_in_order};
use super::options::{config_of, single};
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Axes, Result, Shape};

/// The softmax along an axis, or over several: `e^x` divided by the sum of `e^x` (Keras' `Softmax`).
///
/// ```
/// use engraft_nn::layers::{Input, Softmax};
/// use engraft_nn::prelude::LayerDefExt;
/// assert_eq!(Softmax::new().call(&Input::new([10]))?.shape(), &[10]);
/// // Along the first axis after the batch.
/// assert_eq!(Softmax::new().axis(1).call(&Input::new([10, 4]))?.shape(), &[10, 4]);
/// // Over whole images of one channel each.
/// assert_eq!(Softmax::new().axes([1, 2]).call(&Input::new([8, 8, 3]))?.shape(), &[8, 8, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    #[serde(default = "last")]
    axis: Axes,
}

/// Keras' default.
fn last() -> Axes {
    Axes::One(-1)
}

impl Default for Softmax {
    fn default() -> Self {
        Self::new()
    }
}

impl Softmax {
    /// A layer that works along the last axis.
    pub fn new() -> Self {
        Self { axis: last() }
    }

    /// Sets the axis: 1 is the first after the batch, -1 is the last (default).
    #[must_use]
    pub fn axis(mut self, axis: i64) -> Self {
        self.axis = Axes::One(axis);
        self
    }

    /// Sets several axes, over which the values add up to 1 together.
    #[must_use]
    pub fn axes(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.axis = Axes::Several(axes.into());
        self
    }
}

impl LayerDef for Softmax {
    fn class_name(&self) -> &'static str {
        "Softmax"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        normalized_axes(&self.axis, shape)?;
        Ok(shape.clone())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let axes = normalized_axes(&self.axis, &shape)?;
        let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
        let order: Vec<usize> = others.chain(axes.iter().copied()).collect();
        Ok(with_axes_in_order(to, inputs[0], &order, |to, x, shape| {
            if let [_] = axes[..] {
                return to.activate(ActivationFn::Softmax, x);
            }
            // `Op::Softmax` works along the last axis: it sees all axes of the sum as one.
            let (outer, row) = shape.split_at(shape.len() - axes.len());
            let rows = [outer, &[row.iter().product()]].concat();
            let x = to.push_with(Op::Reshape, &[x], rows, 0..0);
            let y = to.activate(ActivationFn::Softmax, x);
            to.push_with(Op::Reshape, &[y], shape, 0..0)
        }))
    }
}
