//! A place on a model for what others derive from it.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Holds one value that was derived from a model and is wanted back at the next call: a session, ready to run. It goes with
/// the model.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// model.cache().put(7_u32);
/// assert_eq!(model.cache().take::<u32>(), Some(7));
/// assert_eq!(model.cache().take::<u32>(), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Default)]
pub struct Cache(Mutex<Option<Box<dyn Any + Send>>>);

impl Cache {
    /// Takes the value out, if there is one of this type; one of another type is dropped.
    pub fn take<T: 'static>(&self) -> Option<T> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Keeps a value; one kept before is dropped.
    pub fn put(&self, value: impl Any + Send) {
        // The lock is let go before the old value is dropped, which may take long.
        let _old = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Box::new(value));
    }

    /// Drops the value.
    pub fn clear(&self) {
        let _old = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}
