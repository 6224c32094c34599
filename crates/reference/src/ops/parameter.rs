//! A weight as a value, the same for every sample.

use super::{Call, OpGradients};
use crate::array::Array;

pub(super) fn forward(call: &Call<'_>) -> Array {
    Array::new(call.output.clone(), call.weights[0].data().repeat(call.output[0]))
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> OpGradients {
    let mut gradient = Array::zeros(call.weights[0].shape());
    let size = gradient.data().len();
    for (index, dy) in dy.data().iter().enumerate() {
        gradient.data_mut()[index % size] += dy;
    }
    OpGradients { inputs: vec![Array::zeros(call.x[0].shape())], weights: vec![gradient] }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        check_gradients(&Op::Parameter, &[&[3, 2]], &[&[2, 4]], &[3, 2, 4]);
    }
}
