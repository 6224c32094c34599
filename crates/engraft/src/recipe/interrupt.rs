//! A wish to stop, told from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop training in good order: set by a signal handler or another thread, seen after each step. Cloning shares.
///
/// ```
/// use engraft::recipe::Interrupt;
/// let interrupt = Interrupt::new();
/// let handler = interrupt.clone();
/// assert!(!handler.request());
/// assert!(interrupt.is_requested());
/// // The second time: whoever asks may want to stop at once.
/// assert!(handler.request());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Not requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. Tells whether somebody had asked before.
    pub fn request(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
