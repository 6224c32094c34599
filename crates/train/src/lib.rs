//! fit, evaluate and predict; callbacks and History.
//!
//! The [`Train`] trait gives every compiled [`Model`](engraft_nn::Model) Keras' methods. [`callbacks`] act while a model trains.

pub mod callbacks;

mod callback;
mod evaluate;
mod fit;
mod fit_loop;
mod history;
mod options;
mod prefetch;
mod speed;
mod targets;
mod train;
mod training;

pub use callback::{BatchEnd, Callback, EpochEnd, TrainBegin};
pub use evaluate::Evaluation;
pub use fit::Fit;
pub use history::{Averages, History};
pub use options::RunOptions;
pub use speed::{LayerSpeed, Speed, Task};
pub use targets::Targets;
pub use train::Train;
pub use training::Training;
