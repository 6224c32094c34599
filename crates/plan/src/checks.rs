//! Checks of a session's arguments against its plan, with their error messages.
//!
//! Every executor makes them, so that a wrong call gets the same error from each.

use engraft_nn::{Error, ErrorKind, Optimizer, Result, Tensor, Weight};

use crate::{GradientReducer, LabelledBatch, Plan, Purpose};

/// Checks number and shapes of a plan's inputs, and returns the number of samples.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, checks};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// assert_eq!(checks::inputs(&plan, &[&Tensor::zeros([3, 4])])?, 3);
/// let error = checks::inputs(&plan, &[&Tensor::zeros([17, 4])]).unwrap_err();
/// assert_eq!(error.to_string(), "input: expected at most 16 samples, received 17");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// The inputs differ from the plan's in number or shape, or have more samples than the plan's batch.
pub fn inputs(plan: &Plan, inputs: &[&Tensor]) -> Result<usize> {
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

/// Checks that a batch of `samples` samples has one sample weight for each, if it has sample weights.
///
/// ```
/// use engraft_nn::Tensor;
/// use engraft_plan::{LabelledBatch, checks};
/// let (x, y) = (Tensor::zeros([2, 4]), Tensor::zeros([2, 3]));
/// let inputs = [&x];
/// let batch = LabelledBatch::new(&inputs, &y);
/// assert!(checks::sample_weights(&batch, 2).is_ok());
/// assert!(checks::sample_weights(&batch.sample_weights(Some(&[1.0])), 2).is_err());
/// ```
///
/// # Errors
/// The number of sample weights differs from `samples`.
pub fn sample_weights(batch: &LabelledBatch<'_>, samples: usize) -> Result<()> {
    match batch.sample_weights {
        Some(weights) if weights.len() != samples => {
            Err(Error::new("sample weights", format_args!("{samples} numbers"), weights.len()))
        }
        _ => Ok(()),
    }
}

/// Checks that a plan is for training, and that it folds no updates if the reducer needs complete gradients.
///
/// Executors that never fold check it too: the other replicas may run the same plan on another executor.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, SingleReplica, checks};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// let error = checks::reducible(&plan, &SingleReplica).unwrap_err();
/// assert!(error.to_string().contains("expected a plan of training"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// A plan with another purpose, or with folded updates that the reducer can't sum.
pub fn reducible(plan: &Plan, reducer: &dyn GradientReducer) -> Result<()> {
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

/// Checks that the loss of a training step is finite. `iteration` is the number of steps before this one.
///
/// ```
/// use engraft_nn::ErrorKind;
/// use engraft_plan::checks;
/// assert!(checks::finite_loss(0.7, 0).is_ok());
/// let error = checks::finite_loss(f64::NAN, 99).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NonFinite);
/// assert!(error.to_string().starts_with("training step 100: the loss is NaN"));
/// ```
///
/// # Errors
/// The loss is infinite or not a number. The error names the likely cause.
pub fn finite_loss(loss: f64, iteration: u64) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    let (cause, hint) = match iteration {
        0 => (
            "no weight was updated yet, so the inputs or the initial weights are not finite or far too large",
            "check the weights file, and that pixels are scaled as the network expects",
        ),
        _ => ("training has most likely diverged", "use a smaller learning rate, for example a tenth of this one"),
    };
    Err(Error::because(format_args!("training step {}", iteration + 1), format_args!("the loss is {loss}: {cause}"))
        .with_kind(ErrorKind::NonFinite)
        .hint(hint))
}

/// Checks that the slots of a weight are those of this optimizer.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::checks;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let bias = &model.weights()[1];
/// let momentum = [vec![0.0; 2]];
/// assert!(checks::slots(&Sgd::new(0.1).momentum(0.9).into(), bias, &momentum).is_ok());
/// let error = checks::slots(&Adam::new(0.1).into(), bias, &momentum).unwrap_err();
/// assert!(error.to_string().contains("top/bias: expected 2 arrays of 2 numbers, received arrays of [2]"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// The number of slots differs from the optimizer's, or the length of a slot from the weight's.
pub fn slots(optimizer: &Optimizer, weight: &Weight, slots: &[Vec<f32>]) -> Result<()> {
    let (count, length) = (optimizer.slots(), weight.count());
    if slots.len() == count && slots.iter().all(|slot| slot.len() == length) {
        return Ok(());
    }
    let place = format!("the optimizer's state of {}", weight.path());
    let received: Vec<usize> = slots.iter().map(Vec::len).collect();
    let expected = format!("{count} arrays of {length} numbers");
    Err(Error::new(place, expected, format_args!("arrays of {received:?}"))
        .hint("it belongs to another optimizer: compile the model again"))
}

/// The error that `call` needs a plan with another purpose.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, checks};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// let error = checks::wrong_purpose("evaluate", "a plan with a loss", &plan);
/// assert!(error.to_string().starts_with("evaluate: expected a plan with a loss, received Predict"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub fn wrong_purpose(call: &str, expected: &str, plan: &Plan) -> Error {
    Error::new(call, expected, format_args!("{:?}", plan.purpose()))
}

/// The error of `apply` without a `forward_backward` before it.
///
/// ```
/// use engraft_nn::ErrorKind;
/// use engraft_plan::checks;
/// assert_eq!(checks::no_gradients().kind(), ErrorKind::InvalidState);
/// ```
pub fn no_gradients() -> Error {
    Error::because("apply", "there are no gradients to apply")
        .with_kind(ErrorKind::InvalidState)
        .hint("call forward_backward before it")
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::{PlanOptions, SingleReplica};

    fn two_inputs() -> Model {
        let (a, b) = (Input::new([4]), Input::new([2]));
        let y = Concatenate::new().call([&a, &b]).unwrap();
        Model::new([&a, &b], &Dense::new(2).call(&y).unwrap()).unwrap()
    }

    #[test]
    fn all_inputs_have_the_samples_of_the_first() {
        let plan = Plan::predict(&two_inputs(), 8, &PlanOptions::default()).unwrap();
        let tensor = |shape: [usize; 2]| Tensor::zeros(shape);
        assert_eq!(inputs(&plan, &[&tensor([3, 4]), &tensor([3, 2])]).unwrap(), 3);
        let error = |found: &[&Tensor]| inputs(&plan, found).unwrap_err().to_string();
        assert!(error(&[&tensor([3, 4])]).contains("expected 2 tensors, received 1"));
        assert!(error(&[&tensor([3, 4]), &tensor([2, 2])]).contains("expected [3, 2], received [2, 2]"));
        assert!(error(&[&tensor([3, 4]), &tensor([3, 5])]).contains("resize the photos"));
        assert!(error(&[&tensor([9, 4]), &tensor([9, 2])]).contains("at most 8 samples"));
    }

    #[test]
    fn folded_updates_are_for_reducers_that_need_no_gradients() {
        struct Summing;
        impl GradientReducer for Summing {
            fn place(&self, samples: usize) -> crate::BatchPlace {
                SingleReplica.place(samples)
            }
            fn collect(&mut self, _weight: &Weight, _gradient: &mut [f32]) -> Result<()> {
                Ok(())
            }
        }
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap();
        let plan = |fold| {
            let options = PlanOptions::default().fold_updates(fold);
            Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 8, 0, &options).unwrap()
        };
        assert!(reducible(&plan(true), &SingleReplica).is_ok() && reducible(&plan(false), &Summing).is_ok());
        assert!(reducible(&plan(true), &Summing).unwrap_err().to_string().contains("fold_updates(false)"));
    }

    #[test]
    fn a_loss_that_is_not_finite_has_another_cause_in_the_first_step() {
        let text = |iteration| finite_loss(f64::INFINITY, iteration).unwrap_err().to_string();
        assert!(text(0).contains("training step 1: the loss is inf: no weight was updated yet"), "{}", text(0));
        assert!(text(1).contains("training step 2") && text(1).contains("smaller learning rate"), "{}", text(1));
    }
}
