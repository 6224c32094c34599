//! Streams rows between pairs of convolutions: the first computes a few rows of its outputs, the second reads them while they are
//! in the cache. The outputs of a large image don't fit in the cache: without streaming, they are evicted before they are read.

use engraft_ir::Op;
use engraft_nn::{Program, Result, Step};

use crate::annotated_program::AnnotatedProgram;
use crate::passes::chunk_prefix;
use crate::{PlanOptions, RowStreaming};

/// How many rows at a time are streamed from one convolution to the next.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, RowStream, RowStreaming};
/// # let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).named(name);
/// # let layers = Sequential::new().add(Input::new([256, 256, 3])).add(conv("a")).add(conv("b"));
/// # let model = layers.add(GlobalAveragePooling2D::new()).add(Dense::new(2)).build()?;
/// // `model` begins with two convolutions of 64 filters at 256 x 256 pixels.
/// let row_streaming = Some(RowStreaming { rows_bytes: 4 << 20, ..RowStreaming::default() });
/// let options = PlanOptions { row_streaming, ..PlanOptions::default() };
/// let plan = Plan::predict(&model, 1, &options)?;
/// // 64 rows of outputs need 66 rows of the first convolution: its neighbour's kernel is 3 rows high.
/// assert_eq!(plan.stream(0), Some(RowStream { rows: 64, buffered_rows: 66 }));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowStream {
    /// Number of output rows of the second convolution that are computed at a time, before pooling: a multiple of
    /// [`RowStreaming::row_multiple`] and of the height of a fused pooling window, or all rows.
    pub rows: usize,
    /// Number of output rows of the first convolution that the second reads for `rows` rows. The buffer between them has this
    /// many rows.
    pub buffered_rows: usize,
}

/// Streams between the first, undifferentiated steps only: a backward pass would need the values in full.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    let Some(streaming) = options.row_streaming else { return Ok(()) };
    let readers = annotated.readers();
    for index in 1..chunk_prefix::chunkable_steps(annotated) {
        let (first, second) = (&annotated.program.steps[index - 1], &annotated.program.steps[index]);
        let is_streamed_to = index >= 2 && annotated.streams[index - 2].is_some();
        if !is_streamed_to && second.inputs == [first.output] && readers[first.output] == 1 {
            annotated.streams[index - 1] = stream(&annotated.program, first, second, streaming);
        }
    }
    Ok(())
}

fn stream(program: &Program, first: &Step, second: &Step, streaming: RowStreaming) -> Option<RowStream> {
    let shape = |step: &Step| {
        let input = *step.inputs.first()?;
        let conv = step.op.conv2d_shape(1, &program.shapes[input], &program.shapes[step.output])?;
        (streaming.streams)(&conv).then_some(conv)
    };
    // A fused pooling window, which is 2 rows high, must not be split.
    let pooled = matches!(second.op, Op::Conv2d { pool: Some(_), .. });
    let multiple = streaming.row_multiple.max(1).next_multiple_of(if pooled { 2 } else { 1 });
    let (between, second) = (shape(first)?, shape(second)?);
    let row = size_of::<f32>() * between.out_w * between.out_c;
    if matches!(first.op, Op::Conv2d { pool: Some(_), .. }) || row * between.out_h <= streaming.cached_bytes {
        return None;
    }
    let buffered_rows = |rows: usize| (rows - 1) * second.stride[0] + second.dilation[0] * (second.kernel[0] - 1) + 1;
    let rows = streaming.rows_bytes / row / second.stride[0] / multiple * multiple;
    let rows = rows.max(multiple).min(second.out_h);
    Some(RowStream { rows, buffered_rows: buffered_rows(rows).min(between.out_h) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use super::RowStream;
    use crate::{Plan, PlanOptions, RowStreaming};

    fn options() -> PlanOptions {
        let row_streaming =
            Some(RowStreaming { rows_bytes: 4 << 20, cached_bytes: 8 << 20, ..RowStreaming::default() });
        PlanOptions {
            row_streaming,
            fuses_activation: |_, _| true,
            fuses_pooling: |_| true,
            chunk_bytes: 40 << 20,
            ..PlanOptions::default()
        }
    }

    fn model(side: usize) -> Model {
        let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = Sequential::new().add(Input::new([side, side, 3])).add(conv("a")).add(conv("b"));
        layers.add(MaxPooling2D::new(2)).add(GlobalAveragePooling2D::new()).add(Dense::new(2)).build().unwrap()
    }

    #[test]
    fn large_outputs_are_streamed() {
        let plan = Plan::predict(&model(256), 2, &options()).unwrap();
        assert_eq!((plan.stream(0), plan.stream(1)), (Some(RowStream { rows: 64, buffered_rows: 66 }), None));
        // The first convolution's output is never stored as a whole. The second computes 64 rows at a time and reads 66 for them, as
        // its kernel is 3 rows high. One buffer has 66 rows, another the pooled outputs of the batch's two images.
        assert!([66 * 256 * 64, 2 * 128 * 128 * 64].iter().all(|length| plan.buffers().contains(length)));
        assert_eq!(Plan::predict(&model(128), 2, &options()).unwrap().stream(0), None);
        assert_eq!(Plan::predict(&model(256), 2, &PlanOptions::default()).unwrap().stream(0), None);
    }

    #[test]
    fn the_executor_chooses_the_multiple_of_rows_and_the_shapes() {
        let rows = |row_multiple, rows_bytes, fuses_pooling| {
            let streaming = RowStreaming { rows_bytes, row_multiple, ..RowStreaming::default() };
            let options = PlanOptions { row_streaming: Some(streaming), fuses_pooling, ..options() };
            Plan::predict(&model(64), 1, &options).unwrap().stream(0).map(|stream| stream.rows)
        };
        let row = size_of::<f32>() * 64 * 64;
        assert_eq!([1, 3, 8, 100].map(|multiple| rows(multiple, 13 * row, |_| false)), [13, 12, 8, 64].map(Some));
        assert_eq!([1, 3, 8].map(|multiple| rows(multiple, 1, |_| false)), [1, 3, 8].map(Some));
        // Windows of a fused pooling are not split.
        assert_eq!([1, 3, 8].map(|multiple| rows(multiple, 13 * row, |_| true)), [12, 12, 8].map(Some));
        let streaming = RowStreaming { streams: |conv| conv.in_c > 3, ..RowStreaming::default() };
        let options = PlanOptions { row_streaming: Some(streaming), ..options() };
        assert_eq!(Plan::predict(&model(64), 1, &options).unwrap().stream(0), None);
    }

    #[test]
    fn the_input_of_a_stream_stays_until_its_last_row_is_made() {
        let x = Input::new([256, 256, 3]);
        let scaled = Rescaling::new(0.5).call(&x).unwrap();
        let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let y = conv("b").call(&conv("a").call(&scaled).unwrap()).unwrap();
        let plan = Plan::predict(&Model::new(&x, &y).unwrap(), 1, &options()).unwrap();
        let steps = &plan.program().steps;
        assert!(plan.stream(1).is_some());
        let slots: HashSet<_> = steps.iter().map(|step| plan.slot(step.output)).collect();
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn values_that_are_wanted_or_differentiated_are_made_as_a_whole() {
        let model = model(256);
        assert_eq!(Plan::features(&model, "a", 1, &options()).unwrap().stream(0), None);
        let loss = || Loss::categorical_crossentropy().from_logits(true);
        let train = || Plan::train(&model, Sgd::new(0.1).into(), loss(), 1, 0, &options()).unwrap();
        assert_eq!(train().stream(0), None);
        model.get_layer("a").unwrap().set_trainable(false);
        assert_eq!(train().stream(0), None);
        model.get_layer("b").unwrap().set_trainable(false);
        assert!(train().stream(0).is_some());
    }
}
