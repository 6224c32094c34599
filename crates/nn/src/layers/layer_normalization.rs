//! `LayerNormalization`: normalization of each sample along some of its axes.

use engraft_ir::{NormalizationKind, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::normalization_options::{normalize_over, normalized_axes, scale_and_center_options, weight_shape};
use super::options::{config_of, single, yes};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Axes, Constraint, DType, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Normalizes each position of a sample to mean 0 and variance 1 along `axis`, then scales and shifts it (Keras'
/// `LayerNormalization`).
///
/// It works the same in training and prediction. Source: Ba et al. 2016, arXiv:1607.06450.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = LayerNormalization::new().epsilon(1e-6).call(&Input::new([8, 8, 16]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![8, 8, 16], 2 * 16));
///
/// // Over whole samples, with one factor for each value and no offset.
/// let y = LayerNormalization::new().axis([1, 2, 3]).center(false).call(&y)?;
/// assert_eq!(y.layer().weights()[0].shape(), [8, 8, 16]);
/// assert!(LayerNormalization::new().scale(false).axis([4]).call(&y).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNormalization {
    #[serde(default = "last")]
    axis: Axes,
    #[serde(default = "epsilon")]
    epsilon: f32,
    #[serde(default = "yes")]
    center: bool,
    #[serde(default = "yes")]
    scale: bool,
    /// A deprecated option: division by the standard deviation without subtracting the mean.
    #[serde(default)]
    rms_scaling: bool,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    beta_initializer: Initializer,
    #[serde(default = "Initializer::ones", with = "initializer::object")]
    gamma_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    beta_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    gamma_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    beta_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    gamma_constraint: Option<Constraint>,
}

/// The last axis, as Keras writes it.
fn last() -> Axes {
    Axes::Several(vec![-1])
}

fn epsilon() -> f32 {
    0.001
}

impl Default for LayerNormalization {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerNormalization {
    /// A layer for the last axis, with epsilon 0.001.
    pub fn new() -> Self {
        Self {
            axis: last(),
            epsilon: epsilon(),
            center: true,
            scale: true,
            rms_scaling: false,
            beta_initializer: Initializer::zeros(),
            gamma_initializer: Initializer::ones(),
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
        }
    }

    /// Sets the axes that mean and variance are taken over: 1 is the first after the batch, -1 is the last (default).
    #[must_use]
    pub fn axis(mut self, axes: impl Into<Vec<i64>>) -> Self {
        self.axis = Axes::Several(axes.into());
        self
    }

    /// Whether the layer has gamma and beta.
    fn scale_and_center(&self) -> (bool, bool) {
        (self.scale || self.rms_scaling, self.center && !self.rms_scaling)
    }
}

scale_and_center_options!(LayerNormalization);

impl LayerDef for LayerNormalization {
    fn class_name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        normalized_axes(&self.axis, shape)?;
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let (scale, center) = self.scale_and_center();
        Ok(self.gamma_and_beta(scale, center, weight_shape(&self.axis, single(inputs)?)?))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        DType::of_normalization(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let axes = normalized_axes(&self.axis, to.shape(inputs[0]))?;
        let kind = if self.rms_scaling { NormalizationKind::Variance } else { NormalizationKind::Standard };
        let (scale, center) = self.scale_and_center();
        Ok(normalize_over(to, inputs[0], &axes, kind, (self.epsilon, scale, center)))
    }
}
