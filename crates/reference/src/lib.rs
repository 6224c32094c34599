//! The reference executor: what every operation means, in plain loops over f64.
//!
//! It shares no code with executors that are fast, and is written to be read: `ops` holds a file for each kind of operation with
//! `forward` and `backward` from the definition, `loss` and `update` Keras' formulas of losses and optimizers. Other executors are
//! held to its results, in tests.
//!
//! How a plan wants to be run doesn't matter to it: fusions are undone, every value is kept, and slots, chunks and streams are
//! ignored. Inputs and weights are widened to f64 on the way in; results are rounded to f32 on the way out.

mod array;
mod checks;
mod executor;
#[cfg(test)]
mod finite_differences;
mod loss;
mod ops;
mod pass;
#[cfg(test)]
#[path = "../../plan/tests/random_graphs/mod.rs"]
mod random_graphs;
mod session;
#[cfg(test)]
mod testing;
mod unfused;
mod update;
mod weights;

pub use executor::ReferenceExecutor;
