//! Steps that run as one.

use engraft_kernels::{Activation, PoolKind};

use super::{Op, Program, Step, ValueId};

impl Program {
    /// Max pooling in windows of 2x2 joins the convolution whose outputs it alone reads, where no gradient goes through: what is
    /// pooled, four times as large as what remains, is then never written. Gives which of the steps left are differentiated.
    pub(super) fn join_pools(&mut self, differentiated: Vec<bool>) -> Vec<bool> {
        let mut left = Vec::with_capacity(differentiated.len());
        let mut steps: Vec<Step> = Vec::with_capacity(self.steps.len());
        let readers = self.readers();
        for (step, differentiated) in std::mem::take(&mut self.steps).into_iter().zip(differentiated) {
            match (steps.last_mut(), left.last()) {
                (Some(conv), Some(false))
                    if !differentiated && readers[conv.output] == 1 && self.joins(conv, &step) =>
                {
                    let shape = &self.shapes[conv.output];
                    if let Op::Conv2d { pool, .. } = &mut conv.op {
                        *pool = Some([shape[0], shape[1]]);
                    }
                    conv.output = step.output;
                    conv.layer = format!("{}, {}", conv.layer, step.layer);
                }
                _ => {
                    steps.push(step);
                    left.push(differentiated);
                }
            }
        }
        self.steps = steps;
        left
    }

    /// How often each value is read, by a step or as an output.
    pub(super) fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.shapes.len()];
        let read = self.steps.iter().flat_map(|step| &step.inputs).chain(&self.outputs);
        read.for_each(|&value: &ValueId| readers[value] += 1);
        readers
    }

    fn joins(&self, conv: &Step, pool: &Step) -> bool {
        let shape = |value: ValueId| &self.shapes[value];
        let [height, width] = match shape(conv.output)[..] {
            [height, width, _] => [height, width],
            _ => return false,
        };
        let windows = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
        pool.op == windows
            && pool.inputs == [conv.output]
            && shape(pool.output)[..2] == [height / 2, width / 2]
            && matches!(conv.op, Op::Conv2d { pool: None, .. })
            // Those that keep the order of values.
            && matches!(conv.activation, Activation::Linear | Activation::Relu)
            && conv
                .op
                .conv2d_shape(1, shape(conv.inputs[0]), shape(conv.output))
                .is_some_and(|shape| shape.can_pool())
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Op, Plan};
    use crate::prelude::*;

    fn model() -> Model {
        let x = Input::new([12, 13, 24]);
        let conv = Conv2D::new(24, 3).padding(Padding::Same).activation(Relu).named("conv");
        let y = MaxPooling2D::new(2).named("pool").call(&conv.call(&x).unwrap()).unwrap();
        Model::new(&x, &Dense::new(2).activation(Softmax).call(&Flatten::new().call(&y).unwrap()).unwrap()).unwrap()
    }

    fn joined(plan: &Plan) -> bool {
        plan.program().steps.iter().any(|step| matches!(step.op, Op::Conv2d { pool: Some([12, 13]), .. }))
    }

    #[test]
    fn a_pool_joins_its_convolution_where_no_gradient_goes_through() {
        let model = model();
        let train = || Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 2, 0).unwrap();
        let predict = Plan::predict(&model, 2).unwrap();
        assert!(joined(&predict) && predict.program().steps[0].layer == "conv, pool");
        assert!(!joined(&train()));
        model.get_layer("conv").unwrap().set_trainable(false);
        assert!(joined(&train()));
        assert!(!joined(&Plan::features(&model, "conv", 2).unwrap()), "what is asked for must be there");
        assert!(joined(&Plan::features(&model, "pool", 2).unwrap()));
    }

    #[test]
    fn the_work_is_that_before_the_pool() {
        let plan = Plan::predict(&model(), 1).unwrap();
        assert_eq!(plan.work(0).forward, 2 * (12 * 13 * 24) * (9 * 24));
    }
}
