//! Marks the Dense kernels that are updated some rows at a time while their gradient is computed. The gradient, as large as the
//! kernel, then needs no buffer.

use std::collections::HashMap;

use engraft_ir::Op;
use engraft_nn::{Regularizer, Result};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;
use crate::purpose::Purpose;

pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    if !options.fold_updates || !matches!(annotated.purpose, Purpose::Train { .. }) {
        return Ok(());
    }
    let mut uses: HashMap<usize, usize> = HashMap::new();
    let params = annotated.program.steps.iter().flat_map(|step| &step.weights);
    params.for_each(|param| *uses.entry(param.weight.id()).or_default() += 1);
    for (step, folded) in annotated.program.steps.iter().zip(&mut annotated.folded) {
        // If several steps use a kernel, its gradient is a sum over them, and must be complete before the update.
        let kernel = step.weights.first().filter(|_| matches!(step.op, Op::Dense));
        *folded = kernel.is_some_and(|kernel| {
            // The gradient of a penalty on the whole kernel is computed before the kernel changes.
            let by_rows = kernel.weight.regularizer().is_none_or(Regularizer::is_elementwise);
            kernel.trainable && by_rows && uses[&kernel.weight.id()] == 1
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::{Plan, PlanOptions};

    fn plan(fold_updates: bool) -> Plan {
        let layers = Sequential::new().add(Input::new([64])).add(Dense::new(256)).add(Dense::new(2));
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let options = PlanOptions::default().fold_updates(fold_updates);
        Plan::train(&layers.build().unwrap(), Sgd::new(0.1).into(), loss, 4, 0, &options).unwrap()
    }

    #[test]
    fn a_folded_gradient_has_no_buffer() {
        let [whole, folded] = [false, true].map(plan);
        let [with, without] = [&whole, &folded].map(|plan| plan.buffers().iter().sum::<usize>());
        assert!(with > 64 * 256 && without < 64 * 256, "{with} numbers with the gradients, {without} without");
        assert!(folded.folds_update(0) && folded.folds_update(1) && !whole.folds_update(0));
    }

    #[test]
    fn a_kernel_that_is_used_twice_is_not_folded() {
        let x = Input::new([4]);
        let shared = Dense::new(4).into_layer();
        let y = shared.call(&shared.call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let options = PlanOptions::default().fold_updates(true);
        let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 4, 0, &options).unwrap();
        assert!(!plan.folds_update(0) && !plan.folds_update(1));
    }
}
