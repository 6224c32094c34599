//! fit, evaluate and predict; callbacks and History.
//!
//! The [`Train`] trait gives every compiled [`Model`](engraft_nn::Model) Keras' methods.

mod callback;
mod epochs;
mod evaluate;
mod fit;
mod history;
mod memory;
mod precision;
mod prefetch;
mod speed;
mod train;

pub use callback::{BatchEnd, Callback, EpochEnd, Flow, TrainBegin};
pub use evaluate::Evaluation;
pub use fit::Fit;
pub use history::{Averages, History};
pub use memory::{available_memory, ensure_fits, peak_memory, set_memory_limit};
pub use precision::{precision, set_precision};
pub use speed::{LayerSpeed, Speed, Task};
pub use train::{Train, set_threads, threads};
