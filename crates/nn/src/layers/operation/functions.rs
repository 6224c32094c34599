//! Functions of each element, casts and pooling.

use engraft_ir::Activation as Elementwise;
use engraft_ir::{Binary, Unary};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::axis_option::sample_axis;
use super::super::expression::{Expression, Operand};
use super::super::{AveragePooling2D, ELU, LeakyReLU, MaxPooling2D, ReLU};
use super::arithmetic::{NoOptions, is_true, where_true};
use super::rearrange::of_tensor;
use super::{one_tensor, options};
use crate::layer_def::LayerDef;
use crate::{Error, Result};

pub(super) fn unary(function: Unary, config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, move |e, x| e.unary(function, x))
}

pub(super) fn activation(
    function: Elementwise,
    config: &Map<String, Value>,
    arguments: &[Value],
) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, move |e, x| e.activation(function, x))
}

/// The function times a constant.
pub(super) fn scaled(
    function: Unary,
    factor: f32,
    config: &Map<String, Value>,
    arguments: &[Value],
) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, move |e, x| {
        let y = e.unary(function, x)?;
        e.scale_shift(y, factor, 0.0)
    })
}

pub(super) fn gelu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        approximate: bool,
    }
    let Options { approximate } = options(config)?;
    activation(Elementwise::Gelu { approximate }, &Map::new(), arguments)
}

/// `min(max(x, x_min), x_max)`.
pub(super) fn clip(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        x_min: f32,
        x_max: f32,
    }
    let Options { x_min: low, x_max: high } = options(config)?;
    unary(Unary::Clip { low, high }, &Map::new(), arguments)
}

/// Rounds to a number of decimals.
pub(super) fn round(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        decimals: i32,
    }
    let factor = 10f64.powi(options::<Options>(config)?.decimals) as f32;
    of_tensor(arguments, move |e, x| {
        if factor == 1.0 {
            return e.unary(Unary::Round, x);
        }
        let scaled = e.scale_shift(x, factor, 0.0)?;
        let rounded = e.unary(Unary::Round, scaled)?;
        let divisor = e.number_like(factor, rounded)?;
        e.binary(Binary::Divide, rounded, divisor)
    })
}

/// `1 - erf(x)`.
pub(super) fn erfc(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |e, x| {
        let y = e.unary(Unary::Erf, x)?;
        e.scale_shift(y, -1.0, 1.0)
    })
}

/// `2^x`.
pub(super) fn exp2(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |e, x| {
        let two = e.number_like(2.0, x)?;
        e.binary(Binary::Power, two, x)
    })
}

pub(super) fn logical_not(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |e, x| {
        let zero = e.number_like(0.0, x)?;
        e.binary(Binary::Equal, x, zero)
    })
}

/// Replaces NaN by a number, and infinities by the greatest and least f32.
pub(super) fn nan_to_num(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        nan: f32,
        posinf: Option<f32>,
        neginf: Option<f32>,
    }
    let Options { nan, posinf, neginf } = options(config)?;
    if let Some(infinity) = posinf.or(neginf) {
        return Err(Error::new("posinf and neginf", "none", infinity));
    }
    of_tensor(arguments, move |e, x| {
        let is_nan = e.unary(Unary::IsNan, x)?;
        let replacement = e.number_like(nan, x)?;
        let y = where_true(e, is_nan, replacement, x)?;
        e.unary(Unary::Clip { low: f32::MIN, high: f32::MAX }, y)
    })
}

/// A cast. Every tensor here is f32: integers are floats without a fraction, and booleans are 0 and 1.
pub(super) fn cast(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        dtype: String,
    }
    let Options { dtype } = options(config)?;
    match dtype.as_str() {
        "float16" | "bfloat16" | "float32" | "float64" => of_tensor(arguments, |_, x| Ok(x)),
        "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64" => {
            of_tensor(arguments, |e, x| e.unary(Unary::Truncate, x))
        }
        "bool" => of_tensor(arguments, is_true),
        _ => Err(Error::new("dtype", "a type of floats, integers or booleans", dtype)),
    }
}

/// A copy as a dense tensor, which every tensor here is.
pub(super) fn convert_to_tensor(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[serde(default)]
        dtype: Option<String>,
        sparse: Option<bool>,
        ragged: Option<bool>,
    }
    let Options { dtype, sparse, ragged } = options(config)?;
    if sparse == Some(true) || ragged == Some(true) {
        return Err(Error::new("sparse and ragged", "false", "true"));
    }
    match dtype {
        Some(dtype) => cast(&Map::from_iter([("dtype".to_owned(), dtype.into())]), arguments),
        None => of_tensor(arguments, |_, x| Ok(x)),
    }
}

/// The tensor itself.
pub(super) fn identity(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |_, x| Ok(x))
}

/// A layer that has the same config as the operation.
fn layer<D: LayerDef + serde::de::DeserializeOwned>(
    config: &Map<String, Value>,
    arguments: &[Value],
) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    Ok(Box::new(options::<D>(config)?))
}

pub(super) fn elu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<ELU>(config, arguments)
}

pub(super) fn leaky_relu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<LeakyReLU>(config, arguments)
}

pub(super) fn relu_with_options(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<ReLU>(config, arguments)
}

pub(super) fn max_pool(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<MaxPooling2D>(config, arguments)
}

pub(super) fn average_pool(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<AveragePooling2D>(config, arguments)
}

/// `ln(sigmoid(x))`, computed as `-softplus(-x)`, which doesn't overflow.
pub(super) fn log_sigmoid(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |e, x| {
        let negated = e.unary(Unary::Negative, x)?;
        let y = e.activation(Elementwise::Softplus, negated)?;
        e.unary(Unary::Negative, y)
    })
}

/// `x - tanh(x)`.
pub(super) fn tanh_shrink(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    of_tensor(arguments, |e, x| {
        let y = e.activation(Elementwise::Tanh, x)?;
        e.binary(Binary::Subtract, x, y)
    })
}

/// A number that an option of this name gives.
fn number(config: &Map<String, Value>, name: &str) -> Result<f32> {
    match (config.len(), config.get(name).and_then(Value::as_f64)) {
        (1, Some(number)) => Ok(number as f32),
        _ => Err(Error::new("config", format_args!("a number `{name}` alone"), Value::Object(config.clone()))),
    }
}

/// `x` moved towards 0 by the threshold.
pub(super) fn soft_shrink(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let threshold = number(config, "threshold")?;
    of_tensor(arguments, move |e, x| {
        let inner = e.unary(Unary::Clip { low: -threshold, high: threshold }, x)?;
        e.binary(Binary::Subtract, x, inner)
    })
}

/// `x` where its magnitude is above the threshold, else 0.
pub(super) fn hard_shrink(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let threshold = number(config, "threshold")?;
    of_tensor(arguments, move |e, x| {
        let (size, limit) = (e.unary(Unary::Absolute, x)?, e.number_like(threshold, x)?);
        let is_above = e.binary(Binary::Greater, size, limit)?;
        e.binary(Binary::Mask, x, is_above)
    })
}

/// `x` where it is above the threshold, else another number.
pub(super) fn threshold(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        threshold: f32,
        default_value: f32,
    }
    let Options { threshold, default_value } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let (limit, other) = (e.number_like(threshold, x)?, e.number_like(default_value, x)?);
        let is_above = e.binary(Binary::Greater, x, limit)?;
        where_true(e, is_above, x, other)
    })
}

/// `(x + sqrt(x^2 + b)) / 2`.
pub(super) fn squareplus(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let b = number(config, "b")?;
    of_tensor(arguments, move |e, x| {
        let square = e.unary(Unary::Square, x)?;
        let shifted = e.scale_shift(square, 1.0, b)?;
        let root = e.unary(Unary::Sqrt, shifted)?;
        let sum = e.binary(Binary::Add, x, root)?;
        e.scale_shift(sum, 0.5, 0.0)
    })
}

/// `max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`.
pub(super) fn celu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let alpha = number(config, "alpha")?;
    of_tensor(arguments, move |e, x| {
        let positive = e.unary(Unary::Clip { low: 0.0, high: f32::INFINITY }, x)?;
        let negative = e.unary(Unary::Clip { low: f32::NEG_INFINITY, high: 0.0 }, x)?;
        let scaled = e.scale_shift(negative, 1.0 / alpha, 0.0)?;
        let power = e.unary(Unary::Expm1, scaled)?;
        let bent = e.scale_shift(power, alpha, 0.0)?;
        e.binary(Binary::Add, positive, bent)
    })
}

/// The first half along an axis, times the sigmoid of the second half.
pub(super) fn glu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis: i64,
    }
    let Options { axis } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let shape = e.shape(x).clone();
        let axis = sample_axis(axis, shape.len())?;
        if shape[axis] % 2 != 0 {
            return Err(Error::new("axis", "an even size", shape[axis]));
        }
        let half = |e: &mut Expression, index: usize| -> Result<Operand> {
            let mut ranges: Vec<(usize, isize, usize)> = shape.iter().map(|&size| (0, 1, size)).collect();
            ranges[axis] = (index * shape[axis] / 2, 1, shape[axis] / 2);
            e.slice(x, &ranges)
        };
        let (values, gates) = (half(e, 0)?, half(e, 1)?);
        let gates = e.activation(Elementwise::Sigmoid, gates)?;
        e.binary(Binary::Multiply, values, gates)
    })
}
