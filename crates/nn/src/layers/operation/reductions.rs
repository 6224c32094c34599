//! Reductions: sum, mean, extrema, product, variance, norms, and functions made of them.

use engraft_ir::{Activation, Binary, Reduction, Unary};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::expression::{Composed, Expression, Operand, only};
use super::axes::{Axes, without_batch};
use super::{one_tensor, options};
use crate::layer_def::LayerDef;
use crate::{Error, Result};

/// Keras' `backend.epsilon()`.
const EPSILON: f32 = 1e-7;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    axis: Option<Axes>,
    keepdims: bool,
    /// A bound of the maximum or minimum.
    #[serde(default)]
    initial: Option<f32>,
    /// The data type of a product; null stands for the tensor's own.
    #[serde(default)]
    dtype: Option<String>,
}

impl Options {
    fn read(config: &Map<String, Value>, arguments: &[Value]) -> Result<Self> {
        one_tensor(arguments)?;
        let options: Self = options(config)?;
        match options.dtype.as_deref() {
            None | Some("float32") => Ok(options),
            Some(other) => Err(Error::new("dtype", "float32", other)),
        }
    }
}

/// A reduction of the only tensor, which `compute` composes from the tensor, the axes and `keepdims`.
fn of_axes(
    config: &Map<String, Value>,
    arguments: &[Value],
    compute: impl Fn(&mut Expression, Operand, &[usize], bool) -> Result<Operand> + Send + Sync + 'static,
) -> Result<Box<dyn LayerDef>> {
    let Options { axis, keepdims, initial, .. } = Options::read(config, arguments)?;
    if let Some(initial) = initial {
        return Err(Error::new("initial", "none", initial));
    }
    let axes = without_batch(axis)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let x = only(x)?;
        let axes = axes.of_sample(e.shape(x).len())?;
        compute(e, x, &axes, keepdims)
    })))
}

pub(super) fn reduce(
    reduction: Reduction,
    config: &Map<String, Value>,
    arguments: &[Value],
) -> Result<Box<dyn LayerDef>> {
    let Options { axis, keepdims, initial, .. } = Options::read(config, arguments)?;
    let axes = without_batch(axis)?;
    let bounds = match (reduction, initial) {
        (_, None) => None,
        (Reduction::Max, Some(low)) => Some((low, f32::INFINITY)),
        (Reduction::Min, Some(high)) => Some((f32::NEG_INFINITY, high)),
        (_, Some(initial)) => return Err(Error::new("initial", "none", initial)),
    };
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let x = only(x)?;
        let axes = axes.of_sample(e.shape(x).len())?;
        let result = e.reduce(reduction, x, &axes, keepdims)?;
        match bounds {
            Some((low, high)) => e.unary(Unary::Clip { low, high }, result),
            None => Ok(result),
        }
    })))
}

/// `average(x, weights=None)`: the mean.
pub(super) fn average(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let mut config = config.clone();
    config.insert("keepdims".into(), false.into());
    reduce(Reduction::Mean, &config, arguments)
}

/// The mean squared deviation from the mean.
fn variance(e: &mut Expression, x: Operand, axes: &[usize], keepdims: bool) -> Result<Operand> {
    let mean = e.reduce(Reduction::Mean, x, axes, true)?;
    let deviation = e.binary(Binary::Subtract, x, mean)?;
    let square = e.unary(Unary::Square, deviation)?;
    e.reduce(Reduction::Mean, square, axes, keepdims)
}

pub(super) fn var(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_axes(config, arguments, variance)
}

pub(super) fn std(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_axes(config, arguments, |e, x, axes, keepdims| {
        let variance = variance(e, x, axes, keepdims)?;
        e.unary(Unary::Sqrt, variance)
    })
}

/// `log(sum(exp(x)))`, with the maximum subtracted first, so that `exp` can't overflow.
pub(super) fn logsumexp(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    of_axes(config, arguments, |e, x, axes, keepdims| {
        let most = e.reduce(Reduction::Max, x, axes, true)?;
        let sum = sum_of_exponentials(e, x, most, axes)?;
        let logarithm = e.unary(Unary::Log, sum)?;
        let result = e.binary(Binary::Add, logarithm, most)?;
        match keepdims {
            true => Ok(result),
            // A sum along axes of size 1 removes them.
            false => e.reduce(Reduction::Sum, result, axes, false),
        }
    })
}

/// `sum(exp(x - most))` along axes, which stay with size 1.
fn sum_of_exponentials(e: &mut Expression, x: Operand, most: Operand, axes: &[usize]) -> Result<Operand> {
    let shifted = e.binary(Binary::Subtract, x, most)?;
    let powers = e.activation(Activation::Exponential, shifted)?;
    e.reduce(Reduction::Sum, powers, axes, true)
}

/// The logarithm of the softmax, without the softmax itself, which may round to 0.
pub(super) fn log_softmax(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let axes = axes_alone(config, arguments)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let x = only(x)?;
        let axes = axes.of_sample(e.shape(x).len())?;
        let most = e.reduce(Reduction::Max, x, &axes, true)?;
        let sum = sum_of_exponentials(e, x, most, &axes)?;
        let logarithm = e.unary(Unary::Log, sum)?;
        let shifted = e.binary(Binary::Subtract, x, most)?;
        e.binary(Binary::Subtract, shifted, logarithm)
    })))
}

/// Softmax along one or several axes.
pub(super) fn softmax(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let axes = axes_alone(config, arguments)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let x = only(x)?;
        let axes = axes.of_sample(e.shape(x).len())?;
        e.softmax(x, &axes)
    })))
}

fn axes_alone(config: &Map<String, Value>, arguments: &[Value]) -> Result<Axes> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis: Option<Axes>,
    }
    one_tensor(arguments)?;
    without_batch(options::<Options>(config)?.axis)
}

/// The order of a norm: null or `"fro"` for the Euclidean one, or a number `p` for `sum(|x|^p)^(1/p)`.
#[derive(Clone, Copy, Debug)]
enum Order {
    Euclidean,
    Power(f32),
}

impl Order {
    fn read(order: &Value, axes: usize) -> Result<Self> {
        match (order, order.as_f64()) {
            (Value::Null, _) if axes <= 2 => Ok(Self::Euclidean),
            (Value::String(name), _) if name == "fro" && axes == 2 => Ok(Self::Euclidean),
            (_, Some(2.0)) if axes == 1 => Ok(Self::Euclidean),
            (_, Some(order)) if axes == 1 && order > 0.0 => Ok(Self::Power(order as f32)),
            _ => {
                let expected = "null, `fro` for two axes, or a positive number for one axis";
                Err(Error::new("ord", expected, format_args!("{order} for {axes} axes")))
            }
        }
    }

    fn norm(self, e: &mut Expression, x: Operand, axes: &[usize], keepdims: bool) -> Result<Operand> {
        let Self::Power(order) = self else {
            let square = e.unary(Unary::Square, x)?;
            let sum = e.reduce(Reduction::Sum, square, axes, keepdims)?;
            return e.unary(Unary::Sqrt, sum);
        };
        let size = e.unary(Unary::Absolute, x)?;
        if order == 1.0 {
            return e.reduce(Reduction::Sum, size, axes, keepdims);
        }
        let exponent = e.number_like(order, size)?;
        let powers = e.binary(Binary::Power, size, exponent)?;
        let sum = e.reduce(Reduction::Sum, powers, axes, keepdims)?;
        let exponent = e.number_like(1.0 / order, sum)?;
        e.binary(Binary::Power, sum, exponent)
    }
}

pub(super) fn norm(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let mut config = config.clone();
    let order = config.remove("ord").unwrap_or(Value::Null);
    let axes = config.get("axis").and_then(Value::as_array).map_or(1, Vec::len);
    let order = Order::read(&order, axes)?;
    of_axes(&config, arguments, move |e, x, axes, keepdims| order.norm(e, x, axes, keepdims))
}

/// `x` divided by its norm, which is at least epsilon.
pub(super) fn normalize(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis: Option<Axes>,
        order: u32,
        epsilon: Option<f32>,
    }
    one_tensor(arguments)?;
    let Options { axis, order, epsilon } = options(config)?;
    let (axes, epsilon) = (without_batch(axis)?, epsilon.unwrap_or(EPSILON));
    let general = if order == 2 { None } else { Some(Order::read(&order.into(), axes.list().len())?) };
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let x = only(x)?;
        let axes = axes.of_sample(e.shape(x).len())?;
        match general {
            Some(order) => {
                let norm = order.norm(e, x, &axes, true)?;
                let divisor = e.unary(Unary::Clip { low: epsilon, high: f32::INFINITY }, norm)?;
                e.binary(Binary::Divide, x, divisor)
            }
            None => l2_normalized(e, x, &axes, 1.0 / epsilon),
        }
    })))
}

/// `x` times the reciprocal of its Euclidean norm, which is at most `limit`.
pub(in super::super) fn l2_normalized(e: &mut Expression, x: Operand, axes: &[usize], limit: f32) -> Result<Operand> {
    let square = e.unary(Unary::Square, x)?;
    let sum = e.reduce(Reduction::Sum, square, axes, true)?;
    let factor = e.unary(Unary::Rsqrt, sum)?;
    let factor = e.unary(Unary::Clip { low: f32::NEG_INFINITY, high: limit }, factor)?;
    e.binary(Binary::Multiply, x, factor)
}
