//! Layers that join several inputs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::config_of;
use crate::layer::{LayerDef, Shape};
use crate::plan::{Lowering, Op, ValueId};
use crate::{Error, Result};

/// The sum of inputs of one shape (Keras' `Add`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let (a, b) = (Input::new([4]), Input::new([4]));
/// assert_eq!(Add::new().call([&a, &b])?.shape(), &[4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {}

impl Add {
    /// The only one there is.
    pub fn new() -> Self {
        Self {}
    }
}

impl LayerDef for Add {
    fn class_name(&self) -> &'static str {
        "Add"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [first, others @ ..] if !others.is_empty() && others.iter().all(|other| other == first) => {
                Ok(first.clone())
            }
            _ => Err(Error::new("inputs", "two or more of one shape", format_args!("{inputs:?}"))),
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Add, inputs, shape))
    }
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

fn last() -> i64 {
    -1
}

impl Default for Concatenate {
    fn default() -> Self {
        Self::new()
    }
}

impl Concatenate {
    /// Along the last axis.
    pub fn new() -> Self {
        Self { axis: last() }
    }

    /// Along another axis: 1 is the first after the batch, -1 the last.
    #[must_use]
    pub fn axis(mut self, axis: i64) -> Self {
        self.axis = axis;
        self
    }

    /// The axis among those of a sample.
    fn sample_axis(&self, rank: usize) -> Result<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis - 1 };
        usize::try_from(axis).ok().filter(|&axis| axis < rank).ok_or_else(|| {
            Error::new("axis", format_args!("1 to {rank} or -{rank} to -1 (the batch can't be joined)"), self.axis)
        })
    }
}

impl LayerDef for Concatenate {
    fn class_name(&self) -> &'static str {
        "Concatenate"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Some(first) = inputs.first() else {
            return Err(Error::new("inputs", "at least one", "none"));
        };
        let axis = self.sample_axis(first.len())?;
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
        let axis = self.sample_axis(shape.len())?;
        Ok(to.push(Op::Concatenate { axis }, inputs, shape))
    }
}
