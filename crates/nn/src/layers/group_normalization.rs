//! `GroupNormalization`: normalization of groups of channels in each sample.

use engraft_ir::{Normalization, NormalizationKind, Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::{last_axis, sample_axis};
use super::normalization_options::{not_empty, scale_and_center_options, with_axes_in_order};
use super::options::{config_of, single, yes};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, DType, Error, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Normalizes groups of channels of each sample to mean 0 and variance 1, then scales and shifts each channel (Keras'
/// `GroupNormalization`).
///
/// Mean and variance are taken over the channels of a group and all other axes. It works the same in training and prediction.
/// Source: Wu and He 2018, arXiv:1803.08494.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = GroupNormalization::new(4).call(&Input::new([8, 8, 16]))?;
/// assert_eq!((y.shape(), y.layer().count_params()), (&vec![8, 8, 16], 2 * 16));
/// assert!(GroupNormalization::new(5).call(&y).is_err(), "16 channels have no 5 groups");
///
/// // A group for each channel: instance normalization (Ulyanov et al. 2016, arXiv:1607.08022).
/// let y = GroupNormalization::instances().axis(1).epsilon(1e-5).scale(false).call(&y)?;
/// assert_eq!(y.layer().weights()[0].shape(), [8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNormalization {
    #[serde(default = "groups")]
    groups: i64,
    #[serde(default = "last_axis")]
    axis: i64,
    #[serde(default = "epsilon")]
    epsilon: f32,
    #[serde(default = "yes")]
    center: bool,
    #[serde(default = "yes")]
    scale: bool,
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

/// Keras' default.
fn groups() -> i64 {
    32
}

fn epsilon() -> f32 {
    0.001
}

impl GroupNormalization {
    /// A layer with this number of groups of channels, along the last axis, with epsilon 0.001.
    pub fn new(groups: usize) -> Self {
        Self { groups: i64::try_from(groups).unwrap_or(i64::MAX), ..Self::instances() }
    }

    /// A layer with a group for each channel (instance normalization).
    pub fn instances() -> Self {
        Self {
            groups: -1,
            axis: last_axis(),
            epsilon: epsilon(),
            center: true,
            scale: true,
            beta_initializer: Initializer::zeros(),
            gamma_initializer: Initializer::ones(),
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
        }
    }

    /// Sets the axis of the channels: 1 is the first after the batch, -1 is the last (default).
    #[must_use]
    pub fn axis(mut self, axis: i64) -> Self {
        self.axis = axis;
        self
    }

    /// The axis of a sample's channels, and the number of groups.
    fn channels_and_groups(&self, shape: &Shape) -> Result<(usize, usize)> {
        let axis = sample_axis(self.axis, shape.len())?;
        not_empty(shape)?;
        let channels = shape[axis];
        let groups = if self.groups == -1 { Some(channels) } else { usize::try_from(self.groups).ok() };
        let groups = groups.filter(|&groups| groups > 0 && channels.is_multiple_of(groups));
        let expected = format_args!("a divisor of the {channels} channels, or -1 for a group for each");
        Ok((axis, groups.ok_or_else(|| Error::new("groups", expected, self.groups))?))
    }
}

scale_and_center_options!(GroupNormalization);

impl LayerDef for GroupNormalization {
    fn class_name(&self) -> &'static str {
        "GroupNormalization"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.channels_and_groups(shape)?;
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let shape = single(inputs)?;
        let (axis, _) = self.channels_and_groups(shape)?;
        Ok(self.gamma_and_beta(self.scale, self.center, vec![shape[axis]]))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        DType::of_normalization(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let (axis, groups) = self.channels_and_groups(&shape)?;
        let channels = shape[axis];
        let op = Op::Normalize(Normalization {
            kind: NormalizationKind::Standard,
            epsilon: self.epsilon,
            rows: shape.iter().product::<usize>() / channels,
            groups,
            width: channels / groups,
            scale: self.scale,
            center: self.center,
        });
        let order: Vec<usize> = (0..shape.len()).filter(|&other| other != axis).chain([axis]).collect();
        Ok(with_axes_in_order(to, inputs[0], &order, |to, input, shape| to.push(op, &[input], shape)))
    }
}
