//! Layers that merge several inputs: `Add`, `Average`, `Subtract`, `Multiply`, `Maximum`, `Minimum` and `Concatenate`.

use engraft_ir::{Binary, Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::{axis_option, last_axis, sample_axis};
use super::expression::{self, Expression, Operand};
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Defines a layer without options that merges several tensors into one.
macro_rules! merge_layer {
    ($(#[$doc:meta])* $name:ident, $merge:path, $dtype:expr) => {
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
                expression::output_shape(inputs, $merge)
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                let dtype: fn(&[DType]) -> Result<DType> = $dtype;
                dtype(inputs)
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                let merged = expression::lower(to, inputs, $merge)?;
                let dtype = self.output_dtype(to.input_dtypes())?;
                expression::push_wrapped(to, merged, dtype)
            }
        }
    };
}

merge_layer! {
    /// The sum of inputs (Keras' `Add`).
    ///
    /// Inputs of different shapes are broadcast: along axes of size 1, and along axes that an input lacks after the batch.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Add::new().call([&a, &b])?.shape(), &[4]);
    /// // A vector for each channel of an image.
    /// let (image, shift) = (Input::new([8, 8, 3]), Input::new([3]));
    /// assert_eq!(Add::new().call([&image, &shift])?.shape(), &[8, 8, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Add, sum, |inputs| Ok(DType::common(inputs))
}

merge_layer! {
    /// The mean of inputs, which are broadcast as by [`Add`] (Keras' `Average`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Average::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Average, mean, |inputs| DType::of_arithmetic(inputs).map(|_| DType::Float)
}

merge_layer! {
    /// The first input minus the second, both broadcast as by [`Add`] (Keras' `Subtract`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Subtract::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Subtract, difference, DType::of_difference
}

merge_layer! {
    /// The product of inputs, which are broadcast as by [`Add`] (Keras' `Multiply`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (image, weights) = (Input::new([8, 8, 3]), Input::new([1, 1, 3]));
    /// assert_eq!(Multiply::new().call([&image, &weights])?.shape(), &[8, 8, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Multiply, product, DType::of_product
}

merge_layer! {
    /// The elementwise maximum of inputs, which are broadcast as by [`Add`] (Keras' `Maximum`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4, 1]), Input::new([1, 3]));
    /// assert_eq!(Maximum::new().call([&a, &b])?.shape(), &[4, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Maximum, greatest, |inputs| Ok(DType::common(inputs))
}

merge_layer! {
    /// The elementwise minimum of inputs, which are broadcast as by [`Add`] (Keras' `Minimum`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// assert_eq!(Minimum::new().call([&a, &b])?.shape(), &[4]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    Minimum, smallest, |inputs| Ok(DType::common(inputs))
}

/// Gives all inputs the rank of the largest. As in Keras, new axes follow the batch.
fn aligned(e: &mut Expression, x: &[Operand]) -> Result<Vec<Operand>> {
    let ranks = x.iter().map(|&x| e.shape(x).len());
    let Some(rank) = ranks.max().filter(|_| x.len() > 1) else {
        return Err(Error::new("inputs", "two or more", x.len()));
    };
    let extended = x.iter().map(|&x| {
        let own = e.shape(x);
        let shape = std::iter::repeat_n(1, rank - own.len()).chain(own.iter().copied()).collect();
        e.reshape_to(x, shape)
    });
    extended.collect()
}

/// Combines the inputs from left to right.
fn fold(function: Binary, e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    let inputs = aligned(e, x)?;
    inputs[1..].iter().try_fold(inputs[0], |result, &input| e.binary(function, result, input))
}

fn sum(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    match x {
        // One step adds any number of inputs of the same shape.
        [first, _, ..] if x.iter().all(|&x| e.shape(x) == e.shape(*first)) => {
            let shape = e.shape(*first).clone();
            e.push(Op::Add, x, shape)
        }
        _ => fold(Binary::Add, e, x),
    }
}

fn mean(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    let sum = sum(e, x)?;
    e.scale_shift(sum, 1.0 / x.len() as f32, 0.0)
}

fn difference(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    match x {
        [_, _] => fold(Binary::Subtract, e, x),
        _ => Err(Error::new("inputs", "two", x.len())),
    }
}

fn product(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    fold(Binary::Multiply, e, x)
}

fn greatest(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    fold(Binary::Maximum, e, x)
}

fn smallest(e: &mut Expression, x: &[Operand]) -> Result<Operand> {
    fold(Binary::Minimum, e, x)
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

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
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
    use crate::Program;
    use crate::prelude::*;

    fn shape(layer: impl LayerDef, inputs: &[&[usize]]) -> Result<Shape> {
        let inputs: Vec<SymbolicTensor> = inputs.iter().map(|&shape| Input::new(shape)).collect();
        Ok(layer.into_layer().call(&inputs)?.shape().clone())
    }

    #[test]
    fn inputs_are_broadcast_on_both_sides() {
        assert_eq!(shape(Multiply::new(), &[&[1, 1, 3], &[4, 5, 3]]).unwrap(), [4, 5, 3]);
        assert_eq!(shape(Add::new(), &[&[4, 1, 3], &[1, 5, 3], &[3]]).unwrap(), [4, 5, 3]);
        assert_eq!(shape(Average::new(), &[&[3], &[4, 5, 1]]).unwrap(), [4, 5, 3]);
        for inputs in [&[&[4, 2][..], &[4, 3]][..], &[&[4]], &[&[4], &[4, 3, 3]]] {
            let error = shape(Maximum::new(), inputs).unwrap_err().to_string();
            assert!(error.contains("sizes are equal or 1") || error.contains("two or more"), "{error}");
        }
        assert!(shape(Subtract::new(), &[&[4], &[4], &[4]]).unwrap_err().to_string().contains("expected two"));
    }

    #[test]
    fn one_step_adds_inputs_of_the_same_shape() {
        let inputs = [Input::new([4]), Input::new([4]), Input::new([4])];
        let model = Model::new(&inputs[..], &Add::new().call(&inputs[..]).unwrap()).unwrap();
        assert_eq!(Program::of(&model, false, 0).unwrap().steps.len(), 1);
    }
}
