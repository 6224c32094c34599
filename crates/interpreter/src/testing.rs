//! Constructors of attributes and tensors for tests.

use engraft_formats::onnx::{Attribute, AttributeValue};
use engraft_nn::Tensor;

use crate::value::Value;

pub(crate) fn tensor<const N: usize>(shape: [usize; N], values: &[f32]) -> Value {
    Value::Floats(Tensor::new(shape, values.to_vec()).unwrap())
}

pub(crate) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::Int(value) }
}

pub(crate) fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::Float(value) }
}

pub(crate) fn string(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::String(value.into()) }
}

pub(crate) fn ints(name: &str, values: &[usize]) -> Attribute {
    let values = values.iter().map(|&value| value as i64).collect();
    Attribute { name: name.into(), value: AttributeValue::Ints(values) }
}
