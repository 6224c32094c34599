//! The operators that [`save`](fn@engraft_formats::onnx::save) writes.

use engraft_nn::Result;

use super::node::Node;
use super::value::Value;
use super::{axes, conv, elementwise, function, matrix, normalize, resize, window};

/// `TensorProto.DataType.FLOAT`.
const FLOAT: i64 = 1;

/// What a node makes of its inputs.
///
/// # Errors
/// An operator or attribute that isn't known here, or inputs that don't fit.
pub(super) fn operator(node: &mut Node<'_>) -> Result<Value> {
    node.must_be_onnx()?;
    let value = match node.op_type() {
        "Conv" => conv::conv(node)?,
        "MaxPool" | "AveragePool" => window::pool(node)?,
        "GlobalMaxPool" | "GlobalAveragePool" => window::global_pool(node)?,
        "MatMul" => matrix::matmul(node)?,
        "Gemm" => matrix::matrices(node)?,
        "BatchNormalization" => normalize::batch_norm(node)?,
        "Softmax" => normalize::softmax(node)?,
        "Add" | "Sum" => elementwise::fold(node, |a, b| a + b)?,
        "Sub" => elementwise::fold(node, |a, b| a - b)?,
        "Mul" => elementwise::fold(node, |a, b| a * b)?,
        "Min" => elementwise::fold(node, |a, b| if a < b || a.is_nan() { a } else { b })?,
        "Greater" => elementwise::fold(node, |a, b| if a > b { 1.0 } else { 0.0 })?,
        "Where" => elementwise::choose(node)?,
        "Transpose" => axes::transposed(node)?,
        "Flatten" => axes::flatten(node)?,
        "Reshape" => axes::reshape(node)?,
        "Concat" => axes::concat(node)?,
        "Gather" => axes::gather(node)?,
        "Slice" => axes::slice(node)?,
        "Pad" => axes::pad(node)?,
        "Shape" => axes::shape(node)?,
        "Resize" => resize::resize(node)?,
        "Identity" => node.value(0)?.clone(),
        "Cast" => cast(node)?,
        other => match function::function(node)? {
            Some(value) => value,
            None => return Err(node.unsupported("an operator that is known here", format_args!("`{other}`"))),
        },
    };
    node.no_more_attributes()?;
    Ok(value)
}

/// f16 is widened when a file is read.
fn cast(node: &mut Node<'_>) -> Result<Value> {
    let to = node.int("to", 0)?;
    if to != FLOAT {
        return Err(node.unsupported(format_args!("data type {FLOAT}, f32"), to));
    }
    node.floats(0).cloned().map(Value::Floats)
}
