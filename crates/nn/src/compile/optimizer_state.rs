//! [`OptimizerState`]: iterations and slots (moments, momentum) that an optimizer keeps between steps.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The optimizer's slots (Adam's moments, SGD's momentum, …) in Keras' order, by [`Weight::id`](crate::Weight::id).
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::{OptimizerState, Slots};
/// let dense = Dense::new(2).into_layer();
/// dense.call(&Input::new([3]))?;
/// let kernel = &dense.weights()[0];
/// // SGD with momentum has one slot for every trained weight.
/// let slots = Slots::from([(kernel.id(), vec![vec![0.0; kernel.count()]])]);
/// let state = OptimizerState::new(100, slots);
/// assert_eq!(state.slots()[&kernel.id()], [[0.0; 6]]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub type Slots = HashMap<usize, Vec<Vec<f32>>>;

/// A handle to an optimizer's state: its iterations (steps made) and slots. Clones share the state.
///
/// An executor may keep a copy of the slots elsewhere, such as in GPU memory, while it trains. The [`version`](Self::version)
/// tells the executor when the copy is stale.
///
/// ```
/// use engraft_nn::{OptimizerState, Slots};
/// let state = OptimizerState::new(0, Slots::new());
/// let handle = state.clone();
/// state.set_iterations(3);
/// state.count_step();
/// assert_eq!((handle.id() == state.id(), handle.iterations()), (true, 4));
///
/// // Reading slots keeps the version, writing them increases it.
/// let version = state.version();
/// assert!(state.slots().is_empty() && state.version() == version);
/// state.update_slots(|slots| slots.insert(7, vec![vec![0.0; 6]]));
/// assert!(state.slots().contains_key(&7) && state.version() > version);
/// ```
#[derive(Clone, Default)]
pub struct OptimizerState(Arc<Inner>);

#[derive(Default)]
struct Inner {
    iterations: AtomicU64,
    /// Readers get a snapshot, another `Arc` of the slots. A writer copies the slots only if a snapshot still exists.
    slots: Mutex<Arc<Slots>>,
    version: AtomicU64,
}

impl OptimizerState {
    /// The state after `iterations` steps.
    pub fn new(iterations: u64, slots: Slots) -> Self {
        let state = Self::default();
        state.set_iterations(iterations);
        state.update_slots(|empty| *empty = slots);
        state
    }

    /// Number of steps made.
    pub fn iterations(&self) -> u64 {
        self.0.iterations.load(Ordering::Acquire)
    }

    /// Sets the number of steps made.
    pub fn set_iterations(&self, iterations: u64) {
        self.0.iterations.store(iterations, Ordering::Release);
    }

    /// Increments the number of steps made.
    pub fn count_step(&self) {
        self.0.iterations.fetch_add(1, Ordering::AcqRel);
    }

    /// A snapshot of the slots. Later changes don't show in the snapshot, and training doesn't wait for it.
    ///
    /// Taking a snapshot copies nothing. The first change while the snapshot exists, such as a training step, copies all slots.
    ///
    /// ```
    /// use engraft_nn::{OptimizerState, Slots};
    /// let state = OptimizerState::new(0, Slots::from([(7, vec![vec![1.0]])]));
    /// let before = state.slots();
    /// state.update_slots(|slots| slots.clear());
    /// assert_eq!((before.len(), state.slots().len()), (1, 0));
    /// ```
    pub fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.lock())
    }

    /// Calls `change` with the slots, and increases the version.
    ///
    /// Other threads that read or change the slots wait until `change` returns. `change` must not read or change the slots of
    /// this state in any other way, and must not train with this state: that would deadlock.
    ///
    /// ```
    /// use engraft_nn::OptimizerState;
    /// let state = OptimizerState::default();
    /// let previous = state.update_slots(|slots| slots.insert(7, vec![vec![0.5; 6]]));
    /// assert!(previous.is_none());
    /// assert_eq!(state.slots()[&7], [[0.5; 6]]);
    /// ```
    pub fn update_slots<R>(&self, change: impl FnOnce(&mut Slots) -> R) -> R {
        let mut slots = self.lock();
        // The version changes under the lock: a reader of the new version must not find the old slots.
        self.0.version.fetch_add(1, Ordering::AcqRel);
        change(Arc::make_mut(&mut slots))
    }

    /// Identifies the state: equal for all handles to it, different for any other state that exists.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Version of the slots, which grows whenever they may have changed.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Slots>> {
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
    fn reading_keeps_the_version_and_writing_increases_it() {
        let state = OptimizerState::new(2, Slots::from([(7, vec![vec![1.0]])]));
        let version = state.version();
        assert_eq!((state.slots()[&7][0][0], state.version()), (1.0, version));
        state.clone().update_slots(Slots::clear);
        assert!(state.slots().is_empty() && state.version() > version);
        assert!(state.clone().id() == state.id() && OptimizerState::default().id() != state.id());
    }

    #[test]
    fn a_snapshot_neither_changes_nor_locks() {
        let state = OptimizerState::new(0, Slots::from([(7, vec![vec![1.0]])]));
        let snapshot = state.slots();
        state.update_slots(|slots| slots.get_mut(&7).unwrap()[0][0] = 2.0);
        assert_eq!((snapshot[&7][0][0], state.slots()[&7][0][0]), (1.0, 2.0));
    }

    #[test]
    fn slots_are_copied_only_while_a_snapshot_exists() {
        let state = OptimizerState::new(0, Slots::from([(7, vec![vec![1.0]])]));
        let place = || state.slots()[&7][0].as_ptr() as usize;
        let (before, changed) = (place(), |slots: &mut Slots| slots.get_mut(&7).unwrap()[0][0] += 1.0);
        state.update_slots(changed);
        assert_eq!(place(), before);
        let snapshot = state.slots();
        state.update_slots(changed);
        assert_ne!(place(), before, "{snapshot:?} is at the old place");
    }
}
