//! [`Work`]: the floating-point operations of a step.

use engraft_ir::Op;
use engraft_nn::Step;

use crate::Plan;

/// Floating-point operations of a step per sample: two for each multiply-accumulate of the direct algorithm.
///
/// Operations that a faster algorithm such as Winograd saves are counted all the same, so that rates compare across algorithms.
/// Only convolutions, Dense layers and matrix products count; other operations are negligible.
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
    /// Operations of the forward pass.
    pub forward: usize,
    /// Operations of the gradients with respect to the kernel and the input, if the plan computes them.
    pub backward: usize,
}

impl Plan {
    /// The floating-point operations of step `index`, per sample.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let model = Sequential::new().add(Input::new([100])).add(Dense::new(50)).add(Dense::new(10)).build()?;
    /// let plan = Plan::predict(&model, 1, &PlanOptions::default())?;
    /// let total: usize = (0..plan.program().steps.len()).map(|index| plan.work(index).forward).sum();
    /// assert_eq!(total, 2 * (100 * 50 + 50 * 10));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn work(&self, index: usize) -> Work {
        let step = &self.program().steps[index];
        let forward = self.forward_work(step);
        let kernel_gradient = step.weights.first().is_some_and(|kernel| kernel.trainable);
        let input_gradients = step.inputs.iter().filter(|&&input| self.gradient_slot(input).is_some()).count();
        let gradients = usize::from(kernel_gradient) + input_gradients;
        Work { forward, backward: if self.differentiates(index) { gradients * forward } else { 0 } }
    }

    fn forward_work(&self, step: &Step) -> usize {
        let outputs = match (&step.op, self.program().shapes[step.output].last()) {
            (Op::Conv2d { pool: Some([height, width]), .. }, Some(filters)) => height * width * filters,
            _ => self.program().size(step.output),
        };
        let shape = |index: usize| step.inputs.get(index).map(|&input| &self.program().shapes[input]);
        let macs_per_output = match step.op {
            // Each output is a sum over the taps of the kernel and the input channels of its group.
            Op::Conv2d { kernel: [height, width], groups, .. } => {
                let channels = shape(0).and_then(|shape| shape.last());
                height * width * channels.map_or(0, |channels| channels / groups)
            }
            // Each input is multiplied with the taps of every filter.
            Op::Conv2dTranspose { .. } => {
                let inputs = step.inputs.first().map_or(0, |&input| self.program().size(input));
                let kernel = step.weights.first().map(|kernel| kernel.weight.shape()).unwrap_or_default();
                let per_input: usize = kernel.iter().take(3).product();
                return 2 * inputs * per_input;
            }
            Op::Dense => shape(0).and_then(|shape| shape.last()).copied().unwrap_or(0),
            // The depth of the product is the last axis of the left operand, or the one before if that is transposed.
            Op::MatMul { transpose: [transposed, _] } => {
                shape(0).and_then(|shape| shape.iter().rev().nth(usize::from(transposed))).copied().unwrap_or(0)
            }
            _ => 0,
        };
        2 * outputs * macs_per_output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_nn::Loss;
    use engraft_nn::prelude::*;

    use crate::PlanOptions;

    #[test]
    fn a_depthwise_convolution_reads_one_channel_per_output() {
        let layers = Sequential::new().add(Input::new([8, 8, 6]));
        let layers = layers.add(DepthwiseConv2D::new(3).padding(Padding::Same)).add(Conv2D::new(4, 1));
        let plan = Plan::predict(&layers.build().unwrap(), 1, &PlanOptions::default()).unwrap();
        assert_eq!([0, 1].map(|step| plan.work(step).forward), [2 * (8 * 8 * 6) * 9, 2 * (8 * 8 * 4) * 6]);
    }

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
        // `low` is frozen and has no backward pass. `middle`, the lowest trainable layer, needs the gradient with respect to its
        // kernel only. `top` needs the gradients with respect to kernel and input.
        let expected = [0, one, 2 * one].map(|backward| Work { forward: one, backward });
        assert_eq!(work, expected);
    }
}
