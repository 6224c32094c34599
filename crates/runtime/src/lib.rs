//! How and where models run: the executor, the number format and the memory of a [`Runtime`], and [`Predictor`]s that many
//! threads use at once.
//!
//! A [`Runtime`] is a value, passed to `fit`, `evaluate`, `predict` and whatever else computes. The only thing shared by a whole
//! process is the default one, [`Runtime::shared`].

mod limits;
mod predictor;
mod runtime;
mod task;

pub use limits::ensure_fits;
pub use predictor::Predictor;
pub use runtime::Runtime;
pub use task::TaskKey;
