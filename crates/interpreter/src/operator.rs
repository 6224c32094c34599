//! Dispatches a node to its operator: the operators that [`save`](fn@engraft_formats::onnx::save) writes.

use engraft_nn::Result;

use super::node::Node;
use super::value::Value;
use super::{conv, conv_transpose, data_movement, elementwise, matmul, normalize, reduce, resize, unary, window};

/// `TensorProto.DataType.FLOAT`.
const FLOAT: i64 = 1;

/// `TensorProto.DataType.INT64`.
const INT64: i64 = 7;
/// `TensorProto.DataType.BOOL`.
const BOOL: i64 = 9;

/// Computes a node's output.
///
/// # Errors
/// Where the operator or an attribute is unknown, or inputs have wrong types or shapes.
pub(super) fn operator(node: &mut Node<'_>) -> Result<Value> {
    node.require_onnx_domain()?;
    let value = match node.op_type() {
        "Conv" => conv::conv(node)?,
        "ConvTranspose" => conv_transpose::conv_transpose(node)?,
        "MaxPool" | "AveragePool" => window::pool(node)?,
        "GlobalMaxPool" | "GlobalAveragePool" => window::global_pool(node)?,
        "MatMul" => matmul::matmul(node)?,
        "Gemm" => matmul::gemm(node)?,
        "BatchNormalization" => normalize::batch_norm(node)?,
        "Softmax" => normalize::softmax(node)?,
        "LogSoftmax" => normalize::log_softmax(node)?,
        "LayerNormalization" => normalize::layer_norm(node)?,
        "PRelu" => elementwise::fold(node, |x, slope| if x < 0.0 { x * slope } else { x })?,
        "Add" | "Sum" => elementwise::fold(node, |a, b| a + b)?,
        "Sub" => elementwise::fold(node, |a, b| a - b)?,
        "Mul" => elementwise::fold(node, |a, b| a * b)?,
        "Div" => elementwise::fold(node, |a, b| a / b)?,
        "Pow" => elementwise::fold(node, f32::powf)?,
        "Min" => elementwise::fold(node, |a, b| if a < b || a.is_nan() { a } else { b })?,
        "Max" => elementwise::fold(node, |a, b| if a > b || a.is_nan() { a } else { b })?,
        "Equal" => elementwise::compare(node, |a, b| a == b)?,
        "Greater" => elementwise::compare(node, |a, b| a > b)?,
        "GreaterOrEqual" => elementwise::compare(node, |a, b| a >= b)?,
        "Less" => elementwise::compare(node, |a, b| a < b)?,
        "LessOrEqual" => elementwise::compare(node, |a, b| a <= b)?,
        "Where" => elementwise::select(node)?,
        "Transpose" => data_movement::transposed(node)?,
        "Flatten" => data_movement::flatten(node)?,
        "Reshape" => data_movement::reshape(node)?,
        "Concat" => data_movement::concat(node)?,
        "Gather" => data_movement::gather(node)?,
        "Slice" => data_movement::slice(node)?,
        "Pad" => data_movement::pad(node)?,
        "Expand" => data_movement::expand(node)?,
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL2" => reduce::reduce(node)?,
        "Shape" => data_movement::shape(node)?,
        "Resize" => resize::resize(node)?,
        "Identity" => node.value(0)?.clone(),
        "Cast" => cast(node)?,
        other => match unary::unary(node)? {
            Some(value) => value,
            None => return Err(node.unsupported("an operator that is known here", format_args!("`{other}`"))),
        },
    };
    node.no_more_attributes()?;
    Ok(value)
}

/// `Cast` to f32 or booleans. To f32 it is a copy, since f16 was widened already when the file was read, and booleans are 0 and 1.
/// A `Cast` to integers truncates; indices with several axes stay f32, which holds integers up to 2^24.
fn cast(node: &mut Node<'_>) -> Result<Value> {
    match node.int("to", 0)? {
        FLOAT => node.floats(0).cloned().map(Value::Floats),
        BOOL => elementwise::map(node, |x| if x == 0.0 { 0.0 } else { 1.0 }),
        INT64 => elementwise::map(node, f32::trunc),
        to => Err(node.unsupported(format_args!("data type {FLOAT}, f32, {BOOL}, booleans, or {INT64}, i64"), to)),
    }
}
