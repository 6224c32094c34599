//! `Softmax`: softmax as a layer.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::{axis_option, last_axis, sample_axis};
use super::options::{config_of, single};
use crate::Result;
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer::LayerDef;
use crate::lowering::Lowering;

/// The softmax along an axis: `e^x` divided by the sum of `e^x` (Keras' `Softmax`).
///
/// ```
/// use engraft_nn::layers::{Input, Softmax};
/// use engraft_nn::prelude::LayerDefExt;
/// assert_eq!(Softmax::new().call(&Input::new([10]))?.shape(), &[10]);
/// // Along the first axis after the batch.
/// assert_eq!(Softmax::new().axis(1).call(&Input::new([10, 4]))?.shape(), &[10, 4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    #[serde(default = "last_axis")]
    axis: i64,
}

axis_option!(Softmax);

impl LayerDef for Softmax {
    fn class_name(&self) -> &'static str {
        "Softmax"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        sample_axis(self.axis, shape.len())?;
        Ok(shape.clone())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let (axis, last) = (sample_axis(self.axis, shape.len())?, shape.len() - 1);
        if axis == last {
            return Ok(to.activate(ActivationFn::Softmax, inputs[0]));
        }
        // `Op::Softmax` works along the last axis: swap the axis with the last one, and back.
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        axes.swap(axis, last);
        let swapped: Shape = axes.iter().map(|&axis| shape[axis]).collect();
        let x = to.push(Op::Permute { axes: axes.clone() }, inputs, swapped);
        let y = to.activate(ActivationFn::Softmax, x);
        Ok(to.push(Op::Permute { axes }, &[y], shape))
    }
}
