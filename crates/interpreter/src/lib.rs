//! An interpreter for ONNX graphs, to check the files that engraft exports.
//!
//! [`OnnxModel`] computes one operator after the other by its definition in ONNX, channels first. It shares only the matrix
//! product with the executors of this workspace. So an exported file whose outputs equal the model's was exported correctly.
//!
//! It knows the operators that [`save`](fn@engraft_formats::onnx::save) writes, and is slow.

mod conv;
mod conv_transpose;
mod data_movement;
mod elementwise;
mod liveness;
mod matmul;
mod model;
mod node;
mod normalize;
mod operator;
mod reduce;
mod resize;
mod unary;
mod value;
mod window;

#[cfg(test)]
mod testing;

pub use self::model::OnnxModel;
