//! How much arithmetic a step is.

use engraft_ir::Op;
use engraft_nn::Step;

use crate::Plan;

/// Floating-point operations a sample, counted by the definition: a multiplication and an addition for each weight that
/// meets a value. What a faster algorithm saves is not taken off, so that rates compare across algorithms. Convolutions
/// and Dense layers count, everything else is small beside them.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, Work};
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).padding(Padding::Same)).build()?;
/// let plan = Plan::predict(&model, 1, &PlanOptions::default())?;
/// assert_eq!(plan.work(0), Work { forward: 2 * (8 * 8 * 4) * (3 * 3 * 3), backward: 0 });
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Of the forward pass.
    pub forward: usize,
    /// Of the gradients with respect to the kernel and the input, as far as they are wanted.
    pub backward: usize,
}

impl Plan {
    /// The arithmetic of step `index`.
    pub fn work(&self, index: usize) -> Work {
        let step = &self.program().steps[index];
        let forward = self.forward_work(step);
        let by_kernel = step.weights.first().is_some_and(|kernel| kernel.trainable);
        let by_input = step.inputs.first().is_some_and(|&input| self.gradient_slot(input).is_some());
        let gradients = usize::from(by_kernel) + usize::from(by_input);
        Work { forward, backward: if self.differentiates(index) { gradients * forward } else { 0 } }
    }

    fn forward_work(&self, step: &Step) -> usize {
        let outputs = match (&step.op, self.program().shapes[step.output].last()) {
            (Op::Conv2d { pool: Some([height, width]), .. }, Some(filters)) => height * width * filters,
            _ => self.program().size(step.output),
        };
        let Some(kernel) = step.weights.first() else { return 0 };
        let each = match step.op {
            // Every output is a sum over all of a kernel but its last axis, the filters or units.
            Op::Conv2d { .. } | Op::Dense => kernel.weight.shape().iter().rev().skip(1).product(),
            _ => 0,
        };
        2 * outputs * each
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::PlanOptions;

    #[test]
    fn gradients_count_where_they_are_wanted() {
        let layers = ["low", "middle", "top"].map(|name| Dense::new(4).named(name));
        let model = layers.into_iter().fold(Sequential::new().add(Input::new([4])), Sequential::add).build().unwrap();
        model.get_layer("low").unwrap().set_trainable(false);
        let plan =
            Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 2, 0, &PlanOptions::default())
                .unwrap();
        let one = 2 * 4 * 4;
        let work: Vec<Work> = (0..3).map(|index| plan.work(index)).collect();
        // Nothing below the lowest trainable layer; no gradient with respect to its input; both by the layers above.
        let expected = [0, one, 2 * one].map(|backward| Work { forward: one, backward });
        assert_eq!(work, expected);
    }
}
