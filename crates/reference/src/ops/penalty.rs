//! Penalties on values: `l1 Σ|x| + l2 Σx²` for each sample.

use super::Call;
use crate::array::{Array, positions_of};

pub(super) fn forward(call: &Call<'_>, l1: f32, l2: f32) -> Array {
    let mut y = Array::zeros(call.output.clone());
    for at in positions_of(call.x[0].shape()) {
        let x = call.x[0][at.as_slice()];
        y[[at[0], 0].as_slice()] += f64::from(l1) * x.abs() + f64::from(l2) * x * x;
    }
    y
}

/// The derivative of `|x|` at 0 is 0, as in TensorFlow.
pub(super) fn backward(call: &Call<'_>, l1: f32, l2: f32, dy: &Array) -> Array {
    let mut dx = call.x[0].clone();
    for at in positions_of(call.x[0].shape()) {
        let x = call.x[0][at.as_slice()];
        let sign = if x == 0.0 { 0.0 } else { x.signum() };
        dx[at.as_slice()] = dy[[at[0], 0].as_slice()] * (f64::from(l1) * sign + 2.0 * f64::from(l2) * x);
    }
    dx
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        check_gradients(&Op::Penalty { l1: 0.3, l2: 0.5 }, &[&[2, 3, 4, 2]], &[], &[2, 1]);
    }
}
