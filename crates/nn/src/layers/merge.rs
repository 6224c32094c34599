//! Layers that join several inputs.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis::{axis_option, last, sample_axis};
use super::options::config_of;
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// Layers without options that make one tensor of several.
macro_rules! merge_layer {
    ($(#[$doc:meta])* $name:ident, $shape:path, $lower:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {}

        impl $name {
            /// The only one there is.
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
    /// The sum of inputs of one shape (Keras' `Add`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Add::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Add, alike, sum
}

merge_layer! {
    /// The mean of inputs of one shape (Keras' `Average`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Average::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Average, alike, mean
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
    Subtract, two_alike, difference
}

merge_layer! {
    /// The product of inputs (Keras' `Multiply`). One may have size 1 along axes where the others are longer: weights for
    /// each channel, `[1, 1, c]`, of an image.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (image, weights) = (Input::new([8, 8, 3]), Input::new([1, 1, 3]));
    /// assert_eq!(Multiply::new().call([&image, &weights])?.shape(), &[8, 8, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Multiply, stretched, product
}

/// The shape that all inputs have.
pub(super) fn alike(inputs: &[Shape]) -> Result<Shape> {
    match inputs {
        [first, others @ ..] if !others.is_empty() && others.iter().all(|other| other == first) => Ok(first.clone()),
        _ => Err(Error::new("inputs", "two or more of one shape", format_args!("{inputs:?}"))),
    }
}

pub(super) fn two_alike(inputs: &[Shape]) -> Result<Shape> {
    match inputs {
        [first, second] if first == second => Ok(first.clone()),
        _ => Err(Error::new("inputs", "two of one shape", format_args!("{inputs:?}"))),
    }
}

/// The shape of a product: each input in turn fits the ones before, or they fit it.
pub(super) fn stretched(inputs: &[Shape]) -> Result<Shape> {
    let wrong = || {
        let expected = "two or more of one rank, of which one of each pair has the other's sizes or 1";
        Error::new("inputs", expected, format_args!("{inputs:?}"))
    };
    let (first, others) = inputs.split_first().filter(|(_, others)| !others.is_empty()).ok_or_else(wrong)?;
    others.iter().try_fold(first.clone(), |shape, other| {
        if fits(other, &shape) {
            Ok(shape)
        } else if fits(&shape, other) {
            Ok(other.clone())
        } else {
            Err(wrong())
        }
    })
}

/// Whether `part` can be repeated to the shape `whole`.
fn fits(part: &Shape, whole: &Shape) -> bool {
    part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| part == whole || *part == 1)
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
        let (whole, part) = if fits(to.shape(input), to.shape(product)) { (product, input) } else { (input, product) };
        let shape = to.shape(whole).clone();
        to.push(Op::Multiply, &[whole, part], shape)
    })
}

fn scaled(to: &mut Lowering<'_>, value: ValueId, factor: f32) -> ValueId {
    let shape = to.shape(value).clone();
    let channels = shape.last().copied().unwrap_or(1);
    to.push(Op::ScaleShift { scale: vec![factor; channels], shift: vec![0.0; channels] }, &[value], shape)
}

/// Inputs one after the other along an axis (Keras' `Concatenate`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let (a, b) = (Input::new([4, 4, 3]), Input::new([4, 4, 5]));
/// assert_eq!(Concatenate::new().call([&a, &b])?.shape(), &[4, 4, 8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {
    #[serde(default = "last")]
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
            return Err(Error::new("inputs", "shapes that differ only in the joined axis", format_args!("{inputs:?}")));
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
        assert_eq!(stretched(&[vec![1, 1, 3], vec![4, 5, 3]]).unwrap(), [4, 5, 3]);
        assert_eq!(stretched(&[vec![4, 5, 3], vec![4, 5, 1], vec![1, 1, 3]]).unwrap(), [4, 5, 3]);
        for inputs in [&[vec![4, 1, 3], vec![1, 5, 3]][..], &[vec![3], vec![4, 3]], &[vec![4]], &[]] {
            let error = stretched(inputs).unwrap_err().to_string();
            assert!(error.contains("of which one of each pair has the other's sizes or 1"), "{error}");
        }
    }
}
