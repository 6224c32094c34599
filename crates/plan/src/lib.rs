//! The planner, and the interface between plans and the executors that run them.
//!
//! Keras knows the whole graph at `compile` and then runs it layer by layer. Here a model is lowered to a flat
//! [`Program`](engraft_nn::Program), and a [`Plan`] decides the rest before anything runs: which steps are differentiated, fused
//! or run in chunks, which values share a buffer, and how much memory is needed. An executor gives the [`PlanOptions`] that suit
//! its caches and kernels.
//!
//! An [`Executor`] turns a plan into a [`Session`]. A training step has three parts:
//! - [`forward_backward`](Session::forward_backward) computes gradients; a [`GradientReducer`] may sum them over processes;
//! - [`apply`](Session::apply) updates the weights where the executor keeps them, such as on a device;
//! - [`synchronize`](Session::synchronize) copies them back to the model, when it is read.
//!
//! This crate computes nothing: the crate `engraft-cpu` has the executor for CPUs.

mod annotated_program;
mod buffers;
pub mod checks;
mod executor;
mod gradient_reducer;
mod liveness;
mod memory;
mod options;
mod passes;
mod plan;
mod purpose;
mod work;

pub use buffers::Slot;
pub use executor::{Executor, Gradients, LabelledBatch, LayerGradient, Session, StepOutput, StepTime, Update};
pub use gradient_reducer::{BatchPlace, GradientReducer, SingleReplica};
pub use memory::Memory;
pub use options::{PlanOptions, RowStreaming};
pub use passes::RowStream;
pub use plan::Plan;
pub use purpose::{GradientRequest, Purpose};
pub use work::Work;
