//! Fixed scales and offsets.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::weight::{Weight, WeightSpec};
use crate::{Error, ErrorKind, Initializer, Result};

/// One number, or one for each channel.
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
    /// The same everywhere.
    One(f32),
    /// One a channel.
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

impl PerChannel {
    fn values(&self, channels: usize, place: &str) -> Result<Vec<f32>> {
        match self {
            Self::One(value) => Ok(vec![*value; channels]),
            Self::Each(values) if values.len() == channels => Ok(values.clone()),
            Self::Each(values) if values.len() == 1 => Ok(vec![values[0]; channels]),
            Self::Each(values) => Err(Error::new(place, format_args!("1 or {channels} numbers"), values.len())),
        }
    }
}

/// `x * scale + offset` (Keras' `Rescaling`).
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
    scale: PerChannel,
    #[serde(default = "zero")]
    offset: PerChannel,
}

fn zero() -> PerChannel {
    PerChannel::One(0.0)
}

impl Rescaling {
    /// Multiplies by one number, or by `[..]` one a channel.
    pub fn new(scale: impl Into<PerChannel>) -> Self {
        Self { scale: scale.into(), offset: zero() }
    }

    /// Added afterwards; 0 by default.
    #[must_use]
    pub fn offset(mut self, offset: impl Into<PerChannel>) -> Self {
        self.offset = offset.into();
        self
    }

    fn factors(&self, shape: &Shape) -> Result<(Vec<f32>, Vec<f32>)> {
        let channels = shape.last().copied().unwrap_or(1);
        Ok((self.scale.values(channels, "scale")?, self.offset.values(channels, "offset")?))
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
        self.factors(shape)?;
        Ok(shape.clone())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let (scale, shift) = self.factors(&shape)?;
        Ok(to.push(Op::ScaleShift { scale, shift }, inputs, shape))
    }
}

/// `(x - mean) / sqrt(variance)` a channel (Keras' `Normalization`).
///
/// The statistics are given, or, in a model that Keras adapted to its data, weights that training never changes.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([4, 4, 3]);
/// let y = Normalization::new([123.7, 116.3, 103.5], [3411.0, 3260.0, 3292.0]).call(&x)?;
/// assert_eq!(y.shape(), x.shape());
/// assert_eq!(y.layer().count_params(), 0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    axis: Option<Vec<i64>>,
    #[serde(default)]
    invert: bool,
    mean: Option<Nested>,
    variance: Option<Nested>,
}

/// Numbers in lists within lists: Keras writes statistics in the shape they were given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "numbers")]
enum Nested {
    Number(f32),
    List(Vec<Nested>),
}

impl Nested {
    fn numbers(&self) -> Vec<f32> {
        match self {
            Self::Number(number) => vec![*number],
            Self::List(list) => list.iter().flat_map(Self::numbers).collect(),
        }
    }
}

/// Keras' guard against a variance of zero: the divisor is at least this.
const EPSILON: f32 = 1e-7;

impl Normalization {
    /// With one mean and variance a channel.
    pub fn new<const N: usize>(mean: [f32; N], variance: [f32; N]) -> Self {
        let list = |values: [f32; N]| Some(Nested::List(values.map(Nested::Number).to_vec()));
        Self { axis: Some(vec![-1]), invert: false, mean: list(mean), variance: list(variance) }
    }

    /// `x * sqrt(variance) + mean` instead.
    #[must_use]
    pub fn invert(mut self, invert: bool) -> Self {
        self.invert = invert;
        self
    }

    /// Whether the statistics are weights, computed by Keras' `adapt`.
    fn is_adapted(&self) -> bool {
        self.mean.is_none() && self.variance.is_none()
    }

    fn check_axis(&self, shape: &Shape) -> Result<()> {
        let last = shape.len() as i64;
        match self.axis.as_deref() {
            None | Some([-1] | []) => Ok(()),
            Some([axis]) if *axis == last => Ok(()),
            Some(axis) => Err(Error::new("axis", "the last axis (-1) or none", format_args!("{axis:?}"))
                .with_kind(ErrorKind::Unsupported)),
        }
    }

    /// How many means there are: one a channel, or one in all.
    fn statistics(&self, shape: &Shape) -> usize {
        match self.axis.as_deref() {
            None | Some([]) => 1,
            Some(_) => shape.last().copied().unwrap_or(1),
        }
    }

    fn given(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let (Some(mean), Some(variance)) = (&self.mean, &self.variance) else {
            return Err(Error::new("mean and variance", "both or neither", "one of them"));
        };
        let mean = PerChannel::Each(mean.numbers()).values(channels, "mean")?;
        Ok((mean, PerChannel::Each(variance.numbers()).values(channels, "variance")?))
    }

    /// Scale and shift that do the same as subtracting the mean and dividing by the deviation.
    fn factors(&self, mean: Vec<f32>, variance: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let deviation: Vec<f32> = variance.iter().map(|variance| variance.sqrt().max(EPSILON)).collect();
        if self.invert {
            return (deviation, mean);
        }
        let scale: Vec<f32> = deviation.iter().map(|deviation| 1.0 / deviation).collect();
        let shift = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
        (scale, shift)
    }
}

impl LayerDef for Normalization {
    fn class_name(&self) -> &'static str {
        "Normalization"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.check_axis(shape)?;
        if !self.is_adapted() {
            self.given(shape.last().copied().unwrap_or(1))?;
        }
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        if !self.is_adapted() {
            return Ok(Vec::new());
        }
        let shape = match self.statistics(single(inputs)?) {
            1 if self.axis.as_ref().is_none_or(Vec::is_empty) => Vec::new(),
            channels => vec![channels],
        };
        let spec =
            |name, shape, initializer| WeightSpec { name, shape, initializer, trainable: false, regularizer: None };
        Ok(vec![
            spec("mean", shape.clone(), Initializer::zeros()),
            spec("variance", shape, Initializer::ones()),
            spec("count", Vec::new(), Initializer::zeros()),
        ])
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let channels = shape.last().copied().unwrap_or(1);
        let (mean, variance) = match to.own_weights() {
            [mean, variance, _count] => {
                let each = |weight: &Weight, name| PerChannel::Each(weight.values().clone()).values(channels, name);
                (each(mean, "mean")?, each(variance, "variance")?)
            }
            _ => self.given(channels)?,
        };
        let (scale, shift) = self.factors(mean, &variance);
        Ok(to.push(Op::ScaleShift { scale, shift }, inputs, shape))
    }
}
