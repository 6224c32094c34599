//! Finds the prefix: the first steps, which run in chunks of a few samples. Its buffers have the size of a chunk, not of the
//! batch.

use std::collections::HashSet;

use engraft_ir::{Op, ValueId};
use engraft_nn::{Result, Step};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

/// Ends the prefix after the last step that reads and writes too much for a whole batch. Later steps run for the whole batch, so
/// that their kernels are read once.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    let bytes = bytes_per_sample(annotated, chunkable_steps(annotated));
    annotated.prefix = end_of_wide_steps(annotated, &bytes, options.unchunked_bytes / annotated.batch);
    let widest = bytes[..annotated.prefix].iter().copied().max().unwrap_or(0);
    annotated.chunk = (options.chunk_bytes / widest.max(1)).clamp(1, annotated.batch);
    if options.low_memory {
        annotated.chunk = 1;
    }
    Ok(())
}

/// The number of first steps that can run in chunks. None of them is differentiated or couples samples. None is a Dense, which
/// should read its large kernel once for as many samples as possible.
pub(super) fn chunkable_steps(annotated: &AnnotatedProgram) -> usize {
    let chunkable = |(step, differentiated): &(&Step, &bool)| {
        !**differentiated && !step.op.couples_samples() && !matches!(step.op, Op::Dense)
    };
    annotated.program.steps.iter().zip(&annotated.differentiated).take_while(chunkable).count()
}

/// Index of the first step after the wide steps: from here on every step reads and writes at most `limit` bytes per sample, and
/// none is row-streamed.
fn end_of_wide_steps(annotated: &AnnotatedProgram, bytes: &[usize], limit: usize) -> usize {
    let last_stream = annotated.streams[..bytes.len()].iter().rposition(Option::is_some).map_or(0, |first| first + 2);
    let wide = bytes.iter().rposition(|&bytes| bytes > limit).map_or(0, |step| step + 1);
    wide.max(last_stream)
}

/// The bytes that each of the first `steps` steps reads and writes per sample, without streamed values.
fn bytes_per_sample(annotated: &AnnotatedProgram, steps: usize) -> Vec<usize> {
    let steps = || annotated.program.steps[..steps].iter().zip(&annotated.streams);
    let streamed: HashSet<ValueId> =
        steps().filter(|(_, stream)| stream.is_some()).map(|(step, _)| step.output).collect();
    let floats = |step: &Step| {
        let values = step.inputs.iter().chain([&step.output]).filter(|value| !streamed.contains(value));
        values.map(|&value| annotated.program.size(value)).sum::<usize>()
    };
    steps().map(|(step, _)| size_of::<f32>() * floats(step)).collect()
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use crate::{Plan, PlanOptions};

    #[test]
    fn wide_steps_run_in_chunks_and_narrow_ones_for_the_whole_batch() {
        let conv = |name| Conv2D::new(8, 3).padding(Padding::Same).named(name);
        let layers = Sequential::new().add(Input::new([512, 512, 3])).add(conv("wide")).add(MaxPooling2D::new(2));
        let model = layers.add(conv("narrow")).add(GlobalMaxPooling2D::new()).build().unwrap();
        let options = PlanOptions { chunk_bytes: 40 << 20, unchunked_bytes: 32 << 20, ..PlanOptions::default() };
        let plan = Plan::predict(&model, 4, &options).unwrap();
        assert_eq!((plan.prefix(), plan.chunk()), (0..2, 3));
        // One buffer holds a chunk of the wide convolution's output. The narrow convolution reuses it. The other buffer holds the
        // prefix's output for the whole batch.
        let lengths = [3 * 512 * 512 * 8, 4 * 256 * 256 * 8];
        assert_eq!(plan.buffers().iter().sum::<usize>(), lengths.iter().sum::<usize>());
        assert_eq!(plan.low_memory().unwrap().chunk(), 1);
        assert_eq!(Plan::predict(&model, 4, &PlanOptions::default()).unwrap().prefix(), 0..0);
    }
}
