//! [`RunOptions`]: the options of `evaluate`, `predict` and `features`. [`StepOptions`]: those of `train_on_batch_with`.

use engraft_nn::Result;
use engraft_runtime::Runtime;

/// The options of `evaluate`, `predict` and `features`. A batch size converts to options.
///
/// ```
/// use engraft_runtime::Runtime;
/// use engraft_train::RunOptions;
/// let runtime = Runtime::cpu(Some(1))?;
/// let options = RunOptions::from(16).runtime(&runtime);
/// assert_eq!(options.batch_size, 16);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// The number of samples that are computed at a time.
    pub batch_size: usize,
    pub(crate) runtime: Option<&'a Runtime>,
    pub(crate) from_layer: Option<&'a str>,
}

impl Default for RunOptions<'_> {
    /// A batch size of 32, as in Keras.
    fn default() -> Self {
        Self::from(32)
    }
}

impl From<usize> for RunOptions<'_> {
    fn from(batch_size: usize) -> Self {
        Self { batch_size, runtime: None, from_layer: None }
    }
}

impl<'a> RunOptions<'a> {
    /// Sets the runtime, in place of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &'a Runtime) -> Self {
        Self { runtime: Some(runtime), ..self }
    }

    /// Takes outputs of this layer as inputs, and runs only the layers after it.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_train::{RunOptions, Train};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("base"));
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// let x = Tensor::new([2, 4], vec![0.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.0])?;
    /// let features = model.features(&x, "base", 32)?;
    /// let y = model.predict(&features, RunOptions::default().from_layer("base"))?;
    /// assert_eq!(y, model.predict(&x, 32)?);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn from_layer(self, layer: &'a str) -> Self {
        Self { from_layer: Some(layer), ..self }
    }
}

/// The options of [`train_on_batch_with`](crate::Train::train_on_batch_with).
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::Runtime;
/// use engraft_train::{StepOptions, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::binary_crossentropy().from_logits(true), [])?;
/// # let (x, y) = (Tensor::zeros([4, 2]), Tensor::zeros([4, 1]));
/// let runtime = Runtime::cpu(Some(2))?;
/// let step = model.train_on_batch_with(&x, &y, StepOptions::new().runtime(&runtime))?;
/// assert_eq!(step.output.shape(), [4, 1]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StepOptions<'a> {
    pub(crate) runtime: Option<&'a Runtime>,
    pub(crate) sample_weights: Option<&'a [f32]>,
}

impl<'a> StepOptions<'a> {
    /// The shared runtime, and equal weights of all samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the runtime, in place of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &'a Runtime) -> Self {
        Self { runtime: Some(runtime), ..self }
    }

    /// Sets the weight of each sample's loss (Keras' `sample_weight`).
    #[must_use]
    pub fn sample_weights(self, weights: &'a [f32]) -> Self {
        Self { sample_weights: Some(weights), ..self }
    }
}

/// A copy of `runtime`, or the shared one.
pub(crate) fn runtime_or_shared(runtime: Option<&Runtime>) -> Result<Runtime> {
    runtime.map_or_else(Runtime::shared, |runtime| Ok(runtime.clone()))
}
