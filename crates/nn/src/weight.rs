//! Weights: named arrays that layers own and training changes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Initializer, Regularizer, Result, naming};

/// What a layer asks for: a weight not yet made.
///
/// ```
/// use engraft_nn::{LayerDef, layers::Dense};
/// let specs = Dense::new(2).weights(&[vec![3]])?;
/// assert_eq!((specs[0].name, &specs[0].shape[..]), ("kernel", &[3, 2][..]));
/// assert_eq!((specs[1].name, &specs[1].shape[..]), ("bias", &[2][..]));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightSpec {
    /// `kernel`, `bias`, `gamma`, … as in Keras.
    pub name: &'static str,
    /// Axes as in Keras: a convolution's kernel is `[height, width, inputs, filters]`.
    pub shape: Vec<usize>,
    /// First values.
    pub initializer: Initializer,
    /// Whether training by gradient may ever change it; a `BatchNormalization`'s statistics are not.
    pub trainable: bool,
    /// Penalty on its values.
    pub regularizer: Option<Regularizer>,
}

/// A shared handle to a layer's weight. Cloning shares, as with Keras' variables.
///
/// Values are made when first read: a summary of a model with 165 million parameters allocates none.
///
/// ```
/// use engraft_nn::prelude::*;
/// let dense = Dense::new(2).into_layer();
/// dense.call(&Input::new([3]))?;
/// let kernel = &dense.weights()[0];
/// assert_eq!((kernel.name(), kernel.shape()), ("kernel", &[3, 2][..]));
/// kernel.set(vec![0.5; 6])?;
/// assert_eq!(*kernel.values(), [0.5; 6]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Weight(Arc<Inner>);

struct Inner {
    layer: String,
    spec: WeightSpec,
    seed: u64,
    values: OnceLock<RwLock<Vec<f32>>>,
    version: AtomicU64,
}

impl Weight {
    pub(crate) fn new(layer: &str, spec: WeightSpec) -> Self {
        let seed = naming::next_weight_seed();
        Self(Arc::new(Inner { layer: layer.into(), spec, seed, values: OnceLock::new(), version: AtomicU64::new(0) }))
    }

    /// `kernel`, `bias`, ….
    pub fn name(&self) -> &str {
        self.0.spec.name
    }

    /// `block1_conv1/kernel`: the layer's name and this weight's.
    pub fn path(&self) -> String {
        format!("{}/{}", self.0.layer, self.0.spec.name)
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.0.spec.shape
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.0.spec.shape.iter().product()
    }

    /// Whether gradients may ever change it; its layer's `trainable` decides whether they do.
    pub fn trainable(&self) -> bool {
        self.0.spec.trainable
    }

    /// Penalty on its values.
    pub fn regularizer(&self) -> Option<Regularizer> {
        self.0.spec.regularizer
    }

    /// A number that is the same for every handle of this weight and no other.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Grows with every change of the values: what was derived from them at an older version is stale.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// The values, locked for reading while the guard lives.
    pub fn values(&self) -> RwLockReadGuard<'_, Vec<f32>> {
        self.lock().read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values, locked for changing in place while the guard lives; their number is fixed by the shape.
    pub fn values_mut(&self) -> ValuesMut<'_> {
        let guard = self.lock().write().unwrap_or_else(PoisonError::into_inner);
        self.0.version.fetch_add(1, Ordering::Release);
        ValuesMut(guard)
    }

    /// Replaces all values; an error unless there are as many as the shape says.
    pub fn set(&self, values: Vec<f32>) -> Result<()> {
        if values.len() != self.count() {
            return Err(Error::new(
                format_args!("weight `{}`", self.path()),
                format_args!("{} values for shape {:?}", self.count(), self.shape()),
                values.len(),
            ));
        }
        // Never draws initial values only to overwrite them.
        let mut values = Some(values);
        let lock = self.0.values.get_or_init(|| RwLock::new(values.take().unwrap_or_default()));
        if let Some(values) = values {
            *lock.write().unwrap_or_else(PoisonError::into_inner) = values;
        }
        self.0.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> &RwLock<Vec<f32>> {
        let spec = &self.0.spec;
        self.0.values.get_or_init(|| RwLock::new(spec.initializer.values(&spec.shape, self.0.seed)))
    }
}

/// A weight's values, to change in place.
///
/// ```
/// use engraft_nn::prelude::*;
/// let dense = Dense::new(2).into_layer();
/// dense.call(&Input::new([3]))?;
/// let kernel = &dense.weights()[0];
/// kernel.values_mut().fill(0.5);
/// assert_eq!(*kernel.values(), [0.5; 6]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct ValuesMut<'a>(RwLockWriteGuard<'a, Vec<f32>>);

impl std::ops::Deref for ValuesMut<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl std::ops::DerefMut for ValuesMut<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.path(), self.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight() -> Weight {
        let spec = WeightSpec {
            name: "kernel",
            shape: vec![2, 3],
            initializer: Initializer::glorot_uniform(),
            trainable: true,
            regularizer: None,
        };
        Weight::new("dense", spec)
    }

    #[test]
    fn handles_share_values_and_versions() {
        let (a, version) = {
            let w = weight();
            let v = w.version();
            (w, v)
        };
        let b = a.clone();
        b.set(vec![1.0; 6]).unwrap();
        assert_eq!(*a.values(), [1.0; 6]);
        a.values_mut()[0] = 2.0;
        assert_eq!(b.values()[0], 2.0);
        assert!(a.version() > version + 1);
    }

    #[test]
    fn a_wrong_number_of_values_is_an_error() {
        let error = weight().set(vec![0.0; 5]).unwrap_err().to_string();
        assert_eq!(error, "weight `dense/kernel`: expected 6 values for shape [2, 3], received 5");
    }
}
