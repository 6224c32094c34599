//! Marks the steps that the backward pass goes through: steps with a trainable weight, and steps whose inputs depend on a
//! trainable weight or on a value whose gradient the caller requests.

use std::collections::HashSet;

use engraft_ir::ValueId;
use engraft_nn::{Error, Result};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;
use crate::purpose::Purpose;

pub(super) fn run(annotated: &mut AnnotatedProgram, _options: &PlanOptions) -> Result<()> {
    if !annotated.purpose.has_backward() {
        return Ok(());
    }
    let mut with_gradient = requested_gradients(annotated);
    for (step, differentiated) in annotated.program.steps.iter().zip(&mut annotated.differentiated) {
        *differentiated = step.weights.iter().any(|param| param.trainable)
            || step.inputs.iter().any(|input| with_gradient.contains(input));
        if *differentiated {
            with_gradient.insert(step.output);
        }
    }
    let steps = annotated.program.steps.iter().zip(&annotated.differentiated);
    let blocked = steps.filter(|(_, differentiated)| **differentiated).find(|(step, _)| !step.op.differentiable());
    match blocked {
        None => Ok(()),
        Some((step, _)) => {
            Err(Error::because(format_args!("layer `{}`", step.layer), "a random layer can't be differentiated")
                .hint("put augmentation before the first trainable layer"))
        }
    }
}

/// The values whose gradients the caller requests; weights are not among them.
fn requested_gradients(annotated: &AnnotatedProgram) -> HashSet<ValueId> {
    match &annotated.purpose {
        Purpose::Gradients { inputs, values } => {
            let inputs = annotated.program.inputs.iter().filter(|_| *inputs);
            inputs.chain(values).copied().collect()
        }
        _ => HashSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::{GradientRequest, Plan, PlanOptions};

    fn model() -> Model {
        let x = Input::new([16, 16, 3]);
        let y = RandomFlip::horizontal().named("flip").call(&x).unwrap();
        let y = Conv2D::new(8, 3).named("conv1").call(&y).unwrap();
        let y = Conv2D::new(8, 3).named("conv2").call(&y).unwrap();
        let y = Dense::new(3).named("top").call(&Flatten::new().named("flatten").call(&y).unwrap()).unwrap();
        Model::new(&x, &y).unwrap()
    }

    fn differentiated(plan: &Plan) -> Vec<&str> {
        let steps = plan.program().steps.iter().enumerate();
        steps.filter(|(index, _)| plan.differentiates(*index)).map(|(_, step)| step.layer.as_str()).collect()
    }

    #[test]
    fn nothing_below_the_lowest_trainable_layer_is_differentiated() {
        let model = model();
        let loss = || Loss::categorical_crossentropy().from_logits(true);
        let train = || Plan::train(&model, Adam::new(1e-3).into(), loss(), 4, 0, &PlanOptions::default()).unwrap();
        let all = train();
        assert_eq!(differentiated(&all), ["conv1", "conv2", "flatten", "top"]);
        ["conv1", "conv2"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
        let head_only = train();
        // Flatten is differentiated only if a layer before it is.
        assert_eq!(differentiated(&head_only), ["top"]);
        assert!(head_only.memory().buffers < all.memory().buffers);
        assert!(head_only.memory().optimizer < all.memory().optimizer);
    }

    #[test]
    fn a_gradient_with_respect_to_a_layer_goes_no_further() {
        let request = GradientRequest { layers: vec!["conv2".into()], ..GradientRequest::default() };
        let plan = Plan::gradients(&model(), &request, 1, &PlanOptions::default()).unwrap();
        assert_eq!(differentiated(&plan), ["flatten", "top"]);
    }

    #[test]
    fn a_random_layer_above_a_trainable_one_is_refused() {
        let request = GradientRequest { training: true, inputs: true, ..GradientRequest::default() };
        let error = Plan::gradients(&model(), &request, 1, &PlanOptions::default()).unwrap_err().to_string();
        assert!(error.contains("layer `flip`") && error.contains("put augmentation before"), "{error}");
    }
}
