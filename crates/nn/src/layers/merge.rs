//! Layers that merge several inputs: `Add`, `Average`, `Subtract`, `Multiply` and `Concatenate`.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::{axis_option, last_axis, sample_axis};
use super::options::config_of;
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// Defines a layer without options that merges several tensors into one.
macro_rules! merge_layer {
    ($(#[$doc:meta])* $name:ident, $shape:path, $lower:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {}

        impl $name {
            /// The layer; it has no options.
            pub fn new() -> Self {
                Self {}
            }
        }

        impl LayerDef for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Map<String, Value> {
                Map::new()
            }

            fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
                $shape(inputs)
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                Ok($lower(to, inputs))
            }
        }
    };
}

merge_layer! {
    /// The sum of inputs of the same shape (Keras' `Add`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Add::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Add, same_shape, sum
}

merge_layer! {
    /// The mean of inputs of the same shape (Keras' `Average`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Average::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Average, same_shape, mean
}

merge_layer! {
    /// The first input minus the second, of the same shape (Keras' `Subtract`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Subtract::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Subtract, same_shape_of_two, difference
}

merge_layer! {
    /// The product of inputs (Keras' `Multiply`).
    ///
    /// Inputs of different shapes are multiplied if one broadcasts to the other: it has size 1 along every axis where the sizes
    /// differ, such as weights `[1, 1, c]` for the channels of an image.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (image, weights) = (Input::new([8, 8, 3]), Input::new([1, 1, 3]));
    /// assert_eq!(Multiply::new().call([&image, &weights])?.shape(), &[8, 8, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Multiply, broadcast_shape, product
}

/// The shape of two or more inputs, which must be the same.
pub(super) fn same_shape(inputs: &[Shape]) -> Result<Shape> {
    match inputs {
        [first, others @ ..] if !others.is_empty() && others.iter().all(|other| other == first) => Ok(first.clone()),
        _ => Err(Error::new("inputs", "two or more of the same shape", format_args!("{inputs:?}"))),
    }
}

/// The shape of exactly two inputs, which must be the same.
pub(super) fn same_shape_of_two(inputs: &[Shape]) -> Result<Shape> {
    match inputs {
        [first, second] if first == second => Ok(first.clone()),
        _ => Err(Error::new("inputs", "two of the same shape", format_args!("{inputs:?}"))),
    }
}

/// The shape of a product, built up from left to right: each input must broadcast to the product of the inputs before it, or
/// that product to the input.
pub(super) fn broadcast_shape(inputs: &[Shape]) -> Result<Shape> {
    let wrong = || {
        let expected =
            "two or more of the same rank, each of which broadcasts to the product of those before it, or the reverse";
        Error::new("inputs", expected, format_args!("{inputs:?}"))
    };
    let (first, others) = inputs.split_first().filter(|(_, others)| !others.is_empty()).ok_or_else(wrong)?;
    others.iter().try_fold(first.clone(), |shape, other| {
        if broadcasts(other, &shape) {
            Ok(shape)
        } else if broadcasts(&shape, other) {
            Ok(other.clone())
        } else {
            Err(wrong())
        }
    })
}

/// Whether `shape` broadcasts to `target`: same rank, and along each axis the target's size or 1.
fn broadcasts(shape: &Shape, target: &Shape) -> bool {
    shape.len() == target.len() && shape.iter().zip(target).all(|(size, target)| size == target || *size == 1)
}

pub(super) fn sum(to: &mut Lowering<'_>, inputs: &[ValueId]) -> ValueId {
    let shape = to.shape(inputs[0]).clone();
    to.push(Op::Add, inputs, shape)
}

fn mean(to: &mut Lowering<'_>, inputs: &[ValueId]) -> ValueId {
    let sum = sum(to, inputs);
    scaled(to, sum, 1.0 / inputs.len() as f32)
}

pub(super) fn difference(to: &mut Lowering<'_>, inputs: &[ValueId]) -> ValueId {
    let negated = scaled(to, inputs[1], -1.0);
    sum(to, &[inputs[0], negated])
}

pub(super) fn product(to: &mut Lowering<'_>, inputs: &[ValueId]) -> ValueId {
    inputs[1..].iter().fold(inputs[0], |product, &input| {
        // `Op::Multiply` broadcasts its second operand.
        let operands = if broadcasts(to.shape(input), to.shape(product)) { [product, input] } else { [input, product] };
        let shape = to.shape(operands[0]).clone();
        to.push(Op::Multiply, &operands, shape)
    })
}

fn scaled(to: &mut Lowering<'_>, value: ValueId, factor: f32) -> ValueId {
    let shape = to.shape(value).clone();
    let channels = shape.last().copied().unwrap_or(1);
    to.push(Op::ScaleShift { scale: vec![factor; channels], shift: vec![0.0; channels] }, &[value], shape)
}

/// Concatenates inputs along an axis (Keras' `Concatenate`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let (a, b) = (Input::new([4, 4, 3]), Input::new([4, 4, 5]));
/// assert_eq!(Concatenate::new().call([&a, &b])?.shape(), &[4, 4, 8]);
/// assert_eq!(Concatenate::new().axis(1).call([&a, &a])?.shape(), &[8, 4, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {
    #[serde(default = "last_axis")]
    axis: i64,
}

axis_option!(Concatenate);

impl LayerDef for Concatenate {
    fn class_name(&self) -> &'static str {
        "Concatenate"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn call_arguments(&self, tensors: Vec<Value>) -> Vec<Value> {
        vec![Value::Array(tensors)]
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Some(first) = inputs.first() else {
            return Err(Error::new("inputs", "at least one", "none"));
        };
        let axis = sample_axis(self.axis, first.len())?;
        let others_agree = inputs.iter().all(|input| {
            input.len() == first.len() && (0..first.len()).all(|other| other == axis || input[other] == first[other])
        });
        if !others_agree {
            return Err(Error::new("inputs", "shapes that differ only along the axis", format_args!("{inputs:?}")));
        }
        let mut shape = first.clone();
        shape[axis] = inputs.iter().map(|input| input[axis]).sum();
        Ok(shape)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shapes: Vec<Shape> = inputs.iter().map(|&input| to.shape(input).clone()).collect();
        let shape = self.output_shape(&shapes)?;
        let axis = sample_axis(self.axis, shape.len())?;
        Ok(to.push(Op::Concatenate { axis }, inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_stretch_one_of_each_pair() {
        assert_eq!(broadcast_shape(&[vec![1, 1, 3], vec![4, 5, 3]]).unwrap(), [4, 5, 3]);
        assert_eq!(broadcast_shape(&[vec![4, 5, 3], vec![4, 5, 1], vec![1, 1, 3]]).unwrap(), [4, 5, 3]);
        for inputs in [&[vec![4, 1, 3], vec![1, 5, 3]][..], &[vec![3], vec![4, 3]], &[vec![4]], &[]] {
            let error = broadcast_shape(inputs).unwrap_err().to_string();
            assert!(error.contains("each of which broadcasts to the product of those before it"), "{error}");
        }
    }
}
