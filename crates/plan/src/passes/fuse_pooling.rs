//! Fuses max pooling in windows of 2x2 into the convolution before it, as part of its epilogue: the values before pooling, four
//! times as many as after it, are never written.

use engraft_ir::{Activation, Op, PoolKind, ValueId};
use engraft_nn::{Program, Result, Step};

use crate::PlanOptions;
use crate::draft::Draft;

/// Only where no gradient goes through, and where nothing else reads the values before pooling.
pub(super) fn run(draft: &mut Draft, options: &PlanOptions) -> Result<()> {
    let readers = draft.readers();
    let mut steps: Vec<Step> = Vec::with_capacity(draft.program.steps.len());
    let mut kept = Vec::with_capacity(draft.program.steps.len());
    for (index, step) in std::mem::take(&mut draft.program.steps).into_iter().enumerate() {
        let fused = !draft.differentiated[index]
            && kept.last().is_some_and(|&conv: &usize| !draft.differentiated[conv])
            && steps
                .last()
                .is_some_and(|conv| readers[conv.output] == 1 && fuses(&draft.program, conv, &step, options));
        match steps.last_mut().filter(|_| fused) {
            Some(conv) => fuse(&draft.program, conv, &step),
            None => {
                steps.push(step);
                kept.push(index);
            }
        }
    }
    draft.program.steps = steps;
    draft.differentiated = kept.iter().map(|&index| draft.differentiated[index]).collect();
    draft.folded = kept.iter().map(|&index| draft.folded[index]).collect();
    draft.streams.truncate(kept.len());
    Ok(())
}

fn fuse(program: &Program, conv: &mut Step, pooling: &Step) {
    let shape = &program.shapes[conv.output];
    if let Op::Conv2d { pool, .. } = &mut conv.op {
        *pool = Some([shape[0], shape[1]]);
    }
    conv.output = pooling.output;
    conv.layer = format!("{}, {}", conv.layer, pooling.layer);
}

fn fuses(program: &Program, conv: &Step, pooling: &Step, options: &PlanOptions) -> bool {
    let shape = |value: ValueId| &program.shapes[value];
    let [height, width] = match shape(conv.output)[..] {
        [height, width, _] => [height, width],
        _ => return false,
    };
    let windows = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
    pooling.op == windows
        && pooling.inputs == [conv.output]
        && shape(pooling.output)[..2] == [height / 2, width / 2]
        && matches!(conv.op, Op::Conv2d { pool: None, .. })
        // The maximum commutes with functions that never fall.
        && matches!(conv.activation, Activation::Linear | Activation::Relu)
        && conv
            .op
            .conv2d_shape(1, shape(conv.inputs[0]), shape(conv.output))
            .is_some_and(|shape| (options.fuses_pooling)(&shape))
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::{Plan, PlanOptions};

    fn options() -> PlanOptions {
        PlanOptions { fuses_pooling: |_| true, ..PlanOptions::default() }
    }

    fn model() -> Model {
        let x = Input::new([12, 13, 24]);
        let conv = Conv2D::new(24, 3).padding(Padding::Same).activation(Relu).named("conv");
        let y = MaxPooling2D::new(2).named("pool").call(&conv.call(&x).unwrap()).unwrap();
        Model::new(&x, &Dense::new(2).activation(Softmax).call(&Flatten::new().call(&y).unwrap()).unwrap()).unwrap()
    }

    fn fused(plan: &Plan) -> bool {
        plan.program().steps.iter().any(|step| matches!(step.op, Op::Conv2d { pool: Some([12, 13]), .. }))
    }

    #[test]
    fn pooling_is_fused_where_no_gradient_goes_through() {
        let model = model();
        let train =
            || Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 2, 0, &options()).unwrap();
        let predict = Plan::predict(&model, 2, &options()).unwrap();
        assert!(fused(&predict) && predict.program().steps[0].layer == "conv, pool");
        assert!(!fused(&train()));
        model.get_layer("conv").unwrap().set_trainable(false);
        assert!(fused(&train()));
        assert!(!fused(&Plan::features(&model, "conv", 2, &options()).unwrap()), "what is asked for must be there");
        assert!(fused(&Plan::features(&model, "pool", 2, &options()).unwrap()));
        assert!(!fused(&Plan::predict(&model, 2, &PlanOptions::default()).unwrap()), "the executor can't");
    }

    #[test]
    fn the_work_is_that_before_pooling() {
        let plan = Plan::predict(&model(), 1, &options()).unwrap();
        assert_eq!(plan.work(0).forward, 2 * (12 * 13 * 24) * (9 * 24));
    }
}
