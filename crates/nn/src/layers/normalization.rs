//! `Normalization`: mean and variance that training doesn't change.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::sample_axis;
use super::constant_array::{ConstantArray, push_scale_shift};
use super::options::{config_of, single};
use super::rescaling::PerChannel;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::{Weight, WeightSpec};
use crate::{Error, Initializer, Result, Shape};

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
    #[serde(default = "last_axis")]
    axis: Option<Axes>,
    #[serde(default)]
    invert: bool,
    #[serde(default)]
    mean: Option<ConstantArray>,
    #[serde(default)]
    variance: Option<ConstantArray>,
}

/// The axes that have statistics of their own, as Keras 3 writes them (a list) or as a user passes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an axis or a list of them")]
enum Axes {
    Several(Vec<i64>),
    One(i64),
}

fn last_axis() -> Option<Axes> {
    Some(Axes::Several(vec![-1]))
}

/// Keras' smallest divisor, against a variance of 0.
const EPSILON: f32 = 1e-7;

impl Normalization {
    /// A layer with one mean and one variance per channel.
    pub fn new<const N: usize>(mean: [f32; N], variance: [f32; N]) -> Self {
        let array = |values: [f32; N]| Some(PerChannel::from(values).into());
        Self { axis: last_axis(), invert: false, mean: array(mean), variance: array(variance) }
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
        Self { axis: last_axis(), invert: false, mean: None, variance: None }
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

    /// The axes of a sample that have statistics of their own, ascending.
    fn kept_axes(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = match &self.axis {
            None => &[][..],
            Some(Axes::Several(axes)) => axes,
            Some(Axes::One(axis)) => std::slice::from_ref(axis),
        };
        let mut kept = axes.iter().map(|&axis| sample_axis(axis, rank)).collect::<Result<Vec<_>>>()?;
        kept.sort_unstable();
        kept.dedup();
        Ok(kept)
    }

    /// An array of statistics over the kept axes of a sample, aligned with their last one.
    ///
    /// # Errors
    /// More axes than are kept, or another size than the sample's.
    fn aligned(&self, array: &ConstantArray, sample: &[usize], place: &str) -> Result<ConstantArray> {
        let kept = self.kept_axes(sample.len())?;
        // Leading axes of size 1 say nothing.
        let surplus = array.shape.len().saturating_sub(kept.len());
        let (leading, own) = array.shape.split_at(surplus);
        let mut shape = vec![1; sample.len()];
        let (axes, sizes) = (kept.iter().rev(), own.iter().rev());
        axes.zip(sizes).for_each(|(&axis, &size)| shape[axis] = size);
        if leading.iter().any(|&size| size != 1) {
            let expected = format!("at most {} axes, those of `axis`", kept.len());
            return Err(Error::new(place, expected, format_args!("shape {:?}", array.shape)));
        }
        let aligned = ConstantArray::new(shape, array.values.clone());
        match kept.as_slice() {
            // The message counts channels.
            [axis] if axis + 1 == sample.len() => ConstantArray::new(own.to_vec(), Vec::new()).check(sample, place)?,
            _ => aligned.check(sample, place)?,
        }
        Ok(aligned)
    }

    /// Mean and variance from the options.
    fn given(&self, sample: &[usize]) -> Result<[ConstantArray; 2]> {
        let (Some(mean), Some(variance)) = (&self.mean, &self.variance) else {
            return Err(Error::new("mean and variance", "both or neither", "one of them"));
        };
        let mean = self.aligned(mean, sample, "mean")?;
        let variance = self.aligned(variance, sample, "variance")?;
        match mean.shape == variance.shape {
            true => Ok([mean, variance]),
            false => Err(Error::new(
                "variance",
                format_args!("the shape of the mean, {:?}", mean.shape),
                format_args!("{:?}", variance.shape),
            )),
        }
    }

    /// Scale and offset that are equivalent to this normalization.
    fn factors(&self, mean: ConstantArray, variance: &ConstantArray) -> [ConstantArray; 2] {
        let array = |values: Vec<f32>| ConstantArray::new(mean.shape.clone(), values);
        let deviation: Vec<f32> = variance.values.iter().map(|variance| variance.sqrt().max(EPSILON)).collect();
        if self.invert {
            return [array(deviation), mean];
        }
        let scale: Vec<f32> = deviation.iter().map(|deviation| 1.0 / deviation).collect();
        let shift = mean.values.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
        [array(scale), array(shift)]
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
        self.kept_axes(shape.len())?;
        if !self.is_adapted() {
            self.given(shape)?;
        }
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        if !self.is_adapted() {
            return Ok(Vec::new());
        }
        let sample = single(inputs)?;
        let shape: Shape = self.kept_axes(sample.len())?.into_iter().map(|axis| sample[axis]).collect();
        let spec = |name: &'static str, shape, initializer| WeightSpec {
            name: name.into(),
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
        let sample = to.shape(inputs[0]).clone();
        let [mean, variance] = match to.own_weights() {
            [mean, variance, _count] => {
                let own = |weight: &Weight, place| {
                    let array = ConstantArray::new(weight.shape().to_vec(), weight.values().clone());
                    self.aligned(&array, &sample, place)
                };
                [own(mean, "mean")?, own(variance, "variance")?]
            }
            _ => self.given(&sample)?,
        };
        let [scale, shift] = self.factors(mean, &variance);
        push_scale_shift(to, inputs[0], &scale, &shift)
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;
    use serde_json::json;

    use super::*;
    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn scale(config: Value, shape: &[usize]) -> Result<Vec<f32>> {
        let layer = from_config("Normalization", config.as_object().unwrap().clone())?;
        let x = Input::new(shape);
        let program = Program::of(&Model::new(&x, &layer.call(&x)?)?, false, 0)?;
        let scales = program.steps.into_iter().find_map(|step| match step.op {
            Op::ScaleShift { scale, .. } => Some(scale),
            _ => None,
        });
        Ok(scales.unwrap())
    }

    #[test]
    fn statistics_belong_to_the_kept_axes() {
        let options = |axis: Value, mean: Value, variance: Value| json!({"name": "n", "axis": axis, "mean": mean, "variance": variance, "invert": false});
        let channels = options(json!(-1), json!([0, 0]), json!([0.25, 1.0]));
        assert_eq!(scale(channels, &[3, 2]).unwrap(), [2.0, 1.0]);
        let rows = options(json!([1]), json!([0, 0, 0]), json!([1.0, 0.25, 0.0625]));
        assert_eq!(scale(rows, &[3, 2]).unwrap(), [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]);
        let both = options(json!([2, 1]), json!([[0, 0], [0, 0]]), json!([[1.0, 0.25], [0.0625, 1.0]]));
        assert_eq!(scale(both, &[2, 2]).unwrap(), [1.0, 2.0, 4.0, 1.0]);
        let one = options(json!(null), json!(1.0), json!(0.25));
        assert_eq!(scale(one, &[3, 2]).unwrap(), [2.0, 2.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (config, expected) in [
            (json!({"name": "n", "axis": [0]}), "axis: expected 1 to 3"),
            (json!({"name": "n", "axis": [-1], "mean": [1, 2], "variance": [1, 2]}), "mean: expected 1 or 3 numbers"),
            (json!({"name": "n", "axis": [], "mean": [1, 2], "variance": [1, 2]}), "mean: expected at most 0 axes"),
            (json!({"name": "n", "axis": [-1], "mean": 1.0}), "mean and variance: expected both"),
        ] {
            let error = scale(config, &[4, 4, 3]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
