//! `Rescaling`: a scale and an offset.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::constant_array::{ConstantArray, push_scale_shift};
use super::options::{config_of, single};
use crate::Result;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;

/// One number for all channels, or one number per channel.
///
/// ```
/// use engraft_nn::{LayerDef, layers::Rescaling};
/// let config = Rescaling::new(0.5).offset([-1.0, 0.0, 1.0]).config();
/// assert_eq!(config["scale"], 0.5);
/// assert_eq!(config["offset"], serde_json::json!([-1.0, 0.0, 1.0]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or a list of numbers")]
pub enum PerChannel {
    /// The same for all channels.
    One(f32),
    /// One number per channel.
    Each(Vec<f32>),
}

impl From<f32> for PerChannel {
    fn from(value: f32) -> Self {
        Self::One(value)
    }
}

impl<const N: usize> From<[f32; N]> for PerChannel {
    fn from(values: [f32; N]) -> Self {
        Self::Each(values.to_vec())
    }
}

/// Scales and shifts its input: `x * scale + offset` (Keras' `Rescaling`).
///
/// Arrays of a file may have any shape that is broadcast to the samples.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([4, 4, 3]);
/// let unit = Rescaling::new(1.0 / 255.0).call(&x)?;
/// let centered = Rescaling::new(1.0).offset([-103.939, -116.779, -123.68]).call(&x)?;
/// assert_eq!((unit.shape(), centered.shape()), (x.shape(), x.shape()));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rescaling {
    scale: ConstantArray,
    #[serde(default = "zero")]
    offset: ConstantArray,
}

fn zero() -> ConstantArray {
    PerChannel::One(0.0).into()
}

impl Rescaling {
    /// A layer that multiplies by one number, or by an array with one number per channel.
    pub fn new(scale: impl Into<PerChannel>) -> Self {
        Self { scale: scale.into().into(), offset: zero() }
    }

    /// Sets the offset, which is added after scaling; 0 by default.
    #[must_use]
    pub fn offset(mut self, offset: impl Into<PerChannel>) -> Self {
        self.offset = offset.into().into();
        self
    }
}

impl LayerDef for Rescaling {
    fn class_name(&self) -> &'static str {
        "Rescaling"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.scale.check(shape, "scale")?;
        self.offset.check(shape, "offset")?;
        Ok(shape.clone())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        push_scale_shift(to, inputs[0], &self.scale, &self.offset)
    }
}
