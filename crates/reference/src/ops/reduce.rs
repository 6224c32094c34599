//! Reductions along axes of samples: sum, mean, maximum, minimum, product.

use engraft_ir::Reduction;

use super::Call;
use crate::array::{Array, positions_of};

pub(super) fn forward(call: &Call<'_>, reduction: Reduction, axes: &[usize]) -> Array {
    let members = Members::of(call.x[0], axes);
    let results = members.0.iter().map(|members| value(reduction, members)).collect();
    Array::new(call.output.clone(), results)
}

fn value(reduction: Reduction, members: &[(usize, f64)]) -> f64 {
    let values = members.iter().map(|(_, value)| *value);
    match reduction {
        Reduction::Sum => values.sum(),
        Reduction::Mean => values.sum::<f64>() / members.len() as f64,
        Reduction::Max => values.fold(f64::NEG_INFINITY, |most, x| if x > most || x.is_nan() { x } else { most }),
        Reduction::Min => values.fold(f64::INFINITY, |least, x| if x < least || x.is_nan() { x } else { least }),
        Reduction::Prod => values.product(),
    }
}

pub(super) fn backward(call: &Call<'_>, reduction: Reduction, axes: &[usize], dy: &Array) -> Array {
    let mut dx = Array::zeros(call.x[0].shape());
    for (members, dy) in Members::of(call.x[0], axes).0.iter().zip(dy.data()) {
        let result = value(reduction, members);
        let ties = members.iter().filter(|(_, x)| *x == result).count() as f64;
        for (place, &(index, x)) in members.iter().enumerate() {
            let derivative = match reduction {
                Reduction::Sum => 1.0,
                Reduction::Mean => 1.0 / members.len() as f64,
                Reduction::Max | Reduction::Min if x == result => 1.0 / ties,
                Reduction::Max | Reduction::Min => 0.0,
                Reduction::Prod => {
                    let others = members.iter().enumerate().filter(|(other, _)| *other != place);
                    others.map(|(_, (_, x))| x).product()
                }
            };
            dx.data_mut()[index] = derivative * dy;
        }
    }
    dx
}

/// For each result, the indices and values of the elements that it is computed from.
struct Members(Vec<Vec<(usize, f64)>>);

impl Members {
    /// The elements of each result, if the `axes` of samples are reduced. The first axis of `x` is the batch.
    fn of(x: &Array, axes: &[usize]) -> Self {
        let kept = |axis: &usize| *axis == 0 || !axes.contains(&(axis - 1));
        let kept: Vec<usize> = (0..x.shape().len()).filter(kept).collect();
        let results = kept.iter().map(|&axis| x.shape()[axis]).product();
        let mut members = vec![Vec::new(); results];
        for (index, (at, &value)) in positions_of(x.shape()).zip(x.data()).enumerate() {
            let result = kept.iter().fold(0, |result, &axis| result * x.shape()[axis] + at[axis]);
            members[result].push((index, value));
        }
        Self(members)
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min, Reduction::Prod] {
            let op = |axes: &[usize]| Op::Reduce { reduction, axes: axes.to_vec() };
            check_gradients(&op(&[0, 2]), &[&[2, 3, 2, 4]], &[], &[2, 2]);
            check_gradients(&op(&[1]), &[&[2, 3, 4]], &[], &[2, 3, 1]);
            check_gradients(&op(&[0]), &[&[2, 3]], &[], &[2]);
        }
    }
}
