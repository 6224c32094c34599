//! Products with a weight that is broadcast to each sample (LayerScale), also only for values below zero (PReLU).

use super::{Call, OpGradients};
use crate::array::{Array, positions_of};

/// The position in the weight of the value at `at`, whose first index is the sample. The last axes are aligned.
fn weight_position(at: &[usize], weight: &Array) -> Vec<usize> {
    let at = &at[at.len() - weight.shape().len()..];
    at.iter().zip(weight.shape()).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect()
}

pub(super) fn forward(call: &Call<'_>, below_zero: bool) -> Array {
    let (x, weight) = (call.x[0], call.weights[0]);
    let mut y = x.clone();
    for at in positions_of(x.shape()) {
        let at = at.as_slice();
        if !below_zero || x[at] <= 0.0 {
            y[at] = x[at] * weight[weight_position(at, weight).as_slice()];
        }
    }
    y
}

/// At 0, the slope below zero only is 0: TensorFlow's gradient of Keras' PReLU.
pub(super) fn backward(call: &Call<'_>, below_zero: bool, dy: &Array) -> OpGradients {
    let (x, weight) = (call.x[0], call.weights[0]);
    let (mut dx, mut dw) = (dy.clone(), Array::zeros(weight.shape()));
    for at in positions_of(x.shape()) {
        let (at, in_weight) = (at.as_slice(), weight_position(&at, weight));
        if below_zero && x[at] > 0.0 {
            continue;
        }
        dx[at] = if below_zero && x[at] == 0.0 { 0.0 } else { dy[at] * weight[in_weight.as_slice()] };
        dw[in_weight.as_slice()] += dy[at] * x[at];
    }
    OpGradients { inputs: vec![dx], weights: vec![dw] }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        for below_zero in [false, true] {
            for weight in [&[2, 3, 4][..], &[1, 1, 4], &[2, 1, 1], &[4], &[1]] {
                check_gradients(&Op::Scale { below_zero }, &[&[2, 2, 3, 4]], &[weight], &[2, 2, 3, 4]);
            }
        }
    }
}
