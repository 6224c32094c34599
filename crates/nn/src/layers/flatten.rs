//! `Flatten`: all axes of a sample as one.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Reshapes `[h, w, c]` to `[h * w * c]` in row-major order (Keras' `Flatten`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Flatten::new().call(&Input::new([8, 8, 512]))?.shape(), &[32768]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {
    #[serde(default)]
    data_format: DataFormat,
}

impl Flatten {
    /// The layer; it has no options.
    pub fn new() -> Self {
        Self::default()
    }
}

impl LayerDef for Flatten {
    fn class_name(&self) -> &'static str {
        "Flatten"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        shape
            .iter()
            .try_fold(1usize, |size, &axis| size.checked_mul(axis))
            .map(|size| vec![size])
            .ok_or_else(|| Error::new("input", "a size that doesn't overflow", format_args!("{shape:?}")))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let flat = vec![shape.iter().product()];
        if self.data_format == DataFormat::ChannelsLast || shape.len() < 2 {
            return Ok(to.push(Op::Reshape, inputs, flat));
        }
        // Keras moves the channels to the end, so that Dense weights are the same in both formats.
        let axes: Vec<usize> = (1..shape.len()).chain([0]).collect();
        let moved = axes.iter().map(|&axis| shape[axis]).collect();
        let x = to.push(Op::Permute { axes }, inputs, moved);
        Ok(to.push(Op::Reshape, &[x], flat))
    }
}
