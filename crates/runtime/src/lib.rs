//! Where models run: [`Runtime`] has the executor, the number format and the memory limit. A [`Predictor`] is a model that many
//! threads use at once.
//!
//! `fit`, `evaluate` and `predict` of the crate `engraft-train` take a [`Runtime`] as an argument. Without one they use
//! [`Runtime::shared`], its only global state.

mod batches;
mod memory_check;
mod predictor;
mod runtime;
mod session_key;

pub use batches::predict_in_batches;
pub use memory_check::ensure_fits;
pub use predictor::Predictor;
pub use runtime::Runtime;
pub use session_key::SessionKey;
