//! Splits the last softmax or sigmoid off where the loss can be computed from its input, as Keras does in a compiled step.

use engraft_ir::{Activation, Op};
use engraft_nn::{Head, Result};

use crate::PlanOptions;
use crate::draft::Draft;

pub(super) fn run(draft: &mut Draft, _options: &PlanOptions) -> Result<()> {
    let Some(loss) = draft.purpose.loss() else { return Ok(()) };
    let wanted = loss.head();
    let program = &mut draft.program;
    let Some(last) = program.steps.last_mut().filter(|last| program.outputs == [last.output]) else { return Ok(()) };
    match (wanted, &last.op, last.activation) {
        (Head::Sigmoid, Op::Dense | Op::Conv2d { .. }, Activation::Sigmoid) => last.activation = Activation::Linear,
        (Head::Softmax, Op::Softmax, _) | (Head::Sigmoid, Op::Activation(Activation::Sigmoid), _) => {
            program.outputs.clone_from(&last.inputs);
            program.steps.pop();
            draft.differentiated.pop();
            draft.folded.pop();
            draft.streams.pop();
        }
        _ => return Ok(()),
    }
    draft.head = wanted;
    Ok(())
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_nn::{Head, Loss};

    use crate::{Plan, PlanOptions};

    #[test]
    fn the_softmax_before_a_cross_entropy_becomes_the_head() {
        let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax));
        let model = layers.build().unwrap();
        let options = PlanOptions::default();
        let evaluate = Plan::evaluate(&model, Loss::categorical_crossentropy(), 2, &options).unwrap();
        assert_eq!((evaluate.head(), evaluate.program().steps.len()), (Head::Softmax, 1));
        let predict = Plan::predict(&model, 2, &options).unwrap();
        assert_eq!((predict.head(), predict.program().steps.len()), (Head::None, 2));
    }
}
