//! Dense: `x` times kernel plus bias, along the last axis (Keras' `Dense`). A kernel with more axes counts as a matrix.

use super::{Call, OpGradients};
use crate::array::{Array, positions};

pub(super) fn forward(call: &Call<'_>) -> Array {
    let (x, kernel) = (call.x[0].as_rows(), matrix(call));
    let mut y = Array::zeros(call.output.clone()).as_rows();
    for_each_product(&x, &kernel, |row, input, unit| y[[row, unit]] += x[[row, input]] * kernel[[input, unit]]);
    if let Some(bias) = call.weights.get(1) {
        for_each_row(&y.clone(), |row, unit| y[[row, unit]] += bias.data()[unit]);
    }
    y.reshaped(call.output.clone())
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> OpGradients {
    let (x, kernel, dy) = (call.x[0].as_rows(), matrix(call), dy.as_rows());
    let [mut dx, mut d_kernel] = [&x, &kernel].map(|operand| Array::zeros(operand.shape()));
    for_each_product(&x, &kernel, |row, input, unit| {
        dx[[row, input]] += dy[[row, unit]] * kernel[[input, unit]];
        d_kernel[[input, unit]] += dy[[row, unit]] * x[[row, input]];
    });
    let mut weights = vec![d_kernel.reshaped(call.weights[0].shape())];
    if let Some(bias) = call.weights.get(1) {
        let mut d_bias = Array::zeros(bias.shape());
        for_each_row(&dy, |row, unit| d_bias.data_mut()[unit] += dy[[row, unit]]);
        weights.push(d_bias);
    }
    OpGradients { inputs: vec![dx.reshaped(call.x[0].shape())], weights }
}

/// The kernel as a matrix `[inputs, units]`.
fn matrix(call: &Call<'_>) -> Array {
    let kernel = call.weights[0];
    let units = call.output.last().copied().unwrap_or(1);
    kernel.reshaped([kernel.data().len() / units.max(1), units])
}

/// Calls `visit(row, input, unit)` for every product `x[row, input] * kernel[input, unit]`.
fn for_each_product(x: &Array, kernel: &Array, mut visit: impl FnMut(usize, usize, usize)) {
    let sizes = [x.shape()[0], kernel.shape()[0], kernel.shape()[1]];
    positions(sizes).for_each(|[row, input, unit]| visit(row, input, unit));
}

fn for_each_row(rows: &Array, mut visit: impl FnMut(usize, usize)) {
    positions([rows.shape()[0], rows.shape()[1]]).for_each(|[row, unit]| visit(row, unit));
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients_of_rows_and_of_images() {
        check_gradients(&Op::Dense, &[&[3, 4]], &[&[4, 2], &[2]], &[3, 2]);
        check_gradients(&Op::Dense, &[&[2, 2, 3, 4]], &[&[4, 2]], &[2, 2, 3, 2]);
        // The projection of an attention layer to two heads of three values.
        check_gradients(&Op::Dense, &[&[2, 3, 4]], &[&[4, 2, 3], &[2, 3]], &[2, 3, 6]);
    }
}
