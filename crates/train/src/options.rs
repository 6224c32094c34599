//! [`RunOptions`]: the options of `evaluate`, `predict` and `features`.

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
    runtime: Option<&'a Runtime>,
    from_layer: Option<&'a str>,
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

    pub(crate) fn runtime_or_shared(&self) -> Result<Runtime> {
        self.runtime.map_or_else(Runtime::shared, |runtime| Ok(runtime.clone()))
    }

    pub(crate) fn boundary(&self) -> Option<&'a str> {
        self.from_layer
    }
}
