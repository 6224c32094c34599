//! The CPU executor: runs a plan with engraft's kernels.
//!
//! A [`CpuExecutor`] makes a session of a [`Plan`](engraft_plan::Plan). The session allocates its buffers once and reuses them in
//! every step. Each run uses a thread pool of its own. Results are the same bit for bit for any number of threads.
//!
//! The crate chooses the kernels and calls them. The kernels themselves are in `engraft-kernels`. `engraft-plan` decides what is
//! computed when. Programs use this crate through the facade crate `engraft`.
//!
//! | module | what it holds |
//! |---|---|
//! | `executor`, `plan_options` | [`CpuExecutor`] and the plan options that suit a CPU |
//! | `session` | `CpuSession`: prediction, evaluation, training steps, gradients |
//! | `batch_run` | one forward and backward pass over a batch |
//! | `step_call`, `ops` | one call of a step, and the kernels of each operation |
//! | `loss` | the loss, the penalties of regularizers, and the output activation that the plan split off |
//! | `update` | the optimizer step |
//! | `values`, `buffers`, `workspace` | values in slots, scratch space, prepared convolution kernels |
//! | `thread_pools` | one pool for each concurrent run |

mod batch_run;
mod buffers;
mod executor;
mod loss;
mod ops;
mod plan_options;
mod session;
mod step_call;
mod thread_pools;
mod update;
mod values;
mod workspace;

pub use executor::CpuExecutor;
