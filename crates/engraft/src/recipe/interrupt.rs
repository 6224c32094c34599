//! The flag that another thread or a signal handler sets to stop a [`TrainingJob`](super::TrainingJob).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared flag that asks a [`TrainingJob`](super::TrainingJob) to stop after the current step. Clones share the flag.
///
/// A signal handler or another thread can set it.
///
/// ```
/// use engraft::recipe::Interrupt;
/// let interrupt = Interrupt::new();
/// let handler = interrupt.clone();
/// assert!(!handler.request());
/// assert!(interrupt.is_requested());
/// // On a second Ctrl-C, a program may want to exit at once.
/// assert!(handler.request());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that isn't set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag. Returns whether it was already set.
    pub fn request(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether the flag is set.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
