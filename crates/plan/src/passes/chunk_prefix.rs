//! Finds the steps at the front that run a few samples at a time, through buffers that are small however large the batch.

use std::collections::HashSet;

use engraft_ir::{Op, ValueId};
use engraft_nn::{Result, Step};

use crate::PlanOptions;
use crate::draft::Draft;

/// The prefix ends with the last step that is too wide to run for the whole batch. The narrow ones after it take the whole batch,
/// so that their kernels are read once.
pub(super) fn run(draft: &mut Draft, options: &PlanOptions) -> Result<()> {
    let bytes = bytes_per_sample(draft, undifferentiated(draft));
    draft.prefix = end_of_wide_steps(draft, &bytes, options.unchunked_bytes / draft.batch);
    let widest = bytes[..draft.prefix].iter().copied().max().unwrap_or(0);
    draft.chunk = (options.chunk_bytes / widest.max(1)).clamp(1, draft.batch);
    if options.low_memory {
        draft.chunk = 1;
    }
    Ok(())
}

/// How many steps at the front can run a few samples at a time: nothing is differentiated, no sample is coupled to another, and
/// there is no Dense, which wants as many samples as it can get for each reading of its kernel.
pub(super) fn undifferentiated(draft: &Draft) -> usize {
    let chunkable = |(step, differentiated): &(&Step, &bool)| {
        !**differentiated && !step.op.couples_samples() && !matches!(step.op, Op::Dense)
    };
    draft.program.steps.iter().zip(&draft.differentiated).take_while(chunkable).count()
}

/// Index of the first step after the wide ones: from here on every step reads and writes at most `limit` bytes a sample, and none
/// is streamed.
fn end_of_wide_steps(draft: &Draft, bytes: &[usize], limit: usize) -> usize {
    let last_stream = draft.streams[..bytes.len()].iter().rposition(Option::is_some).map_or(0, |first| first + 2);
    let wide = bytes.iter().rposition(|&bytes| bytes > limit).map_or(0, |step| step + 1);
    wide.max(last_stream)
}

/// Bytes that each of the first `steps` steps reads and writes for a sample; rows that are streamed don't count.
fn bytes_per_sample(draft: &Draft, steps: usize) -> Vec<usize> {
    let steps = || draft.program.steps[..steps].iter().zip(&draft.streams);
    let streamed: HashSet<ValueId> =
        steps().filter(|(_, stream)| stream.is_some()).map(|(step, _)| step.output).collect();
    let floats = |step: &Step| {
        let values = step.inputs.iter().chain([&step.output]).filter(|value| !streamed.contains(value));
        values.map(|&value| draft.program.size(value)).sum::<usize>()
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
        // A chunk of the wide values, where what is narrow fits later; and what leaves it, of the whole batch.
        let lengths = [3 * 512 * 512 * 8, 4 * 256 * 256 * 8];
        assert_eq!(plan.buffers().iter().sum::<usize>(), lengths.iter().sum::<usize>());
        assert_eq!(plan.low_memory().unwrap().chunk(), 1);
        assert_eq!(Plan::predict(&model, 4, &PlanOptions::default()).unwrap().prefix(), 0..0);
    }
}
