//! The planner, and the doors between plans and the executors that run them.
//!
//! Keras knows the whole graph at `compile` and then runs it layer by layer. Here a model is lowered to a flat
//! [`Program`](engraft_nn::Program), and a [`Plan`] decides before anything runs: which steps the backward pass goes through,
//! which run a few samples at a time, which are fused, which values share a buffer, and how much memory that takes. What suits
//! an executor's caches it says itself, by [`PlanOptions`].
//!
//! An [`Executor`] makes a [`Session`] of a plan. A training step has three parts, so that gradients can be summed over
//! processes between them and weights can live where they are computed: [`forward_backward`](Session::forward_backward),
//! [`apply`](Session::apply), [`synchronize`](Session::synchronize).

mod buffers;
mod draft;
mod executor;
mod liveness;
mod memory;
mod options;
mod passes;
mod plan;
mod purpose;
mod reducer;
mod work;

pub use buffers::Slot;
pub use executor::{Executor, Gradients, LabelledBatch, LayerGradient, Session, StepOutput, StepTime, Update};
pub use memory::Memory;
pub use options::{PlanOptions, RowStreaming};
pub use passes::RowStream;
pub use plan::Plan;
pub use purpose::{GradientRequest, Purpose};
pub use reducer::{BatchPlace, GradientReducer, Local};
pub use work::Work;
