//! What an optimizer keeps between steps.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// For each trained weight, by its id, the optimizer's slots in Keras' order: Adam's moments, SGD's momentum, ….
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::{OptimizerState, Slots};
/// let dense = Dense::new(2).into_layer();
/// dense.call(&Input::new([3]))?;
/// let kernel = &dense.weights()[0];
/// // SGD with momentum keeps one slot for every weight.
/// let slots = Slots::from([(kernel.id(), vec![vec![0.0; kernel.count()]])]);
/// let state = OptimizerState::new(100, slots);
/// assert_eq!(state.slots()[&kernel.id()], [[0.0; 6]]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub type Slots = HashMap<usize, Vec<Vec<f32>>>;

/// A shared handle to an optimizer's state: how many steps it has made, and its slots. Cloning shares, as for weights.
///
/// An executor may keep a copy elsewhere while it trains; [`version`](Self::version) tells it when its copy is stale.
///
/// ```
/// use engraft_nn::OptimizerState;
/// let state = OptimizerState::default();
/// let same = state.clone();
/// state.set_iterations(3);
/// assert_eq!(same.iterations(), 3);
/// ```
#[derive(Clone, Default)]
pub struct OptimizerState(Arc<Inner>);

#[derive(Default)]
struct Inner {
    iterations: AtomicU64,
    slots: Mutex<Slots>,
    version: AtomicU64,
}

impl OptimizerState {
    /// A state after `iterations` steps.
    pub fn new(iterations: u64, slots: Slots) -> Self {
        let state = Self::default();
        state.set_iterations(iterations);
        *state.slots_mut() = slots;
        state
    }

    /// Steps made.
    pub fn iterations(&self) -> u64 {
        self.0.iterations.load(Ordering::Acquire)
    }

    /// Sets how many steps were made.
    pub fn set_iterations(&self, iterations: u64) {
        self.0.iterations.store(iterations, Ordering::Release);
    }

    /// Counts one more step.
    pub fn count_step(&self) {
        self.0.iterations.fetch_add(1, Ordering::AcqRel);
    }

    /// The slots, locked while the guard lives: read only, so that the version stays.
    pub fn slots(&self) -> impl std::ops::Deref<Target = Slots> + '_ {
        self.lock()
    }

    /// The slots, locked while the guard lives, to change.
    pub fn slots_mut(&self) -> MutexGuard<'_, Slots> {
        // Under the lock: whoever sees the new version must not find the old slots.
        let slots = self.lock();
        self.0.version.fetch_add(1, Ordering::AcqRel);
        slots
    }

    /// A number that is the same for every handle of this state and, while one lives, no other.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Grows whenever the slots may have changed.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OptimizerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OptimizerState({} iterations, {} weights)", self.iterations(), self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_keeps_the_version_and_writing_moves_it() {
        let state = OptimizerState::new(2, Slots::from([(7, vec![vec![1.0]])]));
        let version = state.version();
        assert_eq!((state.slots()[&7][0][0], state.version()), (1.0, version));
        state.clone().slots_mut().clear();
        assert!(state.slots().is_empty() && state.version() > version);
        assert!(state.clone().id() == state.id() && OptimizerState::default().id() != state.id());
    }
}
