//! Rows of a table by index (Keras' `Embedding`).

use super::{Call, OpGradients};
use crate::array::Array;

pub(super) fn forward(call: &Call<'_>) -> Array {
    let table = call.weights[0];
    let mut y = Array::zeros(call.output.clone());
    for_each_value(call, |at, row, column| y.data_mut()[at] = table[[row, column]]);
    y
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> OpGradients {
    let mut d_table = Array::zeros(call.weights[0].shape());
    for_each_value(call, |at, row, column| d_table[[row, column]] += dy.data()[at]);
    OpGradients { inputs: vec![Array::zeros(call.x[0].shape())], weights: vec![d_table] }
}

/// Calls `visit(at, row, column)` for every value of the output: its index, and its place in the table.
fn for_each_value(call: &Call<'_>, mut visit: impl FnMut(usize, usize, usize)) {
    let (rows, width) = (call.weights[0].shape()[0], call.weights[0].shape()[1]);
    for (index, &value) in call.x[0].data().iter().enumerate() {
        let row = (value.max(0.0) as usize).min(rows - 1);
        (0..width).for_each(|column| visit(index * width + column, row, column));
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        check_gradients(&Op::Embedding, &[&[2, 3]], &[&[3, 4]], &[2, 3, 4]);
    }
}
