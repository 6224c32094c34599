//! Arithmetic operations on tensors and constants: add, subtract, multiply, divide, negate.

use serde_json::{Map, Value};

use super::super::rescaling::{PerChannel, Rescaling};
use super::super::{Add, Multiply, Subtract};
use super::constant::per_channel;
use super::{is_tensor, one_tensor, options};
use crate::layer::LayerDef;
use crate::{Error, Result};

/// The config of an operation without options.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

/// The two operands of a call, in order.
enum Operands {
    Tensors,
    TensorAndConstant(PerChannel),
    ConstantAndTensor(PerChannel),
}

impl Operands {
    fn of(config: &Map<String, Value>, arguments: &[Value]) -> Result<Self> {
        options::<NoOptions>(config)?;
        match arguments {
            [a, b] if is_tensor(a) && is_tensor(b) => Ok(Self::Tensors),
            [a, b] if is_tensor(a) => per_channel(b).map(Self::TensorAndConstant),
            [a, b] if is_tensor(b) => per_channel(a).map(Self::ConstantAndTensor),
            _ => Err(Error::new("arguments", "two tensors, or a tensor and a constant", Value::from(arguments))),
        }
    }
}

/// `x * scale + offset`.
fn rescaling(scale: PerChannel, offset: PerChannel) -> Result<Box<dyn LayerDef>> {
    Ok(Box::new(Rescaling::new(scale).offset(offset)))
}

fn map(values: PerChannel, f: impl Fn(f32) -> f32) -> PerChannel {
    match values {
        PerChannel::One(value) => PerChannel::One(f(value)),
        PerChannel::Each(values) => PerChannel::Each(values.into_iter().map(f).collect()),
    }
}

pub(super) fn add(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    match Operands::of(config, arguments)? {
        Operands::Tensors => Ok(Box::new(Add::new())),
        Operands::TensorAndConstant(c) | Operands::ConstantAndTensor(c) => rescaling(1.0.into(), c),
    }
}

pub(super) fn subtract(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    match Operands::of(config, arguments)? {
        Operands::Tensors => Ok(Box::new(Subtract::new())),
        Operands::TensorAndConstant(c) => rescaling(1.0.into(), map(c, |c| -c)),
        Operands::ConstantAndTensor(c) => rescaling((-1.0).into(), c),
    }
}

pub(super) fn multiply(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    match Operands::of(config, arguments)? {
        Operands::Tensors => Ok(Box::new(Multiply::new())),
        Operands::TensorAndConstant(c) | Operands::ConstantAndTensor(c) => rescaling(c, 0.0.into()),
    }
}

pub(super) fn divide(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    match Operands::of(config, arguments)? {
        Operands::TensorAndConstant(c) => rescaling(map(c, f32::recip), 0.0.into()),
        Operands::Tensors | Operands::ConstantAndTensor(_) => {
            Err(Error::new("arguments", "a tensor divided by a constant", Value::from(arguments)))
        }
    }
}

pub(super) fn negative(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    one_tensor(arguments)?;
    rescaling((-1.0).into(), 0.0.into())
}
