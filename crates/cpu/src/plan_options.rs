//! The plan options that fit the caches of a typical CPU and the kernels of `engraft-kernels`.
//!
//! `bench/records/constants.md` records the measurements behind `CHUNK_BYTES` and `ROW_STREAMING`.

use engraft_ir::{Conv2dShape, Op, PoolKind, Shape};
use engraft_kernels::{Conv2d, max_pool2d_gradient_in_place};
use engraft_plan::{PlanOptions, RowStreaming};

/// Bytes that the widest step of the prefix may read and write for one chunk.
///
/// A chunk of VGG16 then has three 256 x 256 images. The widest step is the first convolution of block 2: it reads 4 MiB and
/// writes 8 MiB per image. Block 1 counts less, because the rows streamed between its two convolutions are not counted.
///
/// Larger chunks need more memory and gain little speed, as the kernels already split one image over the cores.
const CHUNK_BYTES: usize = 40 << 20;

/// The prefix ends after the last step that is row-streamed or that reads and writes more than this many bytes for the whole
/// batch. Later steps run unchunked, so their weights are read once a batch.
const UNCHUNKED_BYTES: usize = 32 << 20;

/// The rows that are buffered between two convolutions take an eighth of a typical last-level cache (32 MiB). An image of up to
/// a quarter of that cache stays in it between the convolutions anyway, so it is not streamed.
///
/// The number of rows is a multiple of 8, the height of two Winograd tiles of 4x4 outputs: streaming then changes no bit.
const ROW_STREAMING: RowStreaming =
    RowStreaming { rows_bytes: 4 << 20, row_multiple: 8, cached_bytes: 8 << 20, streams: streams_rows };

pub(crate) fn plan_options() -> PlanOptions {
    PlanOptions {
        fold_updates: true,
        chunk_bytes: CHUNK_BYTES,
        unchunked_bytes: UNCHUNKED_BYTES,
        row_streaming: Some(ROW_STREAMING),
        folds_batch_norm: |op| matches!(op, Op::Conv2d { .. }),
        // The epilogues of convolutions and Dense apply every activation.
        fuses_activation: |_, _| true,
        fuses_pooling: Conv2d::fuses_pooling,
        gradient_in_place,
        ..PlanOptions::default()
    }
}

/// Whether [`Conv2d`] computes this convolution some rows at a time. Depthwise convolutions have kernels of their own.
fn streams_rows(shape: &Conv2dShape) -> bool {
    shape.groups == 1 && shape.in_c > 1
}

fn gradient_in_place(op: &Op, input: &Shape, output: &Shape) -> bool {
    match op {
        Op::Conv2d { .. } => op.conv2d_shape(1, input, output).is_some_and(|shape| Conv2d::gradient_in_place(&shape)),
        Op::Pool2d { kind: PoolKind::Max, .. } => {
            op.pool2d_shape(1, input, output).is_some_and(|(_, shape)| max_pool2d_gradient_in_place(&shape))
        }
        _ => false,
    }
}
