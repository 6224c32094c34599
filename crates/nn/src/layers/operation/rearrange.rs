//! Operations on axes: concatenate, stack, flip, expand, squeeze, reshape and transpose.

use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::axis_option::sample_axis;
use super::super::options::single;
use super::super::{Concatenate, Permute, reshape as shapes};
use super::{Flip, list_of_tensors, one_tensor, options};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneAxis {
    axis: i64,
}

pub(super) fn concatenate(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    list_of_tensors(arguments)?;
    let OneAxis { axis } = options(config)?;
    Ok(Box::new(Concatenate::new().axis(axis)))
}

pub(super) fn flip(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    Ok(Box::new(options::<Flip>(config)?))
}

pub(super) fn stack(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    list_of_tensors(arguments)?;
    let OneAxis { axis } = options(config)?;
    Ok(Box::new(Stack { axis }))
}

/// Joins inputs of the same shape along a new axis.
#[derive(Debug)]
struct Stack {
    axis: i64,
}

impl Stack {
    /// Index of the new axis, and the shape of one input with that axis at size 1.
    fn expanded(&self, input: &Shape) -> Result<(usize, Shape)> {
        let axis = sample_axis(self.axis, input.len() + 1)?;
        let mut shape = input.clone();
        shape.insert(axis, 1);
        Ok((axis, shape))
    }
}

impl LayerDef for Stack {
    fn class_name(&self) -> &'static str {
        "Stack"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [first, others @ ..] if others.iter().all(|other| other == first) => {
                let (axis, mut shape) = self.expanded(first)?;
                shape[axis] = inputs.len();
                Ok(shape)
            }
            _ => Err(Error::new("inputs", "one or more of the same shape", format_args!("{inputs:?}"))),
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let (axis, one) = self.expanded(to.shape(inputs[0]))?;
        let parts: Vec<ValueId> = inputs.iter().map(|&input| to.push(Op::Reshape, &[input], one.clone())).collect();
        let mut shape = one;
        shape[axis] = inputs.len();
        Ok(to.push(Op::Concatenate { axis }, &parts, shape))
    }
}

pub(super) fn expand_dims(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    let OneAxis { axis } = options(config)?;
    // A stack of one tensor has the new axis at size 1.
    Ok(Box::new(Stack { axis }))
}

pub(super) fn squeeze(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    let OneAxis { axis } = options(config)?;
    Ok(Box::new(Squeeze { axis }))
}

/// Removes an axis of size 1.
#[derive(Debug)]
struct Squeeze {
    axis: i64,
}

impl LayerDef for Squeeze {
    fn class_name(&self) -> &'static str {
        "Squeeze"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let mut shape = single(inputs)?.clone();
        match shape.remove(sample_axis(self.axis, shape.len())?) {
            1 => Ok(shape),
            size => Err(Error::new("axis", "one of size 1", format_args!("{} of size {size}", self.axis))),
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = self.output_shape(std::slice::from_ref(to.shape(inputs[0])))?;
        Ok(to.push(Op::Reshape, inputs, shape))
    }
}

pub(super) fn reshape(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        newshape: Vec<i64>,
    }
    one_tensor(arguments)?;
    let Options { newshape } = options(config)?;
    match newshape.split_first() {
        // -1 stands for the batch size only if all other sizes are given.
        Some((-1, sample)) if !sample.contains(&-1) => Ok(Box::new(shapes::Reshape::new(sample))),
        _ => Err(Error::new("newshape", "-1 for the batch, then a size for every axis", format!("{newshape:?}"))),
    }
}

pub(super) fn transpose(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axes: Option<Vec<usize>>,
    }
    one_tensor(arguments)?;
    let Options { axes } = options(config)?;
    match axes.as_deref().and_then(<[usize]>::split_first) {
        Some((0, sample)) => Ok(Box::new(Permute::new(sample))),
        _ => Err(Error::new("axes", "0, the batch, first", format_args!("{axes:?}"))),
    }
}
