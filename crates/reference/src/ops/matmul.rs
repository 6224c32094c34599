//! Products of two inputs along their last two axes, with broadcasting of the axes before.

use super::{Call, OpGradients};
use crate::array::{Array, positions_of};

pub(super) fn forward(call: &Call<'_>, transpose: [bool; 2]) -> Array {
    let mut y = Array::zeros(call.output.clone());
    for_each_product(call, transpose, |at, left, right| y[at] += call.x[0][left] * call.x[1][right]);
    y
}

pub(super) fn backward(call: &Call<'_>, transpose: [bool; 2], dy: &Array) -> OpGradients {
    let (a, b) = (call.x[0], call.x[1]);
    let [mut da, mut db] = [a, b].map(|operand| Array::zeros(operand.shape()));
    for_each_product(call, transpose, |at, left, right| {
        da[left] += dy[at] * b[right];
        db[right] += dy[at] * a[left];
    });
    OpGradients { inputs: vec![da, db], weights: Vec::new() }
}

/// Calls `visit` for every product of two elements, with the positions of the sum and of both elements.
fn for_each_product(call: &Call<'_>, transpose: [bool; 2], mut visit: impl FnMut(&[usize], &[usize], &[usize])) {
    let (a, b) = (call.x[0].shape(), call.x[1].shape());
    let rank = a.len();
    let depth = if transpose[0] { a[rank - 2] } else { a[rank - 1] };
    for at in positions_of(&call.output) {
        let (row, column) = (at[rank - 2], at[rank - 1]);
        for k in 0..depth {
            let left = position(&at, a, if transpose[0] { [k, row] } else { [row, k] });
            let right = position(&at, b, if transpose[1] { [column, k] } else { [k, column] });
            visit(&at, &left, &right);
        }
    }
}

/// The position in an operand of this shape: the leading axes of `at`, 0 along axes of size 1, then the two of the matrix.
fn position(at: &[usize], shape: &[usize], matrix: [usize; 2]) -> Vec<usize> {
    let leading = at.iter().zip(&shape[..shape.len() - 2]).map(|(&at, &size)| if size == 1 { 0 } else { at });
    leading.chain(matrix).collect()
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        let op = |transpose| Op::MatMul { transpose };
        check_gradients(&op([false, false]), &[&[2, 3, 4], &[2, 4, 2]], &[], &[2, 3, 2]);
        check_gradients(&op([false, true]), &[&[2, 3, 2, 4], &[2, 1, 5, 4]], &[], &[2, 3, 2, 5]);
        check_gradients(&op([true, false]), &[&[2, 1, 4, 2], &[2, 3, 4, 3]], &[], &[2, 3, 2, 3]);
        check_gradients(&op([true, true]), &[&[2, 4, 3], &[2, 2, 4]], &[], &[2, 3, 2]);
    }
}
