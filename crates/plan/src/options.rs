//! [`PlanOptions`]: the choices that an executor and its caller make for a plan.

use engraft_ir::{Activation, Conv2dShape, Op, Precision, Shape};

/// Options of a plan. An executor gives the ones that suit its caches and kernels
/// ([`Executor::plan_options`](crate::Executor::plan_options)); its caller may change them.
///
/// With the default options nothing is fused, streamed or chunked: every step computes its outputs for the whole batch.
///
/// ```
/// use engraft_ir::Precision;
/// use engraft_plan::PlanOptions;
/// let options = PlanOptions::default().precision(Precision::Bf16).low_memory(true);
/// assert!(options.low_memory && !options.fold_updates);
/// ```
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The number format of matrix products and convolutions.
    pub precision: Precision,
    /// Whether to save memory at the cost of time. The prefix then runs one sample at a time, cheap values are recomputed for the
    /// backward pass, and executors cache nothing that they can recompute, such as transformed filters.
    pub low_memory: bool,
    /// Whether a Dense kernel is updated some rows at a time while its gradient is computed. The gradient then needs no buffer,
    /// but it can't be summed over replicas.
    pub fold_updates: bool,
    /// Upper limit for the bytes that a prefix step reads and writes for one chunk. It decides how many samples a chunk has, at
    /// least one.
    pub chunk_bytes: usize,
    /// A step that reads and writes at most this many bytes for a whole batch need not run in chunks. Its kernel is then read
    /// once per batch instead of once per chunk. It still runs in chunks if a later step of the prefix has to.
    pub unchunked_bytes: usize,
    /// How rows are streamed between pairs of convolutions; `None` turns it off.
    pub row_streaming: Option<RowStreaming>,
    /// Whether the executor can fold a batch normalization with moving statistics into the kernel and bias of this operation, a
    /// convolution.
    pub folds_batch_norm: fn(&Op) -> bool,
    /// Whether the executor can apply this activation as part of the epilogue of the operation, a convolution or Dense.
    pub fuses_activation: fn(&Op, Activation) -> bool,
    /// Whether the executor's convolution of this shape can max-pool its outputs in 2x2 windows, as part of its epilogue.
    pub fuses_pooling: fn(&Conv2dShape) -> bool,
    /// Whether the executor can overwrite the only input of an operation with the gradient with respect to it. The arguments are
    /// the operation, its input shape and its output shape.
    pub gradient_in_place: fn(&Op, &Shape, &Shape) -> bool,
}

/// How rows are streamed from one convolution to the next, so that they are read while they are in the cache.
///
/// The default streams all convolutions, one row at a time.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, RowStreaming};
/// # let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).named(name);
/// # let layers = Sequential::new().add(Input::new([256, 256, 3])).add(conv("a")).add(conv("b"));
/// # let model = layers.add(GlobalAveragePooling2D::new()).add(Dense::new(2)).build()?;
/// // `model` begins with two convolutions of 64 filters at 256 x 256 pixels.
/// let row_streaming = Some(RowStreaming { rows_bytes: 4 << 20, ..RowStreaming::default() });
/// let options = PlanOptions { row_streaming, ..PlanOptions::default() };
/// let (whole, streamed) = (Plan::predict(&model, 1, &PlanOptions::default())?, Plan::predict(&model, 1, &options)?);
/// assert!(streamed.memory().buffers < whole.memory().buffers);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowStreaming {
    /// Size of the rows that are buffered between the two convolutions, in bytes. It decides how many rows are computed at a
    /// time. The overlap of neighbouring windows of the second convolution is not counted.
    pub rows_bytes: usize,
    /// The number of rows that are computed at a time is a multiple of this, or all rows. An executor that computes rows in
    /// tiles gives the height of a tile here: the tiles then have the same positions as without streaming.
    pub row_multiple: usize,
    /// If the outputs of the first convolution for one image have at most this many bytes, they stay in the cache and are not
    /// streamed.
    pub cached_bytes: usize,
    /// Whether the executor can compute some rows of a convolution of this shape. Both convolutions of a pair must allow it.
    pub streams: fn(&Conv2dShape) -> bool,
}

impl Default for RowStreaming {
    fn default() -> Self {
        Self { rows_bytes: 0, row_multiple: 1, cached_bytes: 0, streams: |_| true }
    }
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
            folds_batch_norm: |_| false,
            fuses_activation: |_, _| false,
            fuses_pooling: |_| false,
            gradient_in_place: |_, _, _| false,
        }
    }
}

impl PlanOptions {
    /// Sets the number format of matrix products and convolutions.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Sets whether to save memory at the cost of time.
    #[must_use]
    pub fn low_memory(self, low_memory: bool) -> Self {
        Self { low_memory, ..self }
    }

    /// Sets whether Dense kernels are updated while their gradients are computed.
    #[must_use]
    pub fn fold_updates(self, fold_updates: bool) -> Self {
        Self { fold_updates, ..self }
    }
}
