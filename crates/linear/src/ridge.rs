//! Ridge regression on targets of ±1, with its leave-one-out error in closed form.

use std::ops::Range;

use rayon::prelude::*;

use crate::design::Design;
use crate::linalg::{Matrix, add_product, product};
use crate::monitor::macs;
use crate::subset::Subset;
use crate::targets::Targets;

/// The ridge classifier that the data would choose: one-versus-all regression, reported for comparison.
///
/// ```
/// use engraft_linear::{Features, Labels, Monitor, Options, fit};
/// let features = Features::new(&[-1.0, -2.0, -1.5, 1.0, 2.0, 1.5], 6, 1)?;
/// let labels = Labels::single(&[0, 0, 0, 1, 1, 1], 2)?;
/// let ridge = fit(features, &labels, &Options::default(), &Monitor::new())?.ridge;
/// assert_eq!(ridge.map(|ridge| ridge.leave_one_out_accuracy), Some(1.0));
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RidgeChoice {
    /// The penalty `λ ‖W‖²` beside the sum of squared errors on standardized features.
    pub lambda: f64,
    /// Mean squared error of each sample's targets when it is left out.
    pub leave_one_out_error: f64,
    /// Share of samples that are classified right when they are left out. With several labels: share of right labels.
    pub leave_one_out_accuracy: f64,
}

/// A ridge classifier.
pub(crate) struct Ridge {
    pub(crate) lambda: f64,
    /// Weighted mean squared leave-one-out error.
    pub(crate) error: f64,
    /// As those of a [`Design`].
    pub(crate) coefficients: Vec<f64>,
    /// Leave-one-out scores `[rows, classes]`: those of a row come from the classifier that is trained on all other rows.
    pub(crate) scores: Vec<f64>,
}

/// Rows whose errors one task sums.
const BLOCK: usize = 256;

/// The λ to choose from, for `dim` standardized features.
pub(crate) fn lambdas(dim: usize) -> Vec<f64> {
    let (smallest, largest, count) = (1e-2f64, 30.0f64, 16);
    let step = |step: i32| dim as f64 * smallest * (largest / smallest).powf(f64::from(step) / f64::from(count - 1));
    (0..count).map(step).collect()
}

/// The multiply-accumulates of [`choose`].
pub(crate) fn choice_macs(rows: usize, rank: usize, classes: usize, lambdas: usize) -> u64 {
    macs([rows, rank, classes, lambdas + 2]).saturating_add(macs([rows, rank, lambdas + 1]))
}

/// The ridge classifier whose λ has the least leave-one-out squared error.
///
/// The error of a left-out row is its residual divided by `1 - h`, with its leverage `h` (PRESS: Allen 1974, doi
/// 10.1080/00401706.1974.10489157; ridge: Golub, Heath and Wahba 1979, doi 10.1080/00401706.1979.10489751). In the coordinates of
/// the principal axes, every λ needs one product.
pub(crate) fn choose(design: &Design<'_>, targets: &Targets, lambdas: &[f64]) -> Ridge {
    let system = System::new(design, targets);
    let candidates: Vec<Vec<f64>> = lambdas.iter().map(|&lambda| system.coefficients(lambda)).collect();
    let of_block = |block: Range<usize>| -> Vec<f64> {
        design.with_coordinates(block.clone(), |rows| {
            let error = |(&lambda, coefficients): (&f64, &Vec<f64>)| {
                system.error(&block, &system.scores(&block, rows, lambda, coefficients))
            };
            lambdas.iter().zip(&candidates).map(error).collect()
        })
    };
    let blocks = Subset::of(0..design.rows()).blocks(BLOCK);
    let partial: Vec<Vec<f64>> = blocks.par_iter().cloned().map(of_block).collect();
    let error = |at: usize| partial.iter().map(|errors| errors[at]).sum::<f64>();
    let best = (1..lambdas.len()).fold(0, |best, at| if error(at) < error(best) { at } else { best });
    let scores_of = |block: Range<usize>| {
        design.with_coordinates(block.clone(), |rows| system.scores(&block, rows, lambdas[best], &candidates[best]))
    };
    let scores = blocks.into_par_iter().flat_map_iter(scores_of).collect();
    let mut coefficients = candidates[best].clone();
    coefficients.extend_from_slice(&system.mean);
    let total = system.total * targets.classes() as f64;
    Ridge { lambda: lambdas[best], error: error(best) / total, coefficients, scores }
}

/// The normal equations, diagonal in the coordinates of the principal axes.
struct System<'a> {
    design: &'a Design<'a>,
    targets: &'a Targets,
    /// Weighted mean of the targets of each class.
    mean: Vec<f64>,
    /// Sum of the weights.
    total: f64,
    /// Coordinates times weighted centred targets, `[rank, classes]`.
    right: Vec<f64>,
}

impl<'a> System<'a> {
    fn new(design: &'a Design<'a>, targets: &'a Targets) -> Self {
        let (classes, rank) = (targets.classes(), design.rank());
        let total: f64 = targets.weights.iter().sum();
        let of_class = |class| {
            targets.weights.iter().enumerate().map(|(row, w)| w * target(targets, row, class)).sum::<f64>() / total
        };
        let mean: Vec<f64> = (0..classes).map(of_class).collect();
        let mut right = vec![0.0; rank * classes];
        for block in Subset::of(0..design.rows()).blocks(BLOCK) {
            let centred = |row: usize| (0..classes).map(move |class| (row, class));
            let centred: Vec<f64> = block
                .clone()
                .flat_map(centred)
                .map(|(row, class)| targets.weights[row] * (target(targets, row, class) - mean[class]))
                .collect();
            design.with_coordinates(block.clone(), |rows| {
                let rows = Matrix::new(rows, block.len(), rank).transposed();
                add_product(&mut right, rows, Matrix::new(&centred, block.len(), classes));
            });
        }
        Self { design, targets, mean, total, right }
    }

    /// The kernel `[rank, classes]` for one λ.
    fn coefficients(&self, lambda: f64) -> Vec<f64> {
        let classes = self.mean.len();
        self.right.iter().enumerate().map(|(at, value)| value / (self.design.spectrum[at / classes] + lambda)).collect()
    }

    /// The leave-one-out scores of some rows: target minus residual divided by `1 - h`.
    fn scores(&self, block: &Range<usize>, rows: &[f64], lambda: f64, coefficients: &[f64]) -> Vec<f64> {
        let (classes, rank) = (self.mean.len(), self.design.rank());
        let mut scores = vec![0.0; block.len() * classes];
        product(&mut scores, Matrix::new(rows, block.len(), rank), Matrix::new(coefficients, rank, classes));
        for (at, (scores, row)) in scores.chunks_exact_mut(classes).zip(block.clone()).enumerate() {
            let coordinates = rows[at * rank..][..rank].iter().zip(&self.design.spectrum);
            let quadratic: f64 = coordinates.map(|(x, square)| x * x / (square + lambda)).sum();
            let leverage = self.targets.weights[row] * (quadratic + self.total.recip());
            // A row alone has leverage 1 and no others to be predicted from.
            let left = (1.0 - leverage).max(f64::EPSILON);
            for (class, score) in scores.iter_mut().enumerate() {
                let target = target(self.targets, row, class);
                *score = target - (target - self.mean[class] - *score) / left;
            }
        }
        scores
    }

    fn error(&self, block: &Range<usize>, scores: &[f64]) -> f64 {
        let of_row = |(row, scores): (usize, &[f64])| {
            let square = |(class, score): (usize, &f64)| (target(self.targets, row, class) - score).powi(2);
            self.targets.weights[row] * scores.iter().enumerate().map(square).sum::<f64>()
        };
        block.clone().zip(scores.chunks_exact(self.mean.len())).map(of_row).sum()
    }
}

fn target(targets: &Targets, row: usize, class: usize) -> f64 {
    if targets.labels.has(row, class) { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::labels::Labels;
    use crate::options::ClassWeights;
    use crate::testing::{gaussians, same};

    /// Solves `a x = b` by Gaussian elimination.
    fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        let n = b.len();
        for i in 0..n {
            let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs())).unwrap();
            a.swap(i, pivot);
            b.swap(i, pivot);
            for j in i + 1..n {
                let factor = a[j][i] / a[i][i];
                (i..n).for_each(|k| a[j][k] -= factor * a[i][k]);
                b[j] -= factor * b[i];
            }
        }
        for i in (0..n).rev() {
            b[i] = (b[i] - (i + 1..n).map(|j| a[i][j] * b[j]).sum::<f64>()) / a[i][i];
        }
        b
    }

    /// The score of row `out` by weighted ridge regression on all other rows: the normal equations with a free bias.
    fn refitted(x: &[Vec<f64>], y: &[f64], weights: &[f64], lambda: f64, out: usize) -> f64 {
        let dim = x[0].len();
        let extended = |row: usize| x[row].iter().copied().chain([1.0]).collect::<Vec<_>>();
        let mut a = vec![vec![0.0; dim + 1]; dim + 1];
        let mut b = vec![0.0; dim + 1];
        for row in (0..x.len()).filter(|&row| row != out) {
            let x = extended(row);
            for i in 0..=dim {
                b[i] += weights[row] * x[i] * y[row];
                (0..=dim).for_each(|j| a[i][j] += weights[row] * x[i] * x[j]);
            }
        }
        (0..dim).for_each(|i| a[i][i] += lambda);
        solve(a, b).iter().zip(extended(out)).map(|(w, x)| w * x).sum()
    }

    #[test]
    fn leave_one_out_equals_refitting_without_each_sample() {
        for (samples, dim) in [(4, 1), (9, 4), (12, 20), (6, 6)] {
            let (values, classes) = gaussians(7, samples, dim, 3, 1.5);
            let features = Features::new(&values, samples, dim).unwrap();
            let labels = Labels::single(&classes, 3).unwrap();
            for class_weights in [ClassWeights::None, ClassWeights::Balanced] {
                let rows: Vec<usize> = (0..samples).rev().collect();
                let targets = Targets::of(&labels, &rows, class_weights);
                let design = Design::new(features, rows.clone(), &targets.weights).unwrap();
                let moments = crate::standardize::Standardization::of(&features, &rows, &targets.weights);
                let standardized = |&row: &usize| {
                    let mut x = vec![0.0; dim];
                    moments.write(features.row(row), &mut x, |value| value);
                    x
                };
                let x: Vec<Vec<f64>> = rows.iter().map(standardized).collect();
                for lambda in [0.3, 5.0] {
                    let ridge = choose(&design, &targets, &[lambda]);
                    let score = |at: usize| {
                        let y: Vec<f64> = (0..samples).map(|row| target(&targets, row, at % 3)).collect();
                        refitted(&x, &y, &targets.weights, lambda, at / 3)
                    };
                    let expected: Vec<f64> = (0..samples * 3).map(score).collect();
                    same(&ridge.scores, &expected, 1e-9);
                }
            }
        }
    }

    #[test]
    fn the_chosen_lambda_has_the_least_error() {
        let (values, classes) = gaussians(8, 60, 30, 2, 1.0);
        let features = Features::new(&values, 60, 30).unwrap();
        let labels = Labels::single(&classes, 2).unwrap();
        let rows: Vec<usize> = (0..60).collect();
        let targets = Targets::of(&labels, &rows, ClassWeights::None);
        let design = Design::new(features, rows, &targets.weights).unwrap();
        let best = choose(&design, &targets, &lambdas(30));
        for lambda in lambdas(30) {
            let alone = choose(&design, &targets, &[lambda]);
            assert!(alone.error >= best.error);
            assert_eq!(alone.error == best.error, lambda == best.lambda);
        }
        // The coefficients fit the training rows: they are no leave-one-out scores, but close to them.
        let fitted = design.logits(0..60, &best.coefficients, 2);
        assert!(fitted.iter().zip(&best.scores).all(|(a, b)| (a - b).abs() < 1.0));
    }

    #[test]
    fn one_row_and_equal_rows_give_finite_scores() {
        let features = Features::new(&[2.0, 2.0, 2.0], 3, 1).unwrap();
        let labels = Labels::single(&[0, 1, 1], 2).unwrap();
        for rows in [vec![1], vec![0, 1, 2]] {
            let targets = Targets::of(&labels, &rows, ClassWeights::None);
            let design = Design::new(features, rows, &targets.weights).unwrap();
            let ridge = choose(&design, &targets, &lambdas(1));
            assert!(ridge.scores.iter().chain(&ridge.coefficients).all(|x| x.is_finite()), "{:?}", ridge.scores);
        }
    }
}
