//! [`predict_in_batches`]: computes the outputs of any number of samples with one session.

use engraft_nn::{Error, Result, Tensor};
use engraft_plan::Session;

/// Computes the outputs of a model with one output, in batches of up to the size of the session's plan. `inputs` has one tensor
/// for each input of the model, `[n, ..]` each.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::Plan;
/// use engraft_runtime::{Runtime, predict_in_batches};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let plan = |batch, options: &_| Plan::predict(&model, batch, options);
/// let (mut session, _memory) = Runtime::shared()?.session(16, plan)?;
/// // Batches of 16, 16 and 8 samples.
/// let y = predict_in_batches(&mut *session, &[&Tensor::zeros([40, 4])])?;
/// assert_eq!(y.shape(), [40, 2]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// A model of several outputs, inputs that don't fit the model or each other, an error of the session.
pub fn predict_in_batches(session: &mut dyn Session, inputs: &[&Tensor]) -> Result<Tensor> {
    let (batch, program) = (session.plan().batch(), session.plan().program());
    let [output] = program.outputs[..] else {
        return Err(Error::new("predict", "a model with one output", program.outputs.len())
            .hint("take one of them: Model::new(model.inputs(), &model.outputs()[0])"));
    };
    let shape = program.shapes[output].clone();
    let samples = inputs.first().map_or(0, |input| input.batch());
    if samples <= batch {
        return Ok(session.predict(inputs)?.remove(0));
    }
    if let Some(other) = inputs.iter().find(|input| input.batch() != samples) {
        return Err(Error::new("predict", format_args!("inputs of {samples} samples"), other.batch()));
    }
    let mut outputs: Vec<f32> = Vec::with_capacity(samples * shape.iter().product::<usize>());
    for first in (0..samples).step_by(batch) {
        let parts = inputs.iter().map(|input| input.samples(first, batch)).collect::<Result<Vec<_>>>()?;
        outputs.extend(session.predict(&parts.iter().collect::<Vec<_>>())?[0].data());
    }
    Tensor::new([&[samples], shape.as_slice()].concat(), outputs)
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_plan::Plan;

    use super::*;
    use crate::Runtime;

    #[test]
    fn batches_of_several_inputs_follow_each_other_and_the_last_may_be_short() {
        let inputs = [Input::new([1]), Input::new([1])];
        let sum = Add::new().call([&inputs[0], &inputs[1]]).unwrap();
        let model = Model::new([&inputs[0], &inputs[1]], &sum).unwrap();
        let (mut session, _) =
            Runtime::cpu(Some(1)).unwrap().session(2, |batch, options| Plan::predict(&model, batch, options)).unwrap();
        let column = |values: Vec<f32>| Tensor::new([values.len(), 1], values).unwrap();
        let (a, b) = (column(vec![1.0, 2.0, 3.0, 4.0, 5.0]), column(vec![10.0, 20.0, 30.0, 40.0, 50.0]));
        let y = predict_in_batches(&mut *session, &[&a, &b]).unwrap();
        assert_eq!(y, column(vec![11.0, 22.0, 33.0, 44.0, 55.0]));
        assert!(predict_in_batches(&mut *session, &[&a]).is_err());
        assert!(predict_in_batches(&mut *session, &[&a, &column(vec![1.0; 6])]).is_err());
        assert!(predict_in_batches(&mut *session, &[]).is_err());
    }

    #[test]
    fn several_outputs_are_refused_with_a_hint() {
        let x = Input::new([2]);
        let outputs = [Dense::new(1).call(&x).unwrap(), Dense::new(3).call(&x).unwrap()];
        let model = Model::new(&x, [&outputs[0], &outputs[1]]).unwrap();
        let (mut session, _) =
            Runtime::cpu(Some(1)).unwrap().session(2, |batch, options| Plan::predict(&model, batch, options)).unwrap();
        let error = predict_in_batches(&mut *session, &[&Tensor::zeros([1, 2])]).unwrap_err().to_string();
        assert!(error.contains("predict: expected a model with one output, received 2\nhint: take one"), "{error}");
    }
}
