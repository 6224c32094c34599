//! The reference executor: computes every operation from its definition, in plain loops over f64.
//!
//! Tests compare the results of other executors with its results. It shares no code with them, and is written to be read: `ops`
//! has a file for each kind of operation, with `forward` and `backward` from the definition; `loss` and `update` have Keras'
//! formulas of losses and optimizers.
//!
//! The plan's optimizations are ignored: fusions are undone, all values are kept for the backward pass, and buffers, chunks and
//! row streaming play no role. Inputs and weights are converted to f64; results are rounded to f32.

mod array;
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
