//! Functions of two operands, each a tensor or a constant: arithmetic, comparisons, powers, logic.

use engraft_ir::{Binary, Unary};
use serde_json::{Map, Value};

use super::super::expression::{Composed, Expression, Operand};
use super::constant::Constant;
use super::{is_tensor, options, received};
use crate::layer_def::LayerDef;
use crate::{Error, Result};

/// The config of an operation without options.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

/// The two operands of a call, in order.
#[derive(Debug)]
enum Operands {
    Tensors,
    TensorAndConstant(Constant),
    ConstantAndTensor(Constant),
}

impl Operands {
    fn of(arguments: &[Value]) -> Result<Self> {
        match arguments {
            [a, b] if is_tensor(a) && is_tensor(b) => Ok(Self::Tensors),
            [a, b] if is_tensor(a) => Constant::read(b).map(Self::TensorAndConstant),
            [a, b] if is_tensor(b) => Constant::read(a).map(Self::ConstantAndTensor),
            _ => Err(Error::new("arguments", "two tensors, or a tensor and a constant", received(arguments))),
        }
    }

    /// Adds the operands to an expression, and combines them.
    fn combine(&self, function: Binary, e: &mut Expression, x: &[Operand]) -> Result<Operand> {
        match (self, x) {
            (Self::Tensors, [a, b]) => e.binary(function, *a, *b),
            (Self::TensorAndConstant(constant), [x]) => match with_constant(function, e, *x, constant)? {
                Some(result) => Ok(result),
                None => {
                    let constant = operand(e, constant, *x)?;
                    e.binary(function, *x, constant)
                }
            },
            (Self::ConstantAndTensor(constant), [x]) => match constant_with(function, e, constant, *x)? {
                Some(result) => Ok(result),
                None => {
                    let constant = operand(e, constant, *x)?;
                    e.binary(function, constant, *x)
                }
            },
            _ => Err(Error::new("inputs", "as many tensors as in the call", x.len())),
        }
    }
}

/// Adds a constant with the rank of `x`.
pub(super) fn operand(e: &mut Expression, constant: &Constant, x: Operand) -> Result<Operand> {
    let shape = constant.sample_shape(e.shape(x).len())?;
    e.constant(constant.values.clone(), shape)
}

/// `function(x, constant)` where a simpler operation computes it: with one constant per channel, or a special number.
fn with_constant(function: Binary, e: &mut Expression, x: Operand, constant: &Constant) -> Result<Option<Operand>> {
    let shape = e.shape(x).clone();
    let same = |values: &[f32], value: f32| vec![value; values.len()];
    let map = |values: Vec<f32>, f: fn(f32) -> f32| values.into_iter().map(f).collect::<Vec<f32>>();
    if let (Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide, Some(values)) =
        (function, constant.per_channel(&shape))
    {
        let (scale, shift) = match function {
            Binary::Add => (same(&values, 1.0), values),
            Binary::Subtract => (same(&values, 1.0), map(values, |c| -c)),
            Binary::Multiply => (values.clone(), same(&values, 0.0)),
            _ => (map(values.clone(), f32::recip), same(&values, 0.0)),
        };
        return e.scale_shift_channels(x, scale, shift).map(Some);
    }
    let Some(number) = constant.number().filter(|_| constant.shape.len() <= shape.len() + 1) else { return Ok(None) };
    match (function, number) {
        (Binary::Power, 1.0) => Ok(Some(x)),
        (Binary::Power, 2.0) => e.unary(Unary::Square, x).map(Some),
        (Binary::Power, 0.5) => e.unary(Unary::Sqrt, x).map(Some),
        (Binary::Power, -0.5) => e.unary(Unary::Rsqrt, x).map(Some),
        (Binary::Power, -1.0) => e.unary(Unary::Reciprocal, x).map(Some),
        (Binary::Maximum, low) => e.unary(Unary::Clip { low, high: f32::INFINITY }, x).map(Some),
        (Binary::Minimum, high) => e.unary(Unary::Clip { low: f32::NEG_INFINITY, high }, x).map(Some),
        _ => Ok(None),
    }
}

/// `function(constant, x)` where a simpler operation computes it.
fn constant_with(function: Binary, e: &mut Expression, constant: &Constant, x: Operand) -> Result<Option<Operand>> {
    match (function, constant.per_channel(e.shape(x))) {
        (Binary::Add | Binary::Multiply, Some(_)) => with_constant(function, e, x, constant),
        (Binary::Subtract, Some(values)) => e.scale_shift_channels(x, vec![-1.0; values.len()], values).map(Some),
        _ => Ok(None),
    }
}

/// A function of two operands.
pub(super) fn binary(function: Binary, config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    let operands = Operands::of(arguments)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| operands.combine(function, e, x))))
}

/// `a / b`, and 0 where `b` is 0.
pub(super) fn divide_no_nan(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_two(config, arguments, |e, a, b| {
        let zero = e.number_like(0.0, b)?;
        let is_zero = e.binary(Binary::Equal, b, zero)?;
        // 1 replaces a divisor of 0, so that neither the quotient nor its gradient is NaN there.
        let divisor = e.binary(Binary::Add, b, is_zero)?;
        let quotient = e.binary(Binary::Divide, a, divisor)?;
        e.binary(Binary::Mask, quotient, b)
    })
}

pub(super) fn logical_and(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_two(config, arguments, |e, a, b| {
        let a = is_true(e, a)?;
        e.binary(Binary::Mask, a, b)
    })
}

pub(super) fn logical_or(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_two(config, arguments, |e, a, b| {
        let (a, b) = (is_true(e, a)?, is_true(e, b)?);
        e.binary(Binary::Maximum, a, b)
    })
}

pub(super) fn logical_xor(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_two(config, arguments, |e, a, b| {
        let (a, b) = (is_true(e, a)?, is_true(e, b)?);
        e.binary(Binary::NotEqual, a, b)
    })
}

/// 1 where `x` isn't 0.
pub(super) fn is_true(e: &mut Expression, x: Operand) -> Result<Operand> {
    let zero = e.number_like(0.0, x)?;
    e.binary(Binary::NotEqual, x, zero)
}

/// An operation on two operands, each a tensor or a constant, which `compute` composes.
fn of_two(
    config: &Map<String, Value>,
    arguments: &[Value],
    compute: impl Fn(&mut Expression, Operand, Operand) -> Result<Operand> + Send + Sync + 'static,
) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    let operands = Operands::of(arguments)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let first = *x.first().ok_or_else(|| Error::new("inputs", "a tensor", "none"))?;
        let (a, b) = match &operands {
            Operands::Tensors => (first, *x.get(1).ok_or_else(|| Error::new("inputs", "two tensors", x.len()))?),
            Operands::TensorAndConstant(constant) => (first, operand(e, constant, first)?),
            Operands::ConstantAndTensor(constant) => (operand(e, constant, first)?, first),
        };
        compute(e, a, b)
    })))
}

/// `where(condition, x1, x2)`: `x1` where the condition isn't 0, else `x2`. Each is a tensor or a constant.
pub(super) fn select(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    let [_, _, _] = arguments else {
        return Err(Error::new("arguments", "a condition and two operands", received(arguments)));
    };
    let constants = arguments.iter().map(|argument| match is_tensor(argument) {
        true => Ok(None),
        false => Constant::read(argument).map(Some),
    });
    let constants: Vec<Option<Constant>> = constants.collect::<Result<_>>()?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let first = *x.first().ok_or_else(|| Error::new("inputs", "a tensor", "none"))?;
        let mut tensors = x.iter();
        let mut operands = Vec::with_capacity(3);
        for constant in &constants {
            operands.push(match constant {
                Some(constant) => operand(e, constant, first)?,
                None => {
                    *tensors.next().ok_or_else(|| Error::new("inputs", "as many tensors as in the call", x.len()))?
                }
            });
        }
        where_true(e, operands[0], operands[1], operands[2])
    })))
}

/// `yes` where `condition` isn't 0, else `no`.
pub(in crate::layers) fn where_true(
    e: &mut Expression,
    condition: Operand,
    yes: Operand,
    no: Operand,
) -> Result<Operand> {
    let zero = e.number_like(0.0, condition)?;
    let is_false = e.binary(Binary::Equal, condition, zero)?;
    // Each side is 0 where it isn't selected, even if its value there is NaN or infinite.
    let yes = e.binary(Binary::Mask, yes, condition)?;
    let no = e.binary(Binary::Mask, no, is_false)?;
    e.binary(Binary::Add, yes, no)
}
