//! Layouts of convolution kernels: Keras' `[height, width, inputs, filters]` and ONNX' `[filters, inputs, height, width]`.

use engraft_ir::Op;
use engraft_nn::Weight;
use engraft_nn::{Program, Step};

/// The permutation that transposes ONNX kernels to Keras' order, ordinary and depthwise ones: the ONNX axis of each Keras axis.
pub(super) const ONNX_TO_KERAS: &[usize] = &[2, 3, 1, 0];

/// The ONNX layout of a convolution's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnnxKernel {
    /// Its shape in ONNX.
    pub(super) dims: [usize; 4],
    /// The permutation that transposes the kernel to ONNX' order: the Keras axis of each ONNX axis.
    pub(super) axes: [usize; 4],
}

/// The ONNX layout of a step's weight if it is a convolution's kernel; `None` for other weights.
pub(super) fn onnx_kernel(program: &Program, step: &Step, weight: &Weight) -> Option<OnnxKernel> {
    let Op::Conv2d { groups, .. } = step.op else { return None };
    let &[height, width, inputs, outputs] = weight.shape() else { return None };
    // The last axis of a depthwise kernel counts the filters of each channel; that of a grouped kernel counts all filters.
    let depthwise = groups == inputs && program.shapes[step.inputs[0]].last() == Some(&inputs);
    Some(if depthwise {
        OnnxKernel { dims: [inputs * outputs, 1, height, width], axes: [2, 3, 0, 1] }
    } else {
        OnnxKernel { dims: [outputs, inputs, height, width], axes: [3, 2, 0, 1] }
    })
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::DepthwiseConv2D;
    use engraft_nn::prelude::*;

    use super::*;

    fn dims(layer: Layer) -> [usize; 4] {
        let x = Input::new([5, 5, 4]);
        let program = Program::of(&Model::new(&x, &layer.call(&x).unwrap()).unwrap(), false, 0).unwrap();
        onnx_kernel(&program, &program.steps[0], &program.steps[0].weights[0].weight).unwrap().dims
    }

    #[test]
    fn groups_are_no_depthwise_kernel() {
        assert_eq!(dims(Conv2D::new(6, [3, 2]).into_layer()), [6, 4, 3, 2]);
        // Two groups of two channels: the kernel's third axis equals the number of groups, as in a depthwise kernel.
        assert_eq!(dims(Conv2D::new(6, [3, 2]).groups(2).into_layer()), [6, 2, 3, 2]);
        assert_eq!(dims(DepthwiseConv2D::new([3, 2]).depth_multiplier(2).into_layer()), [8, 1, 3, 2]);
    }
}
