//! [`UnfusedProgram`]: a plan's program with one operation per node, in which fusions are undone.

use engraft_ir::{Activation, Op, PoolKind, Shape, ValueId};
use engraft_nn::{FoldedNormalization, Param, Step};
use engraft_plan::Plan;

/// A plan's program in which folded normalizations, fused activations and fused poolings are nodes of their own.
///
/// Values of the plan's program keep their ids; the values between undone fusions get new ids after them.
#[derive(Debug)]
pub(crate) struct UnfusedProgram {
    pub(crate) nodes: Vec<Node>,
    pub(crate) shapes: Vec<Shape>,
}

/// One operation with the ids of its inputs and output.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) output: ValueId,
    /// Weights in the layer's order.
    pub(crate) weights: Vec<Param>,
    /// Whether the backward pass visits it.
    pub(crate) differentiated: bool,
}

impl UnfusedProgram {
    pub(crate) fn of(plan: &Plan) -> Self {
        let program = plan.program();
        let mut unfused = Self { nodes: Vec::new(), shapes: program.shapes.clone() };
        for (index, step) in program.steps.iter().enumerate() {
            let mut inputs = step.inputs.clone();
            let operations = operations(step, &program.shapes[step.output]);
            let last = operations.len() - 1;
            for (place, (op, shape, weights)) in operations.into_iter().enumerate() {
                let output = if place == last { step.output } else { unfused.add_value(shape) };
                let inputs = std::mem::replace(&mut inputs, vec![output]);
                unfused.nodes.push(Node { op, inputs, output, weights, differentiated: plan.differentiates(index) });
            }
        }
        unfused
    }

    /// Adds a value of this shape; returns its id.
    fn add_value(&mut self, shape: Shape) -> ValueId {
        self.shapes.push(shape);
        self.shapes.len() - 1
    }
}

/// The operations of a step in order, each with its output shape and weights. `output` is the shape of the last one.
fn operations(step: &Step, output: &Shape) -> Vec<(Op, Shape, Vec<Param>)> {
    let mut op = step.op.clone();
    let pooled = match &mut op {
        Op::Conv2d { pool, .. } => pool.take(),
        _ => None,
    };
    let before_pooling = match (pooled, &output[..]) {
        (Some([height, width]), [_, _, filters]) => vec![height, width, *filters],
        _ => output.clone(),
    };
    let mut operations = vec![(op, before_pooling.clone(), step.weights.clone())];
    if let Some(FoldedNormalization { op, weights }) = &step.normalization {
        operations.push((op.clone(), before_pooling.clone(), weights.clone()));
    }
    if step.activation != Activation::Linear {
        operations.push((Op::Activation(step.activation), before_pooling, Vec::new()));
    }
    if pooled.is_some() {
        let pool = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
        operations.push((pool, output.clone(), Vec::new()));
    }
    operations
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_plan::PlanOptions;

    use super::*;

    #[test]
    fn a_fused_step_becomes_a_chain() {
        let x = Input::new([5, 4, 2]);
        let y = Conv2D::new(3, 3).padding(Padding::Same).call(&x).unwrap();
        let y = ReLU::new().call(&BatchNormalization::new().call(&y).unwrap()).unwrap();
        let model = Model::new(&x, &MaxPooling2D::new(2).call(&y).unwrap()).unwrap();
        let options = PlanOptions {
            folds_batch_norm: |_| true,
            fuses_activation: |_, _| true,
            fuses_pooling: |_| true,
            ..PlanOptions::default()
        };
        let plan = Plan::predict(&model, 1, &options).unwrap();
        assert_eq!(plan.program().steps.len(), 1);
        let unfused = UnfusedProgram::of(&plan);
        let [conv, norm, relu, pool] = &unfused.nodes[..] else { panic!("four operations, not {:?}", unfused.nodes) };
        assert!(matches!(conv.op, Op::Conv2d { pool: None, .. }) && matches!(pool.op, Op::Pool2d { .. }));
        assert!(matches!(norm.op, Op::BatchNorm { .. }));
        let inputs = [norm, relu, pool].map(|node| node.inputs.as_slice());
        assert_eq!(inputs, [&[conv.output][..], &[norm.output], &[relu.output]]);
        assert_eq!(unfused.shapes[relu.output], [5, 4, 3]);
        assert_eq!([conv, norm, relu, pool].map(|node| node.weights.len()), [2, 4, 0, 0]);
        assert_eq!(pool.output, plan.program().outputs[0]);
    }
}
