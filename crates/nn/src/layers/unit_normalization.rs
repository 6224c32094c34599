//! `UnitNormalization`: division of each sample by its Euclidean norm along some of its axes.

use engraft_ir::{NormalizationKind, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::normalization_options::{normalize_over, normalized_axes};
use super::options::{config_of, single};
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Axes, Result, Shape};

/// Divides each position of a sample by its Euclidean (L2) norm along `axis`, so that the norm becomes 1 (Keras'
/// `UnitNormalization`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = UnitNormalization::new().call(&Input::new([8, 16]))?;
/// assert_eq!(y.shape(), &[8, 16]);
/// // The norm of all values of a sample.
/// assert_eq!(UnitNormalization::new().axis([1, 2]).call(&y)?.shape(), &[8, 16]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitNormalization {
    #[serde(default = "last")]
    axis: Axes,
}

/// The last axis, as Keras writes it.
fn last() -> Axes {
    Axes::One(-1)
}

impl Default for UnitNormalization {
    fn default() -> Self {
        Self::new()
    }
}

impl UnitNormalization {
    /// A layer for the last axis.
    pub fn new() -> Self {
        Self { axis: last() }
    }

    /// Sets the axes that the norm is taken over: 1 is the first after the batch, -1 is the last (default).
    #[must_use]
    pub fn axis(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.axis = Axes::Several(axes.into());
        self
    }
}

impl LayerDef for UnitNormalization {
    fn class_name(&self) -> &'static str {
        "UnitNormalization"
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
        let axes = normalized_axes(&self.axis, to.shape(inputs[0]))?;
        // Keras' own epsilon, which isn't an option.
        Ok(normalize_over(to, inputs[0], &axes, NormalizationKind::Norm, (1e-12, false, false)))
    }
}
