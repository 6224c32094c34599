//! `Activation`: an activation function as a layer.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Result};

/// An activation function as a layer of its own (Keras' `Activation`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Activation::new(Relu).call(&Input::new([10]))?.shape(), &[10]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    activation: ActivationFn,
}

impl Activation {
    /// A layer that applies `activation`.
    pub fn new(activation: ActivationFn) -> Self {
        Self { activation }
    }
}

impl LayerDef for Activation {
    fn class_name(&self) -> &'static str {
        "Activation"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        let keeps = [engraft_ir::Activation::Linear, engraft_ir::Activation::Relu, engraft_ir::Activation::Relu6];
        Ok(if self.activation.elementwise().is_some_and(|f| keeps.contains(&f)) {
            DType::common(inputs)
        } else {
            DType::Float
        })
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(to.activate(self.activation, inputs[0]))
    }
}
