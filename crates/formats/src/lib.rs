//! Readers and writers of model and array files: Keras archives and HDF5, safetensors, NumPy, and ONNX.
//!
//! Each format has a module of its own. [`inspect`](mod@inspect) tells what any of these files holds, [`foreign`] what other
//! files are, and [`atomic`] replaces files safely. Layers and weights are those of the crate `engraft_nn`.

mod archive;
pub mod atomic;
mod element_type;
mod error;
mod expansion;
mod failing_once;
mod float_type;
pub mod foreign;
pub mod h5;
pub mod inspect;
pub mod json;
pub mod keras;
pub mod npy;
pub mod onnx;
mod pickle;
pub mod safetensors;
mod unique_names;

pub use float_type::FloatType;
