//! Chooses the values to rematerialize: they aren't kept for the backward pass, but recomputed right before it needs them (Chen
//! et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).
//!
//! Recomputing a value reads the inputs of its step. They must be live at that time anyway, or be recomputed as well. So no value
//! lives longer because of recomputation, and no step runs more than twice.

use engraft_nn::Result;

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;
use crate::buffers::BufferAssignment;
use crate::liveness::Liveness;

/// Limit of the steps that are recomputed for one value. All their outputs may be live at once. In a residual network, longer
/// chains would recompute the sums of many blocks at once and save no memory.
const MAX_CHAIN: usize = 4;

/// Recomputes cheap values in a low-memory plan, if that makes its buffers smaller. The peak may also grow, as many recomputed
/// values may be live at once.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    if !options.low_memory || !annotated.purpose.has_backward() {
        return Ok(());
    }
    let length = |annotated: &AnnotatedProgram| BufferAssignment::new(&Liveness::new(annotated, options)).length();
    let kept = length(annotated);
    let recomputable = recomputable(&Liveness::new(annotated, options));
    let nothing = std::mem::replace(&mut annotated.rematerialized, recomputable);
    if length(annotated) >= kept {
        annotated.rematerialized = nothing;
    }
    Ok(())
}

/// Until when recomputed steps of the backward pass can read a value, and how many steps that takes. No value is kept for them
/// alone.
#[derive(Clone, Copy)]
struct Availability {
    /// The last time at which the value can be read.
    until: usize,
    /// The number of steps to recompute before the value can be read; 0 if it is kept.
    steps: usize,
}

/// By root, whether it can be recomputed where the backward pass needs it.
fn recomputable(liveness: &Liveness<'_>) -> Vec<bool> {
    let mut recomputable = vec![false; liveness.alias_sets.len()];
    // The inputs of the program can always be read, because the caller keeps them.
    let mut available = vec![Availability { until: usize::MAX, steps: 0 }; liveness.alias_sets.len()];
    for (index, step) in liveness.producing_steps() {
        let inputs = step.inputs.iter().map(|&input| available[liveness.roots()[input]]);
        let recomputed = inputs.fold(Availability { until: usize::MAX, steps: 1 }, |all, input| Availability {
            until: all.until.min(input.until),
            steps: all.steps + input.steps,
        });
        let needed = liveness.needed_backward(step.output);
        recomputable[step.output] = index >= liveness.annotated.prefix
            && step.op.is_cheap()
            && !liveness.alias_sets[step.output].is_read_by_caller
            && recomputed.steps <= MAX_CHAIN
            && needed.as_ref().is_none_or(|needed| *needed.start() <= recomputed.until);
        // If the gradient overwrites the value, `needed` covers the live range of the gradient, too. So `until` is later than the
        // last time at which the value can be read. That does no harm: the value has only one reader, and the reader's output is
        // recomputed before the value is overwritten.
        //
        // A value that the backward pass doesn't read may still be recomputed as an input of another recomputed value.
        let if_not_needed = if recomputable[step.output] { recomputed.until } else { 0 };
        available[step.output] = Availability {
            until: needed.map_or(if_not_needed, |needed| *needed.end()),
            steps: if recomputable[step.output] { recomputed.steps } else { 0 },
        };
    }
    recomputable
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_nn::{Loss, Program};

    use super::recomputable;
    use crate::annotated_program::AnnotatedProgram;
    use crate::liveness::{Liveness, Storage};
    use crate::{PlanOptions, Purpose, passes};

    /// The live ranges of values and of recomputed values, if all values are recomputed that can be.
    fn ranges(model: &Model) -> Vec<(Storage, usize, usize)> {
        let options = PlanOptions::default();
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss };
        let mut annotated = AnnotatedProgram::new(Program::of(model, true, 0).unwrap(), purpose, 1);
        passes::run(&mut annotated, &options).unwrap();
        annotated.rematerialized = recomputable(&Liveness::new(&annotated, &options));
        let liveness = Liveness::new(&annotated, &options);
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
        // Steps 0 to 3 run forward at times 1 to 4 and backward at times 8 to 5. The first convolution's output is kept until the
        // backward pass of the normalization, at 7. The outputs of the normalization and the ReLU are recomputed at 5 for the
        // second convolution. The backward pass of the ReLU reads the ReLU's output, at 6.
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
        // The backward pass of a ReLU reads its output only. So the first convolution's output isn't kept for the backward pass,
        // and the ReLU can't be recomputed from it.
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
        // If the value below a sum is kept, recomputing the sum takes two steps: normalization and addition. The next sum takes
        // four steps. The third would take six, more than `MAX_CHAIN`, so it is kept. Sum `s` is the value `1 + 3 * s`.
        let ranges = ranges(&model);
        let recomputed = |sum: usize| ranges.iter().any(|(storage, ..)| *storage == Storage::Recomputed(1 + 3 * sum));
        assert_eq!([1, 2, 3, 4, 5, 6].map(recomputed), [true, true, false, true, true, false]);
    }
}
