//! Constant arrays among a layer's options, and the scaling and shifting by arrays that are broadcast along axes.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rescaling::PerChannel;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result, Shape};

/// Maximum number of axes of an array. It bounds the recursion over nested lists.
const MAX_RANK: usize = 32;

/// Limit on the numbers of an array after broadcasting: 256 MiB as f32.
const MAX_NUMBERS: usize = 1 << 26;

/// An array of numbers as a file has it: a number, nested lists, or Keras' object of a NumPy array or tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub(super) struct ConstantArray {
    /// The form in the file, which is written back.
    form: Value,
    pub(super) shape: Shape,
    pub(super) values: Vec<f32>,
}

impl From<PerChannel> for ConstantArray {
    fn from(values: PerChannel) -> Self {
        let (form, shape, values) = match values {
            PerChannel::One(value) => (value.into(), Vec::new(), vec![value]),
            PerChannel::Each(values) => (values.clone().into(), vec![values.len()], values),
        };
        Self { form, shape, values }
    }
}

impl From<ConstantArray> for Value {
    fn from(array: ConstantArray) -> Self {
        array.form
    }
}

impl TryFrom<Value> for ConstantArray {
    type Error = String;

    fn try_from(form: Value) -> std::result::Result<Self, String> {
        let is_array = form.get("class_name").is_some_and(|class| class == "__numpy__" || class == "__tensor__");
        let numbers = form.pointer("/config/value").filter(|_| is_array).unwrap_or(&form);
        let mut array = Self { form: Value::Null, shape: Vec::new(), values: Vec::new() };
        let mut first = numbers;
        while let Some(list) = first.as_array().filter(|_| array.shape.len() < MAX_RANK) {
            array.shape.push(list.len());
            first = list.first().unwrap_or(&Value::Null);
        }
        let shape = array.shape.clone();
        match !shape.contains(&0) && array.add(numbers, &shape).is_some() {
            true => Ok(Self { form, ..array }),
            false => Err("expected a number or an array of numbers".to_owned()),
        }
    }
}

impl ConstantArray {
    /// An array that isn't an option of its own.
    pub(super) fn new(shape: Shape, values: Vec<f32>) -> Self {
        Self { form: Value::Null, shape, values }
    }

    /// Adds the numbers of nested lists of this shape; `None` for others.
    fn add(&mut self, numbers: &Value, shape: &[usize]) -> Option<()> {
        match shape.split_first() {
            None => self.values.push(numbers.as_f64()? as f32),
            Some((&size, inner)) => {
                let list = numbers.as_array().filter(|list| list.len() == size)?;
                list.iter().try_for_each(|numbers| self.add(numbers, inner))?;
            }
        }
        Some(())
    }

    /// Checks that the array can be broadcast to samples of this shape.
    ///
    /// # Errors
    /// The array, named by `place`, has an axis of another size than the sample, or values for each sample of a batch.
    pub(super) fn check(&self, sample: &[usize], place: &str) -> Result<()> {
        let batch = std::iter::once(&1).chain(sample);
        let fits = self.shape.len() <= sample.len() + 1
            && self.shape.iter().rev().zip(batch.rev()).all(|(&own, &size)| own == 1 || own == size);
        match fits {
            true => Ok(()),
            false if self.shape.len() == 1 => {
                let channels = sample.last().copied().unwrap_or(1);
                Err(Error::new(place, format_args!("1 or {channels} numbers"), self.shape[0]))
            }
            false => {
                let expected = format!("an array that is broadcast to samples of {sample:?}");
                Err(Error::new(place, expected, format_args!("shape {:?}", self.shape)))
            }
        }
    }

    /// The first axis of a sample of this rank along which the values differ; the rank if they are all one number.
    fn first_axis(&self, rank: usize) -> usize {
        match self.shape.iter().position(|&size| size > 1) {
            Some(axis) => (axis + rank).saturating_sub(self.shape.len()),
            None => rank,
        }
    }

    /// The values over an array of shape `over`, the last axes of a sample. The array is broadcast along its axes of size 1.
    fn expanded(&self, over: &[usize]) -> Vec<f32> {
        if self.values.len() == 1 {
            return vec![self.values[0]; over.iter().product()];
        }
        let (mut values, mut block) = (self.values.clone(), 1);
        // From the last axis on: a block of the axes after is repeated along an axis of size 1.
        let sizes = self.shape.iter().rev().chain(std::iter::repeat(&1));
        for (&size, &over) in sizes.zip(over.iter().rev()) {
            if size == 1 && over > 1 {
                values = values.chunks(block).flat_map(|values| values.repeat(over)).collect();
            }
            block *= over;
        }
        values
    }
}

/// Adds `value * scale + shift` with arrays that are broadcast to the samples, as NumPy does, with all weights of the layer.
///
/// # Errors
/// Arrays that don't fit, or that are too large after broadcasting.
pub(super) fn push_scale_shift(
    to: &mut Lowering<'_>,
    value: ValueId,
    scale: &ConstantArray,
    shift: &ConstantArray,
) -> Result<ValueId> {
    let sample = to.shape(value).clone();
    scale.check(&sample, "scale")?;
    shift.check(&sample, "offset")?;
    let rank = sample.len();
    // `ScaleShift` has numbers for the last axis: the axes along which the arrays differ become one.
    let first = scale.first_axis(rank).min(shift.first_axis(rank)).min(rank.saturating_sub(1));
    let (rows, over) = sample.split_at(first);
    let numbers = over.iter().product::<usize>();
    if over.len() > 1 && numbers > MAX_NUMBERS {
        return Err(Error::new("array", format_args!("at most {MAX_NUMBERS} numbers for a sample"), numbers)
            .with_kind(ErrorKind::Unsupported));
    }
    let op = Op::ScaleShift { scale: scale.expanded(over), shift: shift.expanded(over) };
    if over.len() <= 1 {
        return Ok(to.push(op, &[value], sample));
    }
    let flat = [rows, &[numbers]].concat();
    let flattened = to.push_with(Op::Reshape, &[value], flat.clone(), 0..0);
    let scaled = to.push(op, &[flattened], flat);
    Ok(to.push_with(Op::Reshape, &[scaled], sample, 0..0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn array(form: Value) -> ConstantArray {
        serde_json::from_value(form).unwrap()
    }

    #[test]
    fn every_form_of_keras_is_kept() {
        let numpy = json!({"class_name": "__numpy__", "config": {"value": [[1.0], [2.0]], "dtype": "float64"}});
        for (form, shape, values) in [
            (json!(2), vec![], vec![2.0]),
            (json!([1, 2.5]), vec![2], vec![1.0, 2.5]),
            (json!([[1, 2], [3, 4]]), vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]),
            (numpy, vec![2, 1], vec![1.0, 2.0]),
        ] {
            let array = array(form.clone());
            assert_eq!((&array.shape, &array.values), (&shape, &values));
            assert_eq!(serde_json::to_value(array).unwrap(), form);
        }
        for wrong in
            [json!("x"), json!([]), json!([[1], [2, 3]]), json!([1, "x"]), json!(null), json!({"class_name": "f"})]
        {
            assert!(serde_json::from_value::<ConstantArray>(wrong).is_err());
        }
    }

    #[test]
    fn arrays_are_broadcast_as_in_numpy() {
        let expanded = |form: Value, over: &[usize]| array(form).expanded(over);
        assert_eq!(expanded(json!([1, 2]), &[2]), [1.0, 2.0]);
        assert_eq!(expanded(json!([1, 2]), &[2, 2]), [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(expanded(json!([[1], [2]]), &[2, 3]), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(expanded(json!([[[1, 2]], [[3, 4]]]), &[2, 2, 2]), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!(expanded(json!([[[[1], [2]]]]), &[2, 2]), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(
            [json!([1, 2]), json!([[1], [2]]), json!([[[[7]]]])].map(|form| array(form).first_axis(3)),
            [2, 1, 3]
        );
    }

    #[test]
    fn other_sizes_are_named() {
        let error = |form: Value| array(form).check(&[4, 4, 3], "scale").unwrap_err().to_string();
        assert!(error(json!([1, 2])).contains("scale: expected 1 or 3 numbers, received 2"));
        assert!(
            error(json!([[[[1]]], [[[2]]]])).contains("broadcast to samples of [4, 4, 3], received shape [2, 1, 1, 1]")
        );
        assert!(array(json!([[[[1, 2, 3]]]])).check(&[4, 4, 3], "scale").is_ok());
    }
}
