//! [`Weight`]: a named array of parameters, owned by a layer and updated in training.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Constraint, Error, Initializer, Regularizer, Result, naming};

/// The definition of a weight, from which a layer creates it at its first call.
///
/// ```
/// use engraft_nn::{LayerDef, layers::Dense};
/// let specs = Dense::new(2).weights(&[vec![3]])?;
/// assert_eq!((&*specs[0].name, &specs[0].shape[..]), ("kernel", &[3, 2][..]));
/// assert_eq!((&*specs[1].name, &specs[1].shape[..]), ("bias", &[2][..]));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightSpec {
    /// `kernel`, `bias`, `gamma`, … as in Keras.
    pub name: Cow<'static, str>,
    /// Sizes of the axes, as in Keras: a convolution's kernel is `[height, width, inputs, filters]`.
    pub shape: Vec<usize>,
    /// Draws the initial values.
    pub initializer: Initializer,
    /// Whether gradients may update the weight; false for the moving statistics of `BatchNormalization`.
    pub trainable: bool,
    /// Penalty on the values, added to the loss.
    pub regularizer: Option<Regularizer>,
    /// Projection of the values after each training step.
    pub constraint: Option<Constraint>,
}

/// A handle to a layer's weight. Clones share the values, like references to a Keras variable.
///
/// The initial values are drawn when they are first read. A summary reads no values, so that it allocates none for a large model.
///
/// ```
/// use engraft_nn::prelude::*;
/// let dense = Dense::new(2).into_layer();
/// dense.call(&Input::new([3]))?;
/// let kernel = &dense.weights()[0];
/// assert_eq!((kernel.name(), kernel.shape()), ("kernel", &[3, 2][..]));
/// let version = kernel.version();
/// kernel.set(vec![0.5; kernel.count()])?;
/// kernel.values_mut()[0] = 1.0;
/// assert_eq!(*kernel.values(), [1.0, 0.5, 0.5, 0.5, 0.5, 0.5]);
/// assert!(kernel.version() > version);
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

    /// The weight's name in its layer: `kernel`, `bias`, ….
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// The names of layer and weight, such as `block1_conv1/kernel`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// let paths: Vec<String> = model.weights().iter().map(|weight| weight.path()).collect();
    /// assert_eq!(paths, ["top/kernel", "top/bias"]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn path(&self) -> String {
        format!("{}/{}", self.0.layer, self.0.spec.name)
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.0.spec.shape
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.0.spec.shape.iter().product()
    }

    /// Whether gradients may update the weight, if its layer is trainable.
    ///
    /// ```
    /// use engraft_nn::{Weight, prelude::*};
    /// let norm = BatchNormalization::new().into_layer();
    /// norm.call(&Input::new([8]))?;
    /// let (trained, statistics): (Vec<Weight>, Vec<Weight>) = norm.weights().into_iter().partition(Weight::trainable);
    /// assert_eq!((trained[0].name(), trained[1].name()), ("gamma", "beta"));
    /// assert_eq!((statistics[0].name(), statistics[1].name()), ("moving_mean", "moving_variance"));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn trainable(&self) -> bool {
        self.0.spec.trainable
    }

    /// Penalty on the values, added to the loss; `None` for no penalty.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let dense = Dense::new(2).kernel_regularizer(Regularizer::l2(1e-4)).into_layer();
    /// dense.call(&Input::new([3]))?;
    /// let [kernel, bias] = &dense.weights()[..] else { panic!("a kernel and a bias") };
    /// assert_eq!((kernel.count(), kernel.regularizer()), (6, Some(&Regularizer::l2(1e-4))));
    /// assert_eq!((bias.count(), bias.regularizer()), (2, None));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn regularizer(&self) -> Option<&Regularizer> {
        self.0.spec.regularizer.as_ref()
    }

    /// Projection of the values after each training step; `None` for no constraint.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let dense = Dense::new(2).kernel_constraint(Constraint::non_neg()).into_layer();
    /// dense.call(&Input::new([3]))?;
    /// let [kernel, bias] = &dense.weights()[..] else { panic!("a kernel and a bias") };
    /// assert_eq!((kernel.constraint(), bias.constraint()), (Some(&Constraint::non_neg()), None));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn constraint(&self) -> Option<&Constraint> {
        self.0.spec.constraint.as_ref()
    }

    /// Identifies the weight: equal for all handles to it, different for any other weight that exists.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let dense = Dense::new(2).into_layer();
    /// dense.call(&Input::new([3]))?;
    /// let [kernel, bias] = &dense.weights()[..] else { panic!("a kernel and a bias") };
    /// assert!(kernel.id() == kernel.clone().id() && kernel.id() != bias.id());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Version of the values, which grows with every change. A copy made at an older version is stale.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// The values, locked for reading until the guard is dropped.
    ///
    /// Training waits for the guard. A thread that calls `fit` while it holds a guard deadlocks: copy the values first
    /// (`weight.values().clone()`), or drop the guard.
    pub fn values(&self) -> RwLockReadGuard<'_, Vec<f32>> {
        self.lock().read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values for changes in place, locked for writing until the guard is dropped. Their number can't change.
    ///
    /// Training and prediction wait for the guard, as with [`values`](Self::values).
    pub fn values_mut(&self) -> ValuesMut<'_> {
        let guard = self.lock().write().unwrap_or_else(PoisonError::into_inner);
        self.0.version.fetch_add(1, Ordering::Release);
        ValuesMut(guard)
    }

    /// Replaces all values.
    ///
    /// # Errors
    /// A number of values other than [`count`](Self::count).
    pub fn set(&self, values: Vec<f32>) -> Result<()> {
        if values.len() != self.count() {
            return Err(Error::new(
                format_args!("weight `{}`", self.path()),
                format_args!("{} values for shape {:?}", self.count(), self.shape()),
                values.len(),
            ));
        }
        // A weight without values gets these at once, instead of initial values that would be overwritten.
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

/// A guard for changing a weight's values in place; [`Weight::values_mut`] returns it.
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
            name: "kernel".into(),
            shape: vec![2, 3],
            initializer: Initializer::glorot_uniform(),
            trainable: true,
            regularizer: None,
            constraint: None,
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
