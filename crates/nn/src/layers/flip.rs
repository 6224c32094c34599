//! `Flip`: an axis in reverse order.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::sample_axis;
use super::options::{config_of, single};
use crate::Result;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;

/// Reverses an axis, for example the channels from RGB to BGR (`keras.ops.flip` on a symbolic tensor).
///
/// Networks trained with Caffe, such as VGG16, expect BGR. Keras saves operations with a model, so a model that begins with
/// `Flip` takes RGB pixels in Keras, too.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::Flip;
/// assert_eq!(Flip::channels().call(&Input::new([4, 4, 3]))?.shape(), &[4, 4, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    axis: i64,
}

impl Flip {
    /// An operation that reverses the last axis, the channels of an image.
    pub fn channels() -> Self {
        Self { axis: -1 }
    }
}

impl LayerDef for Flip {
    fn class_name(&self) -> &'static str {
        "Flip"
    }

    fn module(&self) -> &'static str {
        "keras.src.ops.numpy"
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
        let axis = sample_axis(self.axis, shape.len())?;
        if axis == shape.len() - 1 {
            return Ok(to.push(Op::ReverseChannels, inputs, shape));
        }
        let (mut start, mut step) = (vec![0; shape.len()], vec![1; shape.len()]);
        (start[axis], step[axis]) = (shape[axis] - 1, -1);
        Ok(to.push(Op::Slice { start, step }, inputs, shape))
    }
}
