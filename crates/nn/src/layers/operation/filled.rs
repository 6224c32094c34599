//! Tensors of the shape of another that are filled with a constant: `zeros_like`, `ones_like`, `full_like`.

use engraft_ir::Binary;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::expression::{Expression, Operand};
use super::arithmetic::operand;
use super::constant::Constant;
use super::rearrange::of_tensor;
use super::{is_tensor, options, received};
use crate::layer_def::LayerDef;
use crate::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    dtype: Option<String>,
}

pub(super) fn zeros_like(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<Options>(config)?;
    of_tensor(arguments, zeros)
}

pub(super) fn ones_like(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<Options>(config)?;
    of_tensor(arguments, |e, x| {
        let zeros = zeros(e, x)?;
        e.scale_shift(zeros, 1.0, 1.0)
    })
}

/// `full_like(x, fill_value)`, with a number or an array that is broadcast to `x`.
pub(super) fn full_like(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let Options { dtype } = options(config)?;
    if let Some(dtype) = dtype.filter(|dtype| !dtype.contains("float")) {
        return Err(Error::new("dtype", "null or a dtype of floats", dtype).with_kind(ErrorKind::Unsupported));
    }
    let (tensor, fill) = match arguments {
        [tensor, fill] if is_tensor(tensor) && !is_tensor(fill) => (tensor, Constant::read(fill)?),
        _ => return Err(Error::new("arguments", "a tensor and a constant", received(arguments))),
    };
    of_tensor(std::slice::from_ref(tensor), move |e, x| {
        let zeros = zeros(e, x)?;
        let fill = operand(e, &fill, zeros)?;
        e.binary(Binary::Add, zeros, fill)
    })
}

/// Zeros of the shape of `x`, also where `x` is infinite or NaN. Their gradient with respect to `x` is 0.
fn zeros(e: &mut Expression, x: Operand) -> Result<Operand> {
    let nowhere = e.number_like(0.0, x)?;
    e.binary(Binary::Mask, x, nowhere)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::{Input, operation_from_config, tensor_argument};

    #[test]
    fn the_fill_is_broadcast_to_the_shape_of_the_tensor() {
        let full = |config: Value, fill: Value| {
            let config = config.as_object().unwrap().clone();
            operation_from_config("FullLike", config, vec![tensor_argument(), fill])?.call(&Input::new([2, 3]))
        };
        assert_eq!(full(json!({"dtype": null}), json!([1, 2, 3])).unwrap().shape(), &[2, 3]);
        for (config, fill, expected) in [
            (json!({"dtype": "int32"}), json!(2.5), "dtype: expected null or a dtype of floats, received int32"),
            (json!({}), tensor_argument(), "expected a tensor and a constant, received a tensor, a tensor"),
            (json!({}), json!([1, 2]), "whose sizes are equal or 1 along each axis"),
        ] {
            let error = full(config, fill).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
