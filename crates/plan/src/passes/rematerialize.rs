//! Chooses values that are not kept for the backward pass: they are recomputed right before it needs them first (Chen et al. 2016,
//! "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).
//!
//! Recomputing a step reads its inputs at that time. They must be there anyway, or be recomputed as well: no value is kept
//! longer than it would be, and no step runs more than twice.

use engraft_nn::Result;

use crate::PlanOptions;
use crate::buffers::Layout;
use crate::draft::Draft;
use crate::liveness::Liveness;

/// The most steps that are recomputed for one value. All that they make may be alive at once: along the sums of a residual
/// network, a longer chain would bring back together what was given up one by one.
const LONGEST_CHAIN: usize = 4;

/// Where memory is short, values that are cheap to compute are recomputed, if that saves memory: what is brought back for a moment
/// may weigh more than what is given up for long.
pub(super) fn run(draft: &mut Draft, options: &PlanOptions) -> Result<()> {
    if !options.low_memory || !draft.purpose.has_backward() {
        return Ok(());
    }
    let length = |draft: &Draft| Layout::new(&Liveness::new(draft, options)).length();
    let kept = length(draft);
    let recomputable = recomputable(&Liveness::new(draft, options));
    let nothing = std::mem::replace(&mut draft.rematerialized, recomputable);
    if length(draft) >= kept {
        draft.rematerialized = nothing;
    }
    Ok(())
}

/// How a value can be had in the backward pass, where nothing is kept for it alone.
#[derive(Clone, Copy)]
struct Source {
    /// The last time.
    until: usize,
    /// How many steps are recomputed for it; none if it is kept.
    steps: usize,
}

/// By root, whether it can be recomputed where the backward pass needs it.
fn recomputable(liveness: &Liveness<'_>) -> Vec<bool> {
    let mut recomputable = vec![false; liveness.families.len()];
    // Inputs are the caller's, who keeps them.
    let mut sources = vec![Source { until: usize::MAX, steps: 0 }; liveness.families.len()];
    for (index, step) in liveness.making() {
        let inputs = step.inputs.iter().map(|&input| sources[liveness.roots()[input]]);
        let again = inputs.fold(Source { until: usize::MAX, steps: 1 }, |all, input| Source {
            until: all.until.min(input.until),
            steps: all.steps + input.steps,
        });
        let needed = liveness.needed_backward(step.output);
        recomputable[step.output] = index >= liveness.draft.prefix
            && step.op.is_cheap()
            && !liveness.families[step.output].is_read_by_caller
            && again.steps <= LONGEST_CHAIN
            && needed.as_ref().is_none_or(|needed| *needed.start() <= again.until);
        // Where a gradient takes the place of a value, it does so in the backward pass of the only step that reads the value: what
        // that step makes has been recomputed by then. What the backward pass doesn't need itself may still be recomputed on the
        // way to something that it needs.
        let or_never = if recomputable[step.output] { again.until } else { 0 };
        sources[step.output] = Source {
            until: needed.map_or(or_never, |needed| *needed.end()),
            steps: if recomputable[step.output] { again.steps } else { 0 },
        };
    }
    recomputable
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_nn::{Loss, Program};

    use super::recomputable;
    use crate::draft::Draft;
    use crate::liveness::{Liveness, Storage};
    use crate::{PlanOptions, Purpose, passes};

    /// From when to when each value is there, and there again, where all that can be is recomputed.
    fn ranges(model: &Model) -> Vec<(Storage, usize, usize)> {
        let options = PlanOptions::default();
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss };
        let mut draft = Draft::new(Program::of(model, true, 0).unwrap(), purpose, 1);
        passes::run(&mut draft, &options).unwrap();
        draft.rematerialized = recomputable(&Liveness::new(&draft, &options));
        let liveness = Liveness::new(&draft, &options);
        let all = liveness.values().into_iter().chain(liveness.recomputed_values());
        all.map(|range| (range.storage, range.from, range.to)).collect()
    }

    #[test]
    fn a_chain_is_recomputed_from_what_is_kept() {
        let x = Input::new([8, 8, 2]);
        let y = Conv2D::new(2, 1).call(&x).unwrap();
        let y = BatchNormalization::new().call(&y).unwrap();
        let y = Activation::new(Relu).call(&y).unwrap();
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        // Forward at 1 to 4, back at 5 to 8. The normalization reads the first convolution's values at 7; its own are read by
        // nothing but the ReLU, which is recomputed at 5 for the second convolution and reads its result once more at 6.
        let kept = [
            (Storage::Value(1), 1, 7),
            (Storage::Value(2), 2, 3),
            (Storage::Value(3), 3, 4),
            (Storage::Value(4), 4, 9),
        ];
        let again = [(Storage::Recomputed(2), 5, 5), (Storage::Recomputed(3), 5, 6)];
        assert_eq!(ranges(&model), [&kept[..], &again].concat());
    }

    #[test]
    fn a_value_that_would_need_another_one_kept_is_kept_itself() {
        let x = Input::new([8, 8, 2]);
        // Nothing reads what stands before this ReLU once it has run.
        let y = Activation::new(Relu).call(&Conv2D::new(2, 1).call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        assert!(ranges(&model).iter().all(|(storage, ..)| matches!(storage, Storage::Value(_))));
    }

    #[test]
    fn along_sums_some_are_kept() {
        let x = Input::new([8, 8, 2]);
        let mut y = Conv2D::new(2, 1).call(&x).unwrap();
        for _ in 0..6 {
            let branch = BatchNormalization::new().call(&Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
            y = Add::new().call([&y, &branch]).unwrap();
        }
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        // Two steps are recomputed for a sum of a value that is kept, four for the next; for the third it would be six. Every
        // branch reads the sum before it backward, and makes three values.
        let ranges = ranges(&model);
        let recomputed = |sum: usize| ranges.iter().any(|(storage, ..)| *storage == Storage::Recomputed(1 + 3 * sum));
        assert_eq!([1, 2, 3, 4, 5, 6].map(recomputed), [true, true, false, true, true, false]);
    }
}
