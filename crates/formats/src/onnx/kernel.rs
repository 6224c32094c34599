//! Convolution kernels: in Keras `[height, width, inputs, filters]`, in ONNX `[filters, inputs, height, width]`.

use engraft_ir::Op;
use engraft_nn::Weight;
use engraft_nn::{Program, Step};

/// The order of ONNX' axes in which Keras' are written, for kernels of both kinds.
pub(super) const FROM_ONNX: &[usize] = &[2, 3, 1, 0];

/// A kernel as ONNX has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnnxKernel {
    /// Its shape there.
    pub(super) dims: [usize; 4],
    /// The order of Keras' axes in which it is written.
    pub(super) axes: [usize; 4],
}

/// The form of a step's weight, where it is a kernel of a convolution.
pub(super) fn onnx_kernel(program: &Program, step: &Step, weight: &Weight) -> Option<OnnxKernel> {
    let Op::Conv2d { groups, .. } = step.op else { return None };
    let &[height, width, inputs, outputs] = weight.shape() else { return None };
    // Depthwise, the last axis are the filters of each channel; in groups, all filters.
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
        // Two channels a group, two groups: its third axis is as long as a depthwise kernel's of two channels.
        assert_eq!(dims(Conv2D::new(6, [3, 2]).groups(2).into_layer()), [6, 2, 3, 2]);
        assert_eq!(dims(DepthwiseConv2D::new([3, 2]).depth_multiplier(2).into_layer()), [8, 1, 3, 2]);
    }
}
