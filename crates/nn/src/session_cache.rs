//! [`Cache`]: holds a value derived from a model, such as a ready session, from one call to the next.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Holds one value that was derived from a model, such as a session that is ready to run. It is dropped with the model.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// model.cache().put(7_u32);
/// assert_eq!(model.cache().take::<u32>(), Some(7));
/// assert_eq!(model.cache().take::<u32>(), None);
/// model.cache().put(8_u32);
/// model.cache().clear();
/// assert_eq!(model.cache().take::<u32>(), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Default)]
pub struct Cache(Mutex<Option<Box<dyn Any + Send>>>);

impl Cache {
    /// Takes the value out if it has the type `T`. A value of another type is dropped.
    pub fn take<T: 'static>(&self) -> Option<T> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Stores a value and drops the previous one.
    pub fn put(&self, value: impl Any + Send) {
        // `_old` is dropped after the lock is released: dropping a session may take long.
        let _old = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Box::new(value));
    }

    /// Drops the cached value.
    pub fn clear(&self) {
        let _old = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}
