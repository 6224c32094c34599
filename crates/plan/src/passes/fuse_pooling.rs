//! Fuses max pooling in 2x2 windows into the epilogue of the convolution before it. The values before pooling, four times as many
//! as after it, are then not written to memory.

use engraft_ir::{Activation, Op, PoolKind, ValueId};
use engraft_nn::{Program, Result, Step};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

/// Fuses where neither step is differentiated and nothing else reads the values before pooling.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    annotated.merge_steps(|program, conv, pooling, differentiated| {
        let fused = !differentiated && fuses(program, conv, pooling, options);
        if fused && let Op::Conv2d { pool, .. } = &mut conv.op {
            let shape = &program.shapes[conv.output];
            *pool = Some([shape[0], shape[1]]);
        }
        fused
    });
    Ok(())
}

fn fuses(program: &Program, conv: &Step, pooling: &Step, options: &PlanOptions) -> bool {
    let shape = |value: ValueId| &program.shapes[value];
    let [height, width] = match shape(conv.output)[..] {
        [height, width, _] => [height, width],
        _ => return false,
    };
    let windows = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
    pooling.op == windows
        && shape(pooling.output)[..2] == [height / 2, width / 2]
        && matches!(conv.op, Op::Conv2d { pool: None, .. })
        // The maximum commutes with non-decreasing functions.
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
        PlanOptions { fuses_activation: |_, _| true, fuses_pooling: |_| true, ..PlanOptions::default() }
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
        assert!(!fused(&Plan::features(&model, "conv", 2, &options()).unwrap()), "requested values must be computed");
        assert!(fused(&Plan::features(&model, "pool", 2, &options()).unwrap()));
        assert!(!fused(&Plan::predict(&model, 2, &PlanOptions::default()).unwrap()), "the executor can't");
    }

    #[test]
    fn the_work_is_that_before_pooling() {
        let plan = Plan::predict(&model(), 1, &options()).unwrap();
        assert_eq!(plan.work(0).forward, 2 * (12 * 13 * 24) * (9 * 24));
    }
}
