//! Fuses activation functions into the epilogue of the convolution or Dense step before them. The values before the activation
//! are then not written to memory.

use engraft_ir::{Activation, Op};
use engraft_nn::{Result, Step};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

/// Fuses where nothing else reads the values before the activation, and where the backward pass doesn't need them either.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    annotated.merge_steps(|_, last, step, differentiated| {
        let Op::Activation(function) = step.op else { return false };
        let fused = fuses(last, function, differentiated, options);
        if fused {
            last.activation = function;
        }
        fused
    });
    Ok(())
}

fn fuses(last: &Step, function: Activation, differentiated: bool, options: &PlanOptions) -> bool {
    last.activation == Activation::Linear
        && (function.gradient_from_output() || !differentiated)
        && matches!(last.op, Op::Conv2d { .. } | Op::Dense)
        && (options.fuses_activation)(&last.op, function)
}

#[cfg(test)]
mod tests {
    use engraft_ir::Activation::{Linear, Relu};
    use engraft_ir::Op;
    use engraft_nn::layers::Activation;
    use engraft_nn::prelude::{Add, Conv2D, Dense, Flatten, Input, LayerDefExt, Model};
    use engraft_nn::{ActivationFn, Loss, Optimizer, OutputActivation};

    use crate::{Plan, PlanOptions};

    fn options() -> PlanOptions {
        PlanOptions { fuses_activation: |_, _| true, ..PlanOptions::default() }
    }

    /// A convolution with an activation of its own, a Dense layer and a separate activation layer.
    fn model(function: ActivationFn) -> Model {
        let x = Input::new([4, 4, 2]);
        let y = Flatten::new().call(&Conv2D::new(3, 3).activation(function).named("conv").call(&x).unwrap()).unwrap();
        let y =
            Activation::new(function).named("active").call(&Dense::new(5).named("dense").call(&y).unwrap()).unwrap();
        Model::new(&x, &y).unwrap()
    }

    fn layers(plan: &Plan) -> Vec<&str> {
        plan.program().steps.iter().map(|step| step.layer.as_str()).collect()
    }

    #[test]
    fn activations_become_part_of_the_product_before_them() {
        let model = model(ActivationFn::Relu);
        let plan = Plan::predict(&model, 1, &options()).unwrap();
        assert_eq!(layers(&plan), ["conv", "flatten", "dense, active"]);
        assert_eq!(plan.program().steps.iter().map(|step| step.activation).collect::<Vec<_>>(), [Relu, Linear, Relu]);
        assert_eq!(plan.program().outputs, [plan.program().steps[2].output]);
        let unfused = Plan::predict(&model, 1, &PlanOptions::default()).unwrap();
        assert_eq!(layers(&unfused), ["conv", "conv", "flatten", "dense", "active"]);
    }

    #[test]
    fn values_that_are_read_elsewhere_are_computed() {
        let requested = Plan::features(&model(ActivationFn::Relu), "dense", 1, &options()).unwrap();
        assert_eq!(layers(&requested), ["conv", "flatten", "dense"]);
        let x = Input::new([3]);
        let y = Dense::new(3).named("dense").call(&x).unwrap();
        let sum =
            Add::new().named("sum").call([&y, &Activation::new(ActivationFn::Relu).named("active").call(&y).unwrap()]);
        let plan = Plan::predict(&Model::new(&x, &sum.unwrap()).unwrap(), 1, &options()).unwrap();
        assert_eq!(layers(&plan), ["dense", "active", "sum"]);
    }

    #[test]
    fn an_activation_whose_gradient_needs_its_input_is_fused_where_nothing_is_differentiated() {
        let model = model(ActivationFn::Silu);
        let train = || {
            let loss = Loss::categorical_crossentropy().from_logits(true);
            Plan::train(&model, engraft_nn::Sgd::new(0.1).into(), loss, 1, 0, &options()).unwrap()
        };
        assert_eq!(layers(&Plan::predict(&model, 1, &options()).unwrap()), ["conv", "flatten", "dense, active"]);
        let trained = train();
        assert_eq!(layers(&trained), ["conv", "conv", "flatten", "dense", "active"]);
        assert!(trained.program().steps.iter().all(|step| step.activation == Linear));
        model.get_layer("conv").unwrap().set_trainable(false);
        assert_eq!(layers(&train()), ["conv", "flatten", "dense", "active"]);
    }

    #[test]
    fn the_activation_of_the_output_is_left_to_the_loss() {
        let x = Input::new([3]);
        let y = Dense::new(1).activation(ActivationFn::Sigmoid).call(&x).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let loss = Loss::binary_crossentropy();
        let optimizer: Optimizer = engraft_nn::Sgd::new(0.1).into();
        let plan = Plan::train(&model, optimizer, loss, 1, 0, &options()).unwrap();
        assert_eq!(plan.output_activation(), OutputActivation::Sigmoid);
        assert!(matches!(&plan.program().steps[..], [step] if step.op == Op::Dense && step.activation == Linear));
    }
}
