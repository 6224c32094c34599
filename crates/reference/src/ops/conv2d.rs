//! Convolution: ordinary, grouped and depthwise (Keras' `Conv2D`, `DepthwiseConv2D`).

use engraft_ir::Conv2dShape;
use engraft_nn::{Error, Result};

use super::{Call, OpGradients};
use crate::array::{Array, positions};

pub(super) fn forward(call: &Call<'_>) -> Result<Array> {
    let (shape, x, kernel) = operands(call)?;
    let mut y = Array::zeros(call.output.clone());
    for_each_product(&shape, |x_at, kernel_at, y_at| y[y_at] += x[x_at] * kernel[kernel_at]);
    if let Some(bias) = call.weights.get(1) {
        positions(y.sizes()?).for_each(|at @ [_, _, _, filter]| y[at] += bias[[filter]]);
    }
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> Result<OpGradients> {
    let (shape, x, kernel) = operands(call)?;
    let [mut dx, mut d_kernel] = [x, &kernel].map(|operand| Array::zeros(operand.shape()));
    for_each_product(&shape, |x_at, kernel_at, y_at| {
        dx[x_at] += dy[y_at] * kernel[kernel_at];
        d_kernel[kernel_at] += dy[y_at] * x[x_at];
    });
    let mut weights = vec![d_kernel.reshaped(call.weights[0].shape())];
    if let Some(bias) = call.weights.get(1) {
        let mut d_bias = Array::zeros(bias.shape());
        positions(dy.sizes()?).for_each(|at @ [_, _, _, filter]| d_bias[[filter]] += dy[at]);
        weights.push(d_bias);
    }
    Ok(OpGradients { inputs: vec![dx], weights })
}

/// The shapes, the input, and the kernel as `[height, width, channels per group, filters]`.
///
/// A depthwise kernel has the same values in memory, so it is only reshaped.
fn operands<'a>(call: &Call<'a>) -> Result<(Conv2dShape, &'a Array, Array)> {
    let x = call.x[0];
    let shape = call.op.conv2d_shape(x.shape()[0], &x.shape()[1..].to_vec(), &call.output[1..].to_vec());
    let shape = shape.ok_or_else(|| Error::new("convolution", "images", format_args!("shape {:?}", x.shape())))?;
    let [height, width] = shape.kernel;
    let kernel = call.weights[0].reshaped([height, width, shape.in_c / shape.groups, shape.out_c]);
    Ok((shape, x, kernel))
}

/// Calls `visit(x_at, kernel_at, y_at)` with the positions of every product `x * kernel` that contributes to an output.
pub(super) fn for_each_product(shape: &Conv2dShape, mut visit: impl FnMut([usize; 4], [usize; 4], [usize; 4])) {
    let (group_channels, group_filters) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    // The input row or column that a kernel element reads; `None` in the padding.
    let read = |axis: usize, window: usize, tap: usize, size: usize| {
        let padded = window * shape.stride[axis] + tap * shape.dilation[axis];
        padded.checked_sub(shape.pad[axis]).filter(|&at| at < size)
    };
    for y_at @ [image, y, x, filter] in positions([shape.batch, shape.out_h, shape.out_w, shape.out_c]) {
        let group = filter / group_filters;
        for [tap_y, tap_x] in positions(shape.kernel) {
            let (Some(row), Some(column)) = (read(0, y, tap_y, shape.in_h), read(1, x, tap_x, shape.in_w)) else {
                continue;
            };
            for channel in 0..group_channels {
                let x_at = [image, row, column, group * group_channels + channel];
                visit(x_at, [tap_y, tap_x, channel, filter], y_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::super::{RngKey, forward};
    use super::*;
    use crate::testing::check_gradients;

    const CONV: Op =
        Op::Conv2d { kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1, pool: None };

    #[test]
    fn gradients_of_strides_padding_dilation_and_groups() {
        let op = Op::Conv2d { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], pad: [1, 1], groups: 2, pool: None };
        check_gradients(&op, &[&[2, 5, 4, 4]], &[&[3, 2, 2, 6], &[6]], &[2, 3, 4, 6]);
        check_gradients(&CONV, &[&[2, 3, 4, 2]], &[&[2, 2, 2, 3]], &[2, 2, 3, 3]);
    }

    #[test]
    fn the_last_axis_of_a_depthwise_kernel_is_the_multiplier() {
        let op = Op::Conv2d { kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 2, pool: None };
        check_gradients(&op, &[&[2, 3, 3, 2]], &[&[2, 2, 2, 3], &[6]], &[2, 2, 2, 6]);
    }

    #[test]
    fn windows_are_correlated_not_mirrored() {
        let (x, kernel) = (
            Array::new([1, 2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]),
            Array::new([2, 2, 1, 1], vec![1.0, 10.0, 100.0, 1000.0]),
        );
        let bias = Array::new([1], vec![0.5]);
        let (weights, output) = (vec![&kernel, &bias], vec![1, 1, 1, 1]);
        let call = Call { op: &CONV, x: vec![&x], weights, output, rng_key: RngKey::default(), statistics: None };
        assert_eq!(forward(&call).unwrap().data(), [4321.5]);
    }
}
