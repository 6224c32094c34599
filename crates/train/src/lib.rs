//! Training under Keras' names: fit, evaluate and predict, callbacks, and History.
//!
//! The [`Train`] trait adds Keras' methods to [`Model`](engraft_nn::Model). A [`Callback`] runs code while a model trains;
//! [`callbacks`] has Keras' own. Layers, losses and optimizers are in the crate `engraft-nn`; kernels that compute are in
//! `engraft-cpu`.

pub mod callbacks;

mod callback;
mod evaluate;
mod fit;
mod fit_loop;
mod history;
mod prefetch;
mod run_options;
mod speed;
mod targets;
mod train;
mod training;

pub use callback::{BatchEnd, Callback, EpochEnd, TrainBegin};
pub use evaluate::Evaluation;
pub use fit::Fit;
pub use history::{Averages, History};
pub use run_options::{RunOptions, StepOptions};
pub use speed::{LayerSpeed, Speed, Task};
pub use targets::Targets;
pub use train::Train;
pub use training::Training;
