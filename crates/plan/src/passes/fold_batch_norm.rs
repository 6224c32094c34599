//! Folds batch normalizations in inference mode into the kernel and bias of the convolution before them (Jacob et al. 2018,
//! arXiv:1712.05877, section 3.2). The normalization then costs nothing.

use engraft_ir::{Activation, Op};
use engraft_nn::{FoldedNormalization, Result, Step};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

/// Folds where nothing else reads the values before the normalization, and where the backward pass goes through neither step.
///
/// So no gradient with respect to a weight of either step is needed. A normalization with the statistics of the batch is never
/// folded.
pub(super) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    annotated.merge_steps(|_, conv, norm, differentiated| {
        let folded = !differentiated && folds(conv, norm, options);
        if folded {
            conv.normalization = Some(FoldedNormalization { op: norm.op.clone(), weights: norm.weights.clone() });
        }
        folded
    });
    Ok(())
}

fn folds(conv: &Step, norm: &Step, options: &PlanOptions) -> bool {
    matches!(norm.op, Op::BatchNorm { batch_statistics: false, .. })
        && matches!(conv.op, Op::Conv2d { pool: None, .. })
        && conv.activation == Activation::Linear
        && conv.normalization.is_none()
        && (options.folds_batch_norm)(&conv.op)
}

#[cfg(test)]
mod tests {
    use engraft_ir::Activation::{Linear, Relu6};
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::{Plan, PlanOptions};

    fn options() -> PlanOptions {
        PlanOptions { fuses_activation: |_, _| true, folds_batch_norm: |_| true, ..PlanOptions::default() }
    }

    /// Two convolutions with a normalization and a ReLU6 each, and a classifier.
    fn model() -> Model {
        let x = Input::new([6, 6, 3]);
        let mut y = x.clone();
        for place in ["low", "high"] {
            y = DepthwiseConv2D::new(3).named(format!("{place}_conv")).call(&y).unwrap();
            y = BatchNormalization::new().named(format!("{place}_bn")).call(&y).unwrap();
            y = ReLU::new().max_value(6.0).named(format!("{place}_relu6")).call(&y).unwrap();
        }
        let y = Flatten::new().named("flat").call(&y).unwrap();
        Model::new(&x, &Dense::new(2).activation(Softmax).named("top").call(&y).unwrap()).unwrap()
    }

    fn layers(plan: &Plan) -> Vec<&str> {
        plan.program().steps.iter().map(|step| step.layer.as_str()).collect()
    }

    fn train(model: &Model) -> Plan {
        Plan::train(model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 2, 0, &options()).unwrap()
    }

    #[test]
    fn convolution_normalization_and_activation_become_one_step() {
        let model = model();
        let plan = Plan::predict(&model, 2, &options()).unwrap();
        assert_eq!(layers(&plan)[..3], ["low_conv, low_bn, low_relu6", "high_conv, high_bn, high_relu6", "flat"]);
        let step = &plan.program().steps[0];
        assert_eq!((step.activation, step.weights.len()), (Relu6, 2));
        assert_eq!(step.normalization.as_ref().unwrap().weights.len(), 4);
        // The weights of a program include those of folded normalizations.
        assert_eq!(plan.program().weights().len(), model.weights().len());
        let unfolded = Plan::predict(&model, 2, &PlanOptions::default()).unwrap();
        assert_eq!((unfolded.program().steps.len(), unfolded.memory().weights), (9, plan.memory().weights));
    }

    #[test]
    fn only_the_frozen_part_of_a_training_step_is_folded() {
        let model = model();
        let unfolded = train(&model);
        assert!(unfolded.program().steps.iter().all(|step| step.normalization.is_none()));
        assert_eq!(unfolded.program().steps[0].activation, Linear);
        for layer in ["low_conv", "low_bn"] {
            // With the other layer trainable, gradients with respect to its weights go through the pair.
            model.get_layer(layer).unwrap().set_trainable(false);
            let folds = layer == "low_bn";
            assert_eq!(train(&model).program().steps[0].normalization.is_some(), folds);
        }
        model.get_layer("low_conv").unwrap().set_trainable(true);
        assert!(train(&model).program().steps[0].normalization.is_none(), "the kernel is trained");
        model.get_layer("low_conv").unwrap().set_trainable(false);
        // The backward pass goes through a frozen pair above a trained layer.
        ["high_conv", "high_bn"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
        assert_eq!(layers(&train(&model))[1], "high_conv, high_bn, high_relu6");
        model.get_layer("low_bn").unwrap().set_trainable(true);
        assert!(train(&model).program().steps.iter().all(|step| step.normalization.is_none()));
    }

    #[test]
    fn values_that_are_read_elsewhere_are_computed() {
        let features = Plan::features(&model(), "low_conv", 1, &options()).unwrap();
        assert_eq!(layers(&features), ["low_conv"]);
        let x = Input::new([4, 4, 2]);
        let y = Conv2D::new(2, 1).named("conv").call(&x).unwrap();
        let sum = Add::new().call([&y, &BatchNormalization::new().call(&y).unwrap()]).unwrap();
        let plan = Plan::predict(&Model::new(&x, &sum).unwrap(), 1, &options()).unwrap();
        assert_eq!(plan.program().steps.len(), 3);
    }

    #[test]
    fn a_normalization_after_the_activation_stays_a_step() {
        let x = Input::new([4, 4, 2]);
        let y = Conv2D::new(2, 1).activation(Relu).call(&x).unwrap();
        let y = BatchNormalization::new().call(&y).unwrap();
        let plan = Plan::predict(&Model::new(&x, &y).unwrap(), 1, &options()).unwrap();
        assert_eq!(plan.program().steps.len(), 2);
        let y = BatchNormalization::new().call(&Conv2D::new(2, 1).call(&x).unwrap()).unwrap();
        let twice = Model::new(&x, &BatchNormalization::new().call(&y).unwrap()).unwrap();
        assert_eq!(Plan::predict(&twice, 1, &options()).unwrap().program().steps.len(), 2);
    }
}
