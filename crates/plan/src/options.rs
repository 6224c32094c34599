//! What an executor and its caller want of a plan.

use engraft_ir::{Conv2dShape, Op, Precision, Shape};

/// Choices that shape a plan. An executor gives those that suit its caches and kernels
/// ([`Executor::plan_options`](crate::Executor::plan_options)); whoever asks for a plan adds its own.
///
/// The default fuses, streams and chunks nothing: every value of a batch is made in full.
///
/// ```
/// use engraft_ir::Precision;
/// use engraft_plan::PlanOptions;
/// let options = PlanOptions::default().precision(Precision::Bf16).low_memory(true);
/// assert!(options.low_memory && !options.fold_updates);
/// ```
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The number format of products.
    pub precision: Precision,
    /// Whether memory counts for more than time: the prefix runs one sample at a time, values that are cheap to compute are
    /// recomputed for the backward pass, and executors keep nothing that they could compute again.
    pub low_memory: bool,
    /// Whether a Dense kernel's update is made as the rows of its gradient are computed, so that the gradient never exists as a
    /// whole. It can't be summed over replicas then.
    pub fold_updates: bool,
    /// Bytes that the widest step of the prefix may read and write for a chunk of samples; a prefix is run in chunks of that many.
    pub chunk_bytes: usize,
    /// Bytes that a step may read and write for a whole batch without being run in chunks: its kernels are then read once a batch.
    pub unchunked_bytes: usize,
    /// How pairs of convolutions are run a few rows at a time; `None` for never.
    pub row_streaming: Option<RowStreaming>,
    /// Whether the executor's convolution of this shape can max-pool its outputs in windows of 2x2 in the same pass.
    pub fuses_pooling: fn(&Conv2dShape) -> bool,
    /// Whether the executor can write the gradient with respect to the only input of this operation over that input. Given are the
    /// shapes of input and output.
    pub gradient_in_place: fn(&Op, &Shape, &Shape) -> bool,
}

/// How a convolution's outputs are handed to the convolution after it a few rows at a time, while they are in the cache.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, RowStreaming};
/// # let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
/// # let layers = Sequential::new().add(Input::new([256, 256, 3])).add(conv("a")).add(conv("b"));
/// # let model = layers.add(GlobalAveragePooling2D::new()).add(Dense::new(2)).build()?;
/// // `model` begins with two convolutions of 64 filters at 256 x 256 pixels.
/// let row_streaming = Some(RowStreaming { rows_bytes: 4 << 20, cached_bytes: 8 << 20 });
/// let options = PlanOptions { row_streaming, ..PlanOptions::default() };
/// let (whole, streamed) = (Plan::predict(&model, 1, &PlanOptions::default())?, Plan::predict(&model, 1, &options)?);
/// assert!(streamed.memory().buffers < whole.memory().buffers);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowStreaming {
    /// Bytes that the rows between the two may take.
    pub rows_bytes: usize,
    /// Outputs of one image up to this size, in bytes, stay in the cache as a whole: they are not streamed.
    pub cached_bytes: usize,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            precision: Precision::default(),
            low_memory: false,
            fold_updates: false,
            chunk_bytes: usize::MAX,
            unchunked_bytes: usize::MAX,
            row_streaming: None,
            fuses_pooling: |_| false,
            gradient_in_place: |_, _, _| false,
        }
    }
}

impl PlanOptions {
    /// With products in this number format.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Whether memory counts for more than time.
    #[must_use]
    pub fn low_memory(self, low_memory: bool) -> Self {
        Self { low_memory, ..self }
    }

    /// Whether updates of Dense kernels are folded into their gradients.
    #[must_use]
    pub fn fold_updates(self, fold_updates: bool) -> Self {
        Self { fold_updates, ..self }
    }
}
