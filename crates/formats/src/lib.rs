//! Model files: Keras archives and HDF5 weights, read and written.

pub mod atomic;
pub mod h5;
pub mod keras;
pub mod onnx;
