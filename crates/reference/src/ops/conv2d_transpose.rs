//! Transposed convolution (Keras' `Conv2DTranspose`): each product of a convolution, read from its output to its input.

use engraft_ir::Conv2dShape;
use engraft_nn::{Error, Result};

use super::conv2d::for_each_product;
use super::{Call, OpGradients};
use crate::array::{Array, positions};

pub(super) fn forward(call: &Call<'_>) -> Result<Array> {
    let (shape, x, kernel) = (shape(call)?, call.x[0], call.weights[0]);
    let mut y = Array::zeros(call.output.clone());
    for_each_product(&shape, |y_at, kernel_at, x_at| y[y_at] += x[x_at] * kernel[kernel_at]);
    if let Some(bias) = call.weights.get(1) {
        positions(y.sizes()?).for_each(|at @ [_, _, _, filter]| y[at] += bias[[filter]]);
    }
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> Result<OpGradients> {
    let (shape, x, kernel) = (shape(call)?, call.x[0], call.weights[0]);
    let [mut dx, mut d_kernel] = [x, kernel].map(|operand| Array::zeros(operand.shape()));
    for_each_product(&shape, |y_at, kernel_at, x_at| {
        dx[x_at] += dy[y_at] * kernel[kernel_at];
        d_kernel[kernel_at] += dy[y_at] * x[x_at];
    });
    let mut weights = vec![d_kernel];
    if let Some(bias) = call.weights.get(1) {
        let mut d_bias = Array::zeros(bias.shape());
        positions(dy.sizes()?).for_each(|at @ [_, _, _, filter]| d_bias[[filter]] += dy[at]);
        weights.push(d_bias);
    }
    Ok(OpGradients { inputs: vec![dx], weights })
}

/// The sizes of the convolution that is transposed: its input is the output here.
fn shape(call: &Call<'_>) -> Result<Conv2dShape> {
    let x = call.x[0].shape();
    let shape = call.op.transposed_conv2d_shape(x[0], &x[1..].to_vec(), &call.output[1..].to_vec());
    shape.ok_or_else(|| Error::new("transposed convolution", "images", format_args!("shape {x:?}")))
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::super::RngKey;
    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients_of_strides_padding_and_dilation() {
        let op = Op::Conv2dTranspose { kernel: [3, 2], stride: [2, 1], dilation: [1, 1], pad: [1, 0] };
        check_gradients(&op, &[&[2, 2, 3, 3]], &[&[3, 2, 2, 3], &[2]], &[2, 4, 4, 2]);
        let op = Op::Conv2dTranspose { kernel: [2, 2], stride: [1, 1], dilation: [2, 1], pad: [0, 0] };
        check_gradients(&op, &[&[1, 2, 3, 2]], &[&[2, 2, 3, 2]], &[1, 4, 4, 3]);
    }

    #[test]
    fn windows_are_pasted_where_they_overlap_they_add_up() {
        let op = Op::Conv2dTranspose { kernel: [1, 3], stride: [1, 2], dilation: [1, 1], pad: [0, 0] };
        let x = Array::new([1, 1, 2, 1], vec![1.0, 10.0]);
        let (kernel, bias) = (Array::new([1, 3, 1, 1], vec![1.0, 2.0, 3.0]), Array::new([1], vec![0.5]));
        let (weights, output) = (vec![&kernel, &bias], vec![1, 1, 5, 1]);
        let call = Call { op: &op, x: vec![&x], weights, output, rng_key: RngKey::default(), statistics: None };
        assert_eq!(forward(&call).unwrap().data(), [1.5, 2.5, 13.5, 20.5, 30.5]);
    }
}
