//! Whether calls fit a session's plan.

use engraft_nn::{Error, Result, Tensor};
use engraft_plan::{GradientReducer, Plan, Purpose};

/// The number of samples, once inputs are found to be what the plan is for.
pub(crate) fn check_inputs(plan: &Plan, inputs: &[&Tensor]) -> Result<usize> {
    let program = plan.program();
    if inputs.len() != program.inputs.len() {
        return Err(Error::new("inputs", format_args!("{} tensors", program.inputs.len()), inputs.len()));
    }
    let samples = inputs.first().map_or(0, |input| input.batch());
    for (input, &value) in inputs.iter().zip(&program.inputs) {
        let expected = [&[samples], program.shapes[value].as_slice()].concat();
        if input.shape() != expected {
            return Err(Error::new("input", format_args!("{expected:?}"), format_args!("{:?}", input.shape()))
                .hint("resize the photos to the model's input size"));
        }
    }
    if samples > plan.batch() {
        return Err(Error::new("input", format_args!("at most {} samples", plan.batch()), samples));
    }
    Ok(samples)
}

/// A plan that is trained, whose gradients exist if the reducer needs them. Here they always do, but other replicas may fold.
pub(crate) fn check_reducible(plan: &Plan, reducer: &dyn GradientReducer) -> Result<()> {
    if !matches!(plan.purpose(), Purpose::Train { .. }) {
        return Err(wrong_purpose("forward_backward", "a plan of training", plan));
    }
    let folds = (0..plan.program().steps.len()).any(|index| plan.folds_update(index));
    if folds && reducer.needs_gradients() {
        return Err(Error::because("forward_backward", "the plan folds updates, so that not all gradients exist")
            .hint("plan with `fold_updates(false)` to sum gradients over replicas"));
    }
    Ok(())
}

/// The plan of a session is for something else than this call.
pub(crate) fn wrong_purpose(call: &str, expected: &str, plan: &Plan) -> Error {
    Error::new(call, expected, format_args!("{:?}", plan.purpose()))
}

/// A training step, counted from 1, whose loss is not finite.
pub(crate) fn not_finite(loss: f64, step: u64) -> Error {
    let (cause, hint) = match step {
        1 => (
            "nothing was learned yet, so the inputs or the weights hold values that are not finite or far too large",
            "check the weights file, and that pixels are scaled as the network expects",
        ),
        _ => ("the weights have most likely run away", "use a smaller learning rate, for example a tenth of this one"),
    };
    Error::because(format_args!("training step {step}"), format_args!("the loss is {loss}: {cause}")).hint(hint)
}
