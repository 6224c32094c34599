//! `RMSNormalization`: division of each sample by its root mean square along some of its axes.

use engraft_ir::{NormalizationKind, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::normalization_options::{normalize_over, normalized_axes, weight_shape};
use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Axes, DType, Error, Initializer, Result};

/// Divides each position of a sample by its root mean square along the last axes, then scales it (Keras' `RMSNormalization`).
///
/// Source: Zhang and Sennrich 2019, arXiv:1910.07467.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = RMSNormalization::new().call(&Input::new([8, 16]))?;
/// assert_eq!((y.layer().weights()[0].name(), y.layer().count_params()), ("scale", 16));
/// assert!(RMSNormalization::new().axis([1]).call(&y).is_err(), "Keras broadcasts the scale along the last axis");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RMSNormalization {
    #[serde(default = "last")]
    axis: Axes,
    #[serde(default = "epsilon")]
    epsilon: f32,
}

/// The last axis, as Keras writes it.
fn last() -> Axes {
    Axes::Several(vec![-1])
}

fn epsilon() -> f32 {
    1e-6
}

impl Default for RMSNormalization {
    fn default() -> Self {
        Self::new()
    }
}

impl RMSNormalization {
    /// A layer for the last axis, with epsilon 1e-6.
    pub fn new() -> Self {
        Self { axis: last(), epsilon: epsilon() }
    }

    /// Sets the axes that the mean is taken over, which must be the last ones; -1 by default.
    #[must_use]
    pub fn axis(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.axis = Axes::Several(axes.into());
        self
    }

    /// Sets the constant that is added to the mean square before its square root; 1e-6 by default.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.epsilon = epsilon;
        self
    }

    fn axes(&self, shape: &Shape) -> Result<Vec<usize>> {
        let axes = normalized_axes(&self.axis, shape)?;
        let are_last = axes.iter().rev().zip((0..shape.len()).rev()).all(|(axis, last)| *axis == last);
        match are_last {
            true => Ok(axes),
            false => Err(Error::new("axis", "the last axes of a sample", format_args!("{:?}", self.axis))
                .hint("Keras can't broadcast the scale of other axes either")),
        }
    }
}

impl LayerDef for RMSNormalization {
    fn class_name(&self) -> &'static str {
        "RMSNormalization"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.axes(shape)?;
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec {
            name: "scale".into(),
            shape: weight_shape(&self.axis, single(inputs)?)?,
            initializer: Initializer::ones(),
            trainable: true,
            regularizer: None,
            constraint: None,
        }])
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        DType::of_normalization(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let axes = self.axes(to.shape(inputs[0]))?;
        let options = (self.epsilon, true, false);
        Ok(normalize_over(to, inputs[0], &axes, NormalizationKind::RootMeanSquare, options))
    }
}
