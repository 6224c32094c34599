//! How evaluate and predict go about it.

use engraft_nn::Result;
use engraft_runtime::Runtime;

/// Options of `evaluate`, `predict` and `features`: a batch size alone, or with a runtime.
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
    /// Samples that are computed at a time.
    pub batch_size: usize,
    runtime: Option<&'a Runtime>,
    from_layer: Option<&'a str>,
}

impl Default for RunOptions<'_> {
    /// Batches of 32, as in Keras.
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
    /// Runs on this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &'a Runtime) -> Self {
        Self { runtime: Some(runtime), ..self }
    }

    /// Takes the inputs for values of this layer's output, and computes what comes after it.
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
