//! Constants among an operation's arguments.

use serde_json::Value;

use super::excerpt;
use crate::Shape;
use crate::{Error, Result};

/// Maximum number of axes of a constant array. It bounds the recursion into nested lists.
const MAX_RANK: usize = 32;

/// A number or an array, in the shape in which the file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// No axes for a number. The batch axis, if the array has one, is the first.
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Constant {
    /// Reads a number, a boolean, nested lists of numbers, or an array as Keras serializes it.
    pub(super) fn read(argument: &Value) -> Result<Self> {
        let is_array = argument.get("class_name").is_some_and(|class| class == "__tensor__" || class == "__numpy__");
        let value = argument.pointer("/config/value").filter(|_| is_array).unwrap_or(argument);
        let (mut shape, mut values) = (Vec::new(), Vec::new());
        let mut first = value;
        while let Value::Array(list) = first {
            shape.push(list.len());
            match list.first() {
                Some(inner) if shape.len() <= MAX_RANK => first = inner,
                _ => return Err(wrong(argument)),
            }
        }
        match collect(value, &shape, &mut values) {
            Some(()) => Ok(Self { shape, values }),
            None => Err(wrong(argument)),
        }
    }

    /// The number, if the constant is a single one.
    pub(super) fn number(&self) -> Option<f32> {
        match self.values.as_slice() {
            [number] => Some(*number),
            _ => None,
        }
    }

    /// One value for each channel of `sample`, if the constant is a number or differs along the last axis alone, and has no more
    /// axes than a batch of such samples.
    pub(super) fn per_channel(&self, sample: &Shape) -> Option<Vec<f32>> {
        let channels = sample.last().copied().unwrap_or(1);
        let fits = self.shape.len() <= sample.len() + 1 && self.shape.iter().rev().skip(1).all(|&size| size == 1);
        match self.values.as_slice() {
            [number] if fits => Some(vec![*number; channels]),
            values if fits && values.len() == channels && !sample.is_empty() => Some(values.to_vec()),
            _ => None,
        }
    }

    /// The constant's shape for each sample, with `rank` axes. As in NumPy, axes that are missing at the front have size 1.
    ///
    /// # Errors
    /// An array that has more axes, or different values for different samples of a batch.
    pub(super) fn sample_shape(&self, rank: usize) -> Result<Shape> {
        let sample = match self.shape.as_slice() {
            [1, sample @ ..] if sample.len() == rank => sample,
            other => other,
        };
        if sample.len() > rank {
            let expected = format!("an array of at most {rank} axes, or with a batch axis of size 1 in front");
            return Err(Error::new("constant", expected, format_args!("shape {:?}", self.shape)));
        }
        Ok(std::iter::repeat_n(1, rank - sample.len()).chain(sample.iter().copied()).collect())
    }
}

fn wrong(argument: &Value) -> Error {
    Error::new("constant", "a number or an array of numbers", excerpt(argument))
}

/// Appends the numbers of nested lists of this shape; `None` for anything else.
fn collect(value: &Value, shape: &[usize], values: &mut Vec<f32>) -> Option<()> {
    match (value, shape) {
        (Value::Array(list), [size, inner @ ..]) if list.len() == *size => {
            list.iter().try_for_each(|value| collect(value, inner, values))
        }
        (Value::Number(number), []) => {
            values.push(number.as_f64()? as f32);
            Some(())
        }
        (Value::Bool(flag), []) => {
            values.push(f32::from(u8::from(*flag)));
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn array(value: &Value) -> Constant {
        let argument = json!({"class_name": "__tensor__", "config": {"value": value, "dtype": "float32"}});
        Constant::read(&argument).unwrap()
    }

    #[test]
    fn numbers_and_arrays() {
        assert_eq!(Constant::read(&json!(2)).unwrap().number(), Some(2.0));
        assert_eq!(Constant::read(&json!(true)).unwrap().number(), Some(1.0));
        assert_eq!(Constant::read(&json!([1, 2])).unwrap().shape, [2]);
        assert_eq!(array(&json!(0.5)).number(), Some(0.5));
        let rows = array(&json!([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]));
        assert_eq!((rows.shape, rows.values), (vec![3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn values_by_channel() {
        let sample = vec![4, 5, 2];
        assert_eq!(array(&json!([[[[1.0, 2.0]]]])).per_channel(&sample), Some(vec![1.0, 2.0]));
        assert_eq!(array(&json!([[3.0]])).per_channel(&sample), Some(vec![3.0, 3.0]));
        assert_eq!(array(&json!([[1.0, 2.0], [3.0, 4.0]])).per_channel(&sample), None);
        assert_eq!(array(&json!([1.0, 2.0, 3.0])).per_channel(&sample), None);
        assert_eq!(array(&json!([1.0, 2.0, 3.0])).per_channel(&vec![1]), None, "it would broadcast the tensor");
    }

    #[test]
    fn shapes_are_those_of_samples() {
        let shape = |value: Value, rank: usize| array(&value).sample_shape(rank);
        assert_eq!(shape(json!([1.0, 2.0]), 3).unwrap(), [1, 1, 2]);
        assert_eq!(shape(json!([[[1.0, 2.0]]]), 2).unwrap(), [1, 2]);
        for (value, rank) in [(json!([[1.0], [2.0]]), 1), (json!([[[1.0]]]), 1)] {
            let error = shape(value, rank).unwrap_err().to_string();
            assert!(error.contains("a batch axis of size 1"), "{error}");
        }
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        for value in [json!([[1.0, "x"]]), json!(null), json!([[1.0, 2.0], [3.0]]), json!([]), json!({"a": 1})] {
            let error = Constant::read(&value).unwrap_err().to_string();
            assert!(error.contains("a number or an array of numbers"), "{error}");
        }
    }
}
