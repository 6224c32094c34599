//! Splits the last softmax or sigmoid off the program if the loss can be computed from its input, the logits. Keras does the same
//! in a compiled step.

use engraft_ir::{Activation, Op};
use engraft_nn::{OutputActivation, Result};

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

pub(super) fn run(annotated: &mut AnnotatedProgram, _options: &PlanOptions) -> Result<()> {
    let Some(loss) = annotated.purpose.loss() else { return Ok(()) };
    let wanted = loss.output_activation();
    let program = &mut annotated.program;
    let Some(last) = program.steps.last().filter(|last| program.outputs.first() == Some(&last.output)) else {
        return Ok(());
    };
    let found = match last.op {
        Op::Softmax => OutputActivation::Softmax,
        Op::Activation(Activation::Sigmoid) => OutputActivation::Sigmoid,
        _ => return Ok(()),
    };
    if found != wanted {
        return Ok(());
    }
    // Penalties on the outputs of layers are outputs after the model's.
    program.outputs[0] = last.inputs[0];
    let mut steps = std::mem::take(&mut program.steps);
    steps.pop();
    annotated.set_steps(steps);
    annotated.output_activation = wanted;
    Ok(())
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_nn::{Loss, OutputActivation};

    use crate::{Plan, PlanOptions};

    #[test]
    fn the_softmax_before_a_cross_entropy_is_split_off() {
        let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax));
        let model = layers.build().unwrap();
        let options = PlanOptions::default();
        let evaluate = Plan::evaluate(&model, Loss::categorical_crossentropy(), 2, &options).unwrap();
        assert_eq!((evaluate.output_activation(), evaluate.program().steps.len()), (OutputActivation::Softmax, 1));
        let predict = Plan::predict(&model, 2, &options).unwrap();
        assert_eq!((predict.output_activation(), predict.program().steps.len()), (OutputActivation::None, 2));
    }
}
