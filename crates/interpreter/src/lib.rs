//! An interpreter for ONNX graphs: a second opinion on the files that engraft writes.
//!
//! [`OnnxModel`] computes each operator by its definition in ONNX, channels first, one after the other. It shares
//! only the matrix product with the way models are executed in this workspace, so an exported file that answers as
//! its model does says what the model computes. It is not fast.

mod axes;
mod conv;
mod elementwise;
mod function;
mod liveness;
mod matrix;
mod model;
mod node;
mod normalize;
mod operator;
mod resize;
mod value;
mod window;

#[cfg(test)]
mod testing;

pub use self::model::OnnxModel;
