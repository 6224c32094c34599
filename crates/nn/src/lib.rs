//! Layers, graphs and models in Keras' vocabulary, and the planner that turns them into programs.

mod error;
mod tensor;

pub use error::{Error, Result};
pub use tensor::Tensor;
