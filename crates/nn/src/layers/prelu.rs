//! `PReLU`: a rectifier with trained slopes below zero.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Axes, Constraint, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// The parametric rectifier: `x`, or `alpha * x` below zero, with a trained `alpha` (Keras' `PReLU`).
///
/// Source: He et al. 2015, arXiv:1502.01852.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([8, 8, 16]);
/// assert_eq!(PReLU::new().call(&x)?.layer().count_params(), 8 * 8 * 16);
/// // One slope for each channel.
/// assert_eq!(PReLU::new().shared_axes([1, 2]).call(&x)?.layer().weights()[0].shape(), [1, 1, 16]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PReLU {
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    alpha_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    alpha_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    alpha_constraint: Option<Constraint>,
    #[serde(default)]
    shared_axes: Option<Axes>,
}

impl Default for PReLU {
    fn default() -> Self {
        Self::new()
    }
}

impl PReLU {
    /// A layer with a slope for each value of a sample, all 0 at first.
    pub fn new() -> Self {
        Self {
            alpha_initializer: Initializer::zeros(),
            alpha_regularizer: None,
            alpha_constraint: None,
            shared_axes: None,
        }
    }

    /// Sets the initializer of the slopes; zeros by default.
    #[must_use]
    pub fn alpha_initializer(mut self, initializer: Initializer) -> Self {
        self.alpha_initializer = initializer;
        self
    }

    /// Sets the axes along which values share a slope; 1 is the first after the batch. None by default.
    #[must_use]
    pub fn shared_axes(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.shared_axes = Some(Axes::Several(axes.into()));
        self
    }

    /// The shape of the slopes.
    fn alpha_shape(&self, sample: &Shape) -> Result<Shape> {
        let mut shape = sample.clone();
        let axes = match &self.shared_axes {
            None => &[][..],
            Some(Axes::One(axis)) => std::slice::from_ref(axis),
            Some(Axes::Several(axes)) => axes,
        };
        for &axis in axes {
            // Keras indexes a list that lacks the batch axis by `axis - 1`, so negative numbers count from one further left.
            let index = axis - 1;
            let index = if index < 0 { index.checked_add(sample.len() as i64) } else { Some(index) };
            let index = index.and_then(|index| usize::try_from(index).ok());
            let size = index.and_then(|index| shape.get_mut(index));
            *size.ok_or_else(|| Error::new("shared_axes", format_args!("1 to {}", sample.len()), axis))? = 1;
        }
        Ok(shape)
    }
}

impl LayerDef for PReLU {
    fn class_name(&self) -> &'static str {
        "PReLU"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.alpha_shape(shape)?;
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec {
            name: "alpha".into(),
            shape: self.alpha_shape(single(inputs)?)?,
            initializer: self.alpha_initializer.clone(),
            trainable: true,
            regularizer: self.alpha_regularizer.clone(),
            constraint: self.alpha_constraint.clone(),
        }])
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Scale { below_zero: true }, inputs, shape))
    }
}
