//! The CPU executor: runs a plan with engraft's kernels.
//!
//! A [`CpuExecutor`] turns a [`Plan`](engraft_plan::Plan) into a session that owns its buffers, allocated once. Its
//! work is shared among the threads of one pool, and its results are the same bit for bit whatever their number.

mod buffers;
mod executor;
mod loss;
mod ops;
mod options;
mod pass;
mod session;
mod step_call;
mod update;
mod values;
mod workers;
mod workspace;

pub use executor::CpuExecutor;
