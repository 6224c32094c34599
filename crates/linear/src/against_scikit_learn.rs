//! Comparison with scikit-learn's solutions in `golden/linear`.

use engraft_golden::Case;

use crate::design::Design;
use crate::features::Features;
use crate::labels::Labels;
use crate::lbfgs::Limits;
use crate::logistic::Problem;
use crate::monitor::{Meter, Monitor};
use crate::options::ClassWeights;
use crate::ridge;
use crate::subset::Subset;
use crate::targets::Targets;
use crate::testing::same;

/// A case's features and labels.
struct Data {
    x: Vec<f32>,
    dim: usize,
    labels: Labels,
    /// Kernel and bias by scikit-learn.
    expected: (Vec<f64>, Vec<f64>),
}

fn data(case: &Case) -> Data {
    let arrays = case.arrays();
    let widened = |name: &str| arrays.get(name).data().iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let (x, labels, bias) = (arrays.get("x"), widened("labels"), widened("bias"));
    let labels = match case.get("kind").as_str() {
        Some("sigmoid") => Labels::multi(&labels.iter().map(|&bit| bit != 0.0).collect::<Vec<_>>(), bias.len()),
        _ => Labels::single(&labels.iter().map(|&class| class as usize).collect::<Vec<_>>(), bias.len()),
    };
    Data { x: x.data().to_vec(), dim: x.shape()[1], labels: labels.unwrap(), expected: (widened("kernel"), bias) }
}

impl Data {
    /// Calls `solve` with the rows in reverse order, and compares its coefficients with scikit-learn's.
    fn check(&self, class_weights: ClassWeights, solve: impl FnOnce(&Design<'_>, &Targets) -> Vec<f64>) {
        let samples = self.labels.samples();
        let rows: Vec<usize> = (0..samples).rev().collect();
        let targets = Targets::of(&self.labels, &rows, class_weights);
        let features = Features::new(&self.x, samples, self.dim).unwrap();
        let design = Design::new(features, rows, &targets.weights).unwrap();
        let classes = self.labels.classes();
        let (kernel, bias) = design.raw_kernel(&solve(&design, &targets), classes);
        // Features have different scales, so that each row of the kernel has its own.
        for (found, expected) in kernel.chunks(classes).zip(self.expected.0.chunks(classes)) {
            if expected.iter().any(|weight| weight.abs() > 1e-9) {
                same(found, expected, 2e-5);
            } else {
                assert!(found.iter().all(|weight| weight.abs() < 1e-9), "a constant feature: {found:?}");
            }
        }
        same(&bias, &self.expected.1, 2e-5);
    }
}

#[test]
fn logistic_regression_finds_the_same_optimum() {
    let cases = engraft_golden::cases("linear");
    let logistic = cases.iter().filter(|case| case.get("kind") != "ridge");
    let mut compared = 0;
    for case in logistic {
        let class_weights = if case.get("balanced") == true { ClassWeights::Balanced } else { ClassWeights::None };
        let penalty = case.get("penalty").as_f64().unwrap();
        data(case).check(class_weights, |design, targets| {
            let problem = Problem::new(design, targets, Subset::of(0..design.rows()));
            let (meter, limits) = (Meter::new(Monitor::new(), 1), Limits { iterations: 1000, tolerance: 1e-15 });
            problem
                .solve(penalty, vec![0.0; design.coefficients(targets.classes())], limits, &mut meter.stage(1))
                .unwrap()
        });
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn ridge_regression_has_the_same_errors_and_chooses_the_same_lambda() {
    let cases = engraft_golden::cases("linear");
    let mut compared = 0;
    for case in cases.iter().filter(|case| case.get("kind") == "ridge") {
        let lambdas: Vec<f64> =
            case.get("lambdas").as_array().unwrap().iter().filter_map(|lambda| lambda.as_f64()).collect();
        data(case).check(ClassWeights::None, |design, targets| {
            let errors: Vec<f64> =
                lambdas.iter().map(|&lambda| ridge::choose(design, targets, &[lambda]).error).collect();
            let expected: Vec<f64> = case.arrays().get("errors").data().iter().map(|&error| f64::from(error)).collect();
            same(&errors, &expected, 1e-6);
            let best = ridge::choose(design, targets, &lambdas);
            assert_eq!(Some(best.lambda), case.get("chosen").as_f64());
            best.coefficients
        });
        compared += 1;
    }
    assert_eq!(compared, 2);
}
