//! [`Problem`]: L2-penalised logistic regression on some rows of a training part.

use crate::design::{Design, Evaluation};
use crate::error::Result;
use crate::lbfgs::{Limits, Point, minimize};
use crate::monitor::Stage;
use crate::subset::Subset;
use crate::targets::{Activity, Targets};

/// The convex problem `mean log loss + λ/2 ‖W‖²` over kernel and bias of softmax, or of one sigmoid a label. The bias is free.
///
/// The log loss of several labels is the sum over them, so that each label is a problem of its own with the same λ.
pub(crate) struct Problem<'a> {
    design: &'a Design<'a>,
    targets: &'a Targets,
    subset: Subset,
    pub(crate) activity: Activity,
}

/// The least mean `p (1 - p)` that the start of the Hessian assumes. Smaller ones would make its inverse overflow.
const LEAST_CURVATURE: f64 = 1e-6;

impl<'a> Problem<'a> {
    /// The problem of the rows in `subset`.
    pub(crate) fn new(design: &'a Design<'a>, targets: &'a Targets, subset: Subset) -> Self {
        let activity = Activity::of(targets, &subset);
        Self { design, targets, subset, activity }
    }

    /// The multiply-accumulates of one evaluation.
    pub(crate) fn macs(&self) -> u64 {
        self.design.evaluation_macs(&self.subset, self.targets.classes())
    }

    /// The minimum for the penalty λ, from the coefficients `start` on.
    ///
    /// # Errors
    /// [`Stopped`](crate::LinearError::Stopped).
    pub(crate) fn solve(
        &self,
        penalty: f64,
        start: Vec<f64>,
        limits: Limits,
        stage: &mut Stage<'_>,
    ) -> Result<Vec<f64>> {
        let mut function = |at: &[f64]| {
            stage.spend(self.macs())?;
            Ok(self.evaluate(penalty, at))
        };
        let Evaluation { loss, gradient, curvature } = function(&start)?;
        let diagonal = self.inverse_hessian(penalty, &curvature);
        let start = Point { at: start, value: loss, gradient };
        let value_and_gradient = |at: &[f64]| function(at).map(|evaluation| (evaluation.loss, evaluation.gradient));
        Ok(minimize(start, &diagonal, limits, value_and_gradient)?.at)
    }

    /// Value and gradient of the penalised loss.
    pub(crate) fn evaluate(&self, penalty: f64, coefficients: &[f64]) -> Evaluation {
        let mut evaluation = self.design.evaluate(&self.subset, self.targets, &self.activity, coefficients);
        let kernel = coefficients.len() - self.targets.classes();
        for (gradient, weight) in evaluation.gradient.iter_mut().zip(&coefficients[..kernel]) {
            *gradient += penalty * weight;
            evaluation.loss += 0.5 * penalty * weight * weight;
        }
        evaluation
    }

    /// The diagonal `1 / (c s² / n + λ)`: with the same `c = p (1 - p)` for all rows, principal axes diagonalise the Hessian.
    fn inverse_hessian(&self, penalty: f64, curvature: &[f64]) -> Vec<f64> {
        let rows = self.design.rows() as f64;
        let variances = self.design.spectrum.iter().map(|square| (square / rows, penalty)).chain([(1.0, 0.0)]);
        let row = |(variance, penalty): (f64, f64)| {
            curvature.iter().map(move |&curvature| (curvature.max(LEAST_CURVATURE) * variance + penalty).recip())
        };
        variances.flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::labels::Labels;
    use crate::monitor::{Meter, Monitor};
    use crate::options::ClassWeights;
    use crate::testing::{gaussians, same};

    const EXACT: Limits = Limits { iterations: 1000, tolerance: 1e-14 };

    /// Kernel and bias on raw features, after how many multiply-accumulates.
    fn solved(
        features: Features<'_>,
        labels: &Labels,
        class_weights: ClassWeights,
        penalty: f64,
    ) -> (Vec<f64>, Vec<f64>, u64) {
        let rows: Vec<usize> = (0..features.samples()).collect();
        let targets = Targets::of(labels, &rows, class_weights);
        let design = Design::new(features, rows, &targets.weights).unwrap();
        let problem = Problem::new(&design, &targets, Subset::of(0..features.samples()));
        let meter = Meter::new(Monitor::new(), 1);
        let start = vec![0.0; design.coefficients(labels.classes())];
        let coefficients = problem.solve(penalty, start, EXACT, &mut meter.stage(1)).unwrap();
        let (kernel, bias) = design.raw_kernel(&coefficients, labels.classes());
        (kernel, bias, meter.spent() / problem.macs())
    }

    #[test]
    fn the_gradient_at_the_optimum_is_zero_and_few_evaluations_lead_there() {
        for (samples, dim) in [(60, 300), (300, 20)] {
            let (values, classes) = gaussians(4, samples, dim, 3, 1.5);
            let features = Features::new(&values, samples, dim).unwrap();
            let labels = Labels::single(&classes, 3).unwrap();
            let (_, _, evaluations) = solved(features, &labels, ClassWeights::None, 0.1);
            assert!(evaluations < 60, "{evaluations}");
        }
    }

    #[test]
    fn several_labels_are_one_problem_each() {
        let (samples, dim) = (40, 5);
        let (values, classes) = gaussians(5, samples, dim, 4, 2.0);
        let features = Features::new(&values, samples, dim).unwrap();
        let bits: Vec<bool> = classes.iter().flat_map(|&class| [class < 2, class % 2 == 0, class == 3]).collect();
        for class_weights in [ClassWeights::None, ClassWeights::Balanced] {
            let together = Labels::multi(&bits, 3).unwrap();
            let (kernel, bias, _) = solved(features, &together, class_weights, 0.05);
            for label in 0..3 {
                let alone: Vec<bool> = bits.iter().skip(label).step_by(3).copied().collect();
                let alone = Labels::multi(&alone, 1).unwrap();
                let (expected, expected_bias, _) = solved(features, &alone, class_weights, 0.05);
                let of_label: Vec<f64> = kernel.iter().skip(label).step_by(3).copied().collect();
                same(&of_label, &expected, 1e-5);
                same(&bias[label..=label], &expected_bias, 1e-5);
            }
        }
    }

    #[test]
    fn one_sigmoid_equals_a_softmax_of_two_classes() {
        let (values, classes) = gaussians(6, 30, 4, 2, 1.0);
        let features = Features::new(&values, 30, 4).unwrap();
        let bits: Vec<bool> = classes.iter().map(|&class| class == 1).collect();
        // A softmax divides the weight w of a sigmoid into -w/2 and w/2, which halves the penalty.
        let (sigmoid, ..) = solved(features, &Labels::multi(&bits, 1).unwrap(), ClassWeights::None, 0.1);
        let (softmax, ..) = solved(features, &Labels::single(&classes, 2).unwrap(), ClassWeights::None, 0.2);
        let difference: Vec<f64> = softmax.chunks(2).map(|weights| weights[1] - weights[0]).collect();
        same(&difference, &sigmoid, 1e-5);
    }
}
