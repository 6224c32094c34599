//! Checks of a session's calls against its plan, and the errors for wrong calls.

use engraft_nn::{Error, Result, Tensor};
use engraft_plan::{GradientReducer, Plan, Purpose};

/// Checks number and shapes of the inputs; returns the number of samples.
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

/// An error unless the plan trains, or where it folds updates although the reducer needs gradients.
///
/// This executor never folds, but the replicas that the reducer sums over may be other executors with the same plan.
pub(crate) fn check_reducible(plan: &Plan, reducer: &dyn GradientReducer) -> Result<()> {
    if !matches!(plan.purpose(), Purpose::Train { .. }) {
        return Err(wrong_purpose("forward_backward", "a plan of training", plan));
    }
    let folds = (0..plan.program().steps.len()).any(|index| plan.folds_update(index));
    if folds && reducer.needs_gradients() {
        return Err(Error::because(
            "forward_backward",
            "the plan folds updates: some gradients never exist as a whole",
        )
        .hint("plan with `fold_updates(false)` to sum gradients over replicas"));
    }
    Ok(())
}

/// The error that a session's plan has another purpose than `call` needs.
pub(crate) fn wrong_purpose(call: &str, expected: &str, plan: &Plan) -> Error {
    Error::new(call, expected, format_args!("{:?}", plan.purpose()))
}

/// The error for a training step, counted from 1, whose loss is not finite.
pub(crate) fn not_finite(loss: f64, step: u64) -> Error {
    let (cause, hint) = match step {
        1 => (
            "no weight was updated yet, so the inputs or the initial weights are not finite or far too large",
            "check the weights file, and that pixels are scaled as the network expects",
        ),
        _ => ("training has most likely diverged", "use a smaller learning rate, for example a tenth of this one"),
    };
    Error::because(format_args!("training step {step}"), format_args!("the loss is {loss}: {cause}")).hint(hint)
}
