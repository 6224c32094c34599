//! Files of models and arrays: Keras archives and HDF5, safetensors, NumPy, and ONNX.

mod archive;
pub mod atomic;
mod budget;
mod error;
pub mod h5;
pub mod inspect;
pub mod json;
pub mod keras;
pub mod npy;
mod numbers;
pub mod onnx;
mod paths;
mod pickle;
pub mod safetensors;

pub use numbers::Precision;
