//! `Rescaling` and `Normalization`: scales and offsets that training doesn't change.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::weight::{Weight, WeightSpec};
use crate::{Error, ErrorKind, Initializer, Result};

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

impl PerChannel {
    /// One value for each of `channels` channels. A single value serves all channels; other numbers are errors at `place`.
    fn values(&self, channels: usize, place: &str) -> Result<Vec<f32>> {
        match self {
            Self::One(value) => Ok(vec![*value; channels]),
            Self::Each(values) if values.len() == channels => Ok(values.clone()),
            Self::Each(values) if values.len() == 1 => Ok(vec![values[0]; channels]),
            Self::Each(values) => Err(Error::new(place, format_args!("1 or {channels} numbers"), values.len())),
        }
    }
}

/// Scales and shifts its input: `x * scale + offset` (Keras' `Rescaling`).
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
    /// A layer that multiplies by one number, or by an array with one number per channel.
    pub fn new(scale: impl Into<PerChannel>) -> Self {
        Self { scale: scale.into(), offset: zero() }
    }

    /// Sets the offset, which is added after scaling; 0 by default.
    #[must_use]
    pub fn offset(mut self, offset: impl Into<PerChannel>) -> Self {
        self.offset = offset.into();
        self
    }

    /// Scale and offset of each channel.
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

/// Normalizes each channel: `(x - mean) / sqrt(variance)` (Keras' `Normalization`).
///
/// Mean and variance are options of the layer, or non-trainable weights that Keras' `adapt` sets: see [`adapted`](Self::adapted).
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([4, 4, 3]);
/// let y = Normalization::new([123.7, 116.3, 103.5], [3411.0, 3260.0, 3292.0]).call(&x)?;
/// assert_eq!(y.shape(), x.shape());
/// assert_eq!(y.layer().count_params(), 0);
/// // Back to pixels.
/// let pixels = Normalization::new([123.7, 116.3, 103.5], [3411.0, 3260.0, 3292.0]).invert(true).call(&y)?;
/// assert_eq!(pixels.shape(), x.shape());
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

/// A number or nested lists of numbers: Keras writes mean and variance in the shape that the user passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "numbers")]
enum Nested {
    Number(f32),
    List(Vec<Nested>),
}

impl Nested {
    /// All numbers, in order.
    fn numbers(&self) -> Vec<f32> {
        match self {
            Self::Number(number) => vec![*number],
            Self::List(list) => list.iter().flat_map(Self::numbers).collect(),
        }
    }
}

/// Keras' smallest divisor, against a variance of 0.
const EPSILON: f32 = 1e-7;

impl Normalization {
    /// A layer with one mean and one variance per channel.
    pub fn new<const N: usize>(mean: [f32; N], variance: [f32; N]) -> Self {
        let list = |values: [f32; N]| Some(Nested::List(values.map(Nested::Number).to_vec()));
        Self { axis: Some(vec![-1]), invert: false, mean: list(mean), variance: list(variance) }
    }

    /// A layer whose mean and variance are non-trainable weights, one of each per channel: Keras' `Normalization()`.
    ///
    /// The mean is 0 and the variance 1 until they are set, as Keras' `adapt` does from data.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let layer = Normalization::adapted().into_layer();
    /// let y = layer.call(&Input::new([3]))?;
    /// let [mean, variance, _count] = &layer.weights()[..] else { panic!("three weights") };
    /// mean.set(vec![0.5, 1.0, 2.0])?;
    /// variance.set(vec![0.1, 0.2, 0.4])?;
    /// assert_eq!((y.shape(), layer.count_params()), (&[3].into(), 3 + 3 + 1));
    /// assert!(!mean.trainable());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn adapted() -> Self {
        Self { axis: Some(vec![-1]), invert: false, mean: None, variance: None }
    }

    /// Sets whether the inverse is computed, `x * sqrt(variance) + mean`; false by default.
    #[must_use]
    pub fn invert(mut self, invert: bool) -> Self {
        self.invert = invert;
        self
    }

    /// Whether mean and variance are weights, computed by Keras' `adapt`.
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

    /// Number of means: one per channel, or one for all.
    fn statistics(&self, shape: &Shape) -> usize {
        match self.axis.as_deref() {
            None | Some([]) => 1,
            Some(_) => shape.last().copied().unwrap_or(1),
        }
    }

    /// Mean and variance of each channel, from the options.
    fn given(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let (Some(mean), Some(variance)) = (&self.mean, &self.variance) else {
            return Err(Error::new("mean and variance", "both or neither", "one of them"));
        };
        let mean = PerChannel::Each(mean.numbers()).values(channels, "mean")?;
        Ok((mean, PerChannel::Each(variance.numbers()).values(channels, "variance")?))
    }

    /// Scale and offset of each channel that are equivalent to this normalization.
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
        let spec = |name, shape, initializer| WeightSpec {
            name,
            shape,
            initializer,
            trainable: false,
            regularizer: None,
            constraint: None,
        };
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
