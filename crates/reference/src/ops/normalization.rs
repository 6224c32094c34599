//! Normalization of groups of values within each sample: layer, group, root mean square and unit normalization.

use engraft_ir::{Normalization, NormalizationKind};

use super::{Call, OpGradients};
use crate::array::Array;

/// The values of one group and what they are normalized by.
struct Group {
    /// Indices into the data of the input.
    indices: Vec<usize>,
    mean: f64,
    divisor: f64,
    /// The derivative of the divisor with respect to the group's value `x`, as a function of `x`, is `(x - mean) * slope`.
    slope: f64,
}

/// Every group of the batch.
fn groups(norm: &Normalization, x: &Array) -> Vec<Group> {
    let (columns, data) = (norm.columns(), x.data());
    let blocks = data.len() / columns / norm.rows;
    let (size, epsilon) = (norm.group_size() as f64, f64::from(norm.epsilon));
    let group = |block: usize, index: usize| {
        let row = |row: usize| {
            let first = (block * norm.rows + row) * columns + index * norm.width;
            first..first + norm.width
        };
        let indices: Vec<usize> = (0..norm.rows).flat_map(row).collect();
        let mean = match norm.kind {
            NormalizationKind::Standard | NormalizationKind::Variance => {
                indices.iter().map(|&i| data[i]).sum::<f64>() / size
            }
            NormalizationKind::RootMeanSquare | NormalizationKind::Norm => 0.0,
        };
        let squares: f64 = indices.iter().map(|&i| (data[i] - mean).powi(2)).sum();
        let (divisor, slope) = match norm.kind {
            NormalizationKind::Norm if squares.sqrt() < epsilon => (epsilon, 0.0),
            NormalizationKind::Norm => (squares.sqrt(), squares.sqrt().recip()),
            _ => {
                let divisor = (squares / size + epsilon).sqrt();
                (divisor, 1.0 / (size * divisor))
            }
        };
        Group { indices, mean, divisor, slope }
    };
    (0..blocks).flat_map(|block| (0..norm.groups).map(move |index| (block, index))).map(|(b, i)| group(b, i)).collect()
}

/// What is subtracted from the values of a group.
fn subtracted(norm: &Normalization, group: &Group) -> f64 {
    if norm.kind == NormalizationKind::Standard { group.mean } else { 0.0 }
}

/// Gamma and beta of each column, or ones and zeros.
fn weights(call: &Call<'_>, norm: &Normalization) -> [Vec<f64>; 2] {
    let weight = |exists: bool, position: usize, absent: f64| match exists {
        true => call.weights[position].data().to_vec(),
        false => vec![absent; norm.columns()],
    };
    [weight(norm.scale, 0, 1.0), weight(norm.center, usize::from(norm.scale), 0.0)]
}

pub(super) fn forward(call: &Call<'_>, norm: &Normalization) -> Array {
    let (x, columns, [gamma, beta]) = (call.x[0], norm.columns(), weights(call, norm));
    let mut y = x.clone();
    for group in groups(norm, x) {
        for &i in &group.indices {
            let normalized = (x.data()[i] - subtracted(norm, &group)) / group.divisor;
            y.data_mut()[i] = normalized * gamma[i % columns] + beta[i % columns];
        }
    }
    y
}

/// Computes the gradients by the chain rule: of the input itself, of the subtracted mean, and of the divisor.
pub(super) fn backward(call: &Call<'_>, norm: &Normalization, dy: &Array) -> OpGradients {
    let (x, columns, [gamma, _]) = (call.x[0], norm.columns(), weights(call, norm));
    let (mut dx, mut d_gamma, mut d_beta) = (dy.clone(), vec![0.0; columns], vec![0.0; columns]);
    for group in groups(norm, x) {
        let difference = |i: usize| x.data()[i] - subtracted(norm, &group);
        let scaled = |i: usize| dy.data()[i] * gamma[i % columns];
        let through_divisor: f64 =
            group.indices.iter().map(|&i| -scaled(i) * difference(i) / group.divisor.powi(2)).sum();
        let through_mean = match norm.kind {
            NormalizationKind::Standard => {
                -group.indices.iter().map(|&i| scaled(i)).sum::<f64>() / group.divisor / norm.group_size() as f64
            }
            _ => 0.0,
        };
        for &i in &group.indices {
            d_gamma[i % columns] += dy.data()[i] * difference(i) / group.divisor;
            d_beta[i % columns] += dy.data()[i];
            let divisor_slope = (x.data()[i] - group.mean) * group.slope;
            dx.data_mut()[i] = scaled(i) / group.divisor + through_mean + through_divisor * divisor_slope;
        }
    }
    let weights = [(norm.scale, d_gamma), (norm.center, d_beta)].into_iter().filter(|(exists, _)| *exists);
    let weights = weights.zip(&call.weights).map(|((_, sums), weight)| Array::new(weight.shape(), sums)).collect();
    OpGradients { inputs: vec![dx], weights }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    const KINDS: [NormalizationKind; 4] = [
        NormalizationKind::Standard,
        NormalizationKind::Variance,
        NormalizationKind::RootMeanSquare,
        NormalizationKind::Norm,
    ];

    #[test]
    fn gradients_go_through_the_statistics() {
        for kind in KINDS {
            for (scale, center) in [(true, true), (true, false), (false, true), (false, false)] {
                // Layer normalization, and two groups of two channels.
                for (rows, groups, width) in [(1, 1, 4), (3, 2, 2)] {
                    let norm = Normalization { kind, epsilon: 0.25, rows, groups, width, scale, center };
                    let weights = vec![&[4][..]; usize::from(scale) + usize::from(center)];
                    check_gradients(&Op::Normalize(norm), &[&[2, 3, 4]], &weights, &[2, 3, 4]);
                }
            }
        }
    }

    #[test]
    fn known_values() {
        let x = Array::new([1, 2], vec![3.0, 4.0]);
        for (kind, expected) in KINDS.into_iter().zip([[-1.0, 1.0], [6.0, 8.0], [3.0, 4.0], [0.6, 0.8]]) {
            let norm = Normalization { kind, epsilon: 0.0, rows: 1, groups: 1, width: 2, scale: false, center: false };
            let op = Op::Normalize(norm);
            let rng_key = super::super::RngKey::default();
            let call = Call { op: &op, x: vec![&x], weights: vec![], output: vec![1, 2], rng_key, statistics: None };
            let scale = if kind == NormalizationKind::RootMeanSquare { 12.5f64.sqrt() } else { 1.0 };
            let y = forward(&call, &norm);
            assert!(y.data().iter().zip(expected).all(|(y, e)| (y * scale - e).abs() < 1e-14), "{kind:?}: {y:?}");
        }
    }
}
