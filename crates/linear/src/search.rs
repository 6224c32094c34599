//! [`Search`]: the strength of the penalty with the least calibrated log loss on inner held-out rows.

use std::ops::Range;

use rayon::prelude::*;

use crate::design::Design;
use crate::error::Result;
use crate::lbfgs::Limits;
use crate::logistic::Problem;
use crate::monitor::{Meter, Stage, macs};
use crate::options::Options;
use crate::subset::Subset;
use crate::targets::Targets;
use crate::temperature::{self, Scored, Temperature};

/// How thorough the choice of a strength is.
///
/// The full search tries all strengths with all inner folds. Where one evaluation of the loss takes more than
/// [`FULL_SEARCH_MACS`], the reduced search holds out one inner fold and tries every second strength, in few iterations each.
pub(crate) struct Search {
    /// From strong to weak.
    strengths: Vec<f64>,
    /// Inner folds that are held out once.
    folds: usize,
    /// Of each solution on the path.
    limits: Limits,
    /// Of the solution on all rows.
    pub(crate) final_limits: Limits,
    pub(crate) is_full: bool,
    /// Multiply-accumulates that are planned for one solution.
    pub(crate) planned_solution: u64,
}

/// The most multiply-accumulates `2 * rows * axes * classes` of one evaluation for which the search is full. A full search takes
/// about a thousand evaluations, so these are 0.2 tera-multiply-accumulates.
pub(crate) const FULL_SEARCH_MACS: u64 = 200_000_000;

/// Evaluations that a solution on the path takes, for the estimate of the progress.
const EVALUATIONS: u64 = 10;

/// What a search found.
pub(crate) struct Found {
    pub(crate) strength: f64,
    /// `None` where no held-out row has a class of the training rows.
    pub(crate) temperature: Option<Temperature>,
    /// The coefficients of the first inner fold for the strength: a start for all rows.
    pub(crate) start: Vec<f64>,
}

/// One inner fold: the problem of the other rows, and its latest solution.
struct InnerFold<'a> {
    problem: Problem<'a>,
    held: Range<usize>,
    coefficients: Vec<f64>,
}

impl Search {
    /// The search for a training part of so many rows and features.
    pub(crate) fn plan(rows: usize, dim: usize, classes: usize, folds: usize, path: &[f64]) -> Self {
        let evaluation = macs([2, rows, rows.min(dim), classes]);
        let planned_solution = evaluation.saturating_mul(EVALUATIONS);
        if evaluation <= FULL_SEARCH_MACS {
            let limits = Limits { iterations: 100, tolerance: 1e-6 };
            let final_limits = Limits { iterations: 200, tolerance: 1e-9 };
            let strengths = path.to_vec();
            return Self { strengths, folds, limits, final_limits, is_full: true, planned_solution };
        }
        // Sums of f32 products don't resolve less. The solution on all rows is no more precise than those that the temperature comes
        // from: a more precise one would give surer logits.
        let limits = Limits { iterations: 12, tolerance: 1e-5 };
        let step = if path.len() > 8 { 2 } else { 1 };
        let strengths: Vec<f64> = path.iter().copied().step_by(step).collect();
        Self { strengths, folds: folds.min(1), limits, final_limits: limits, is_full: false, planned_solution }
    }

    /// The multiply-accumulates that the search and the solution on all rows take, about.
    pub(crate) fn planned(&self) -> u64 {
        let solutions = self.strengths.len() * self.folds + 1;
        self.planned_solution.saturating_mul(solutions as u64)
    }

    /// Chooses among the strengths. `inner` are the ranges of the inner folds in the rows of the design.
    ///
    /// For each strength, the logits of all held-out rows get one temperature, and the strength with the least log loss after that
    /// wins: a strength may give sure or timid logits, as the temperature makes up for it.
    ///
    /// # Errors
    /// [`Stopped`](crate::LinearError::Stopped).
    pub(crate) fn run(
        &self,
        design: &Design<'_>,
        targets: &Targets,
        inner: &[Range<usize>],
        meter: &Meter<'_>,
        dim: usize,
    ) -> Result<Found> {
        let classes = targets.classes();
        let zero = vec![0.0; design.coefficients(classes)];
        let fold = |held: &Range<usize>| {
            let problem = Problem::new(design, targets, Subset::without(design.rows(), held));
            InnerFold { problem, held: held.clone(), coefficients: zero.clone() }
        };
        let mut folds: Vec<InnerFold<'_>> = inner[..self.folds].iter().map(fold).collect();
        let weights: Vec<f64> = folds.iter().flat_map(|fold| fold.weights(targets)).collect();
        let mut best = Found { strength: self.default_strength(), temperature: None, start: zero };
        for &strength in &self.strengths {
            let penalty = Options::penalty(strength, dim);
            let solve = |fold: &mut InnerFold<'_>| {
                fold.solve(design, penalty, self.limits, classes, meter.stage(self.planned_solution))
            };
            let logits: Vec<Vec<f64>> = folds.par_iter_mut().map(solve).collect::<Result<_>>()?;
            let scored = Scored { logits: &logits.concat(), weights: &weights, targets };
            let Some(temperature) = temperature::fit(&scored) else { continue };
            if best.temperature.is_none_or(|best| temperature.log_loss < best.log_loss) {
                best = Found { strength, temperature: Some(temperature), start: folds[0].coefficients.clone() };
            }
        }
        Ok(best)
    }

    /// The strength nearest to the common one, for training rows that can't be divided.
    fn default_strength(&self) -> f64 {
        let distance = |strength: f64| strength.ln().abs();
        self.strengths
            .iter()
            .copied()
            .fold(f64::INFINITY, |best, next| if distance(next) < distance(best) { next } else { best })
    }
}

impl InnerFold<'_> {
    /// The logits of the held-out rows for one penalty.
    fn solve(
        &mut self,
        design: &Design<'_>,
        penalty: f64,
        limits: Limits,
        classes: usize,
        mut stage: Stage<'_>,
    ) -> Result<Vec<f64>> {
        let start = std::mem::take(&mut self.coefficients);
        self.coefficients = self.problem.solve(penalty, start, limits, &mut stage)?;
        let mut logits = design.logits(self.held.clone(), &self.coefficients, classes);
        self.problem.activity.fill(&mut logits);
        Ok(logits)
    }

    /// The weights of the held-out rows: 0 for classes that the other rows lack, as no strength could get them right.
    fn weights(&self, targets: &Targets) -> Vec<f64> {
        let weight = |row: usize, class: usize| {
            if self.problem.activity.is_active(class) { targets.weight(row, class) } else { 0.0 }
        };
        let row = |row: usize| (0..targets.classes()).map(move |class| weight(row, class));
        self.held.clone().flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::labels::Labels;
    use crate::monitor::Monitor;
    use crate::options::ClassWeights;
    use crate::testing::{gaussians, same};

    /// What `search` finds on separated classes, with three inner folds of ten rows each.
    fn found(search: &Search, distance: f32) -> Found {
        let (values, classes) = gaussians(3, 30, 8, 2, distance);
        let features = Features::new(&values, 30, 8).unwrap();
        let rows: Vec<usize> = (0..30).collect();
        let targets = Targets::of(&Labels::single(&classes, 2).unwrap(), &rows, ClassWeights::None);
        let design = Design::new(features, rows, &targets.weights).unwrap();
        let meter = Meter::new(Monitor::new(), search.planned());
        search.run(&design, &targets, &[0..10, 10..20, 20..30], &meter, 8).unwrap()
    }

    #[test]
    fn the_strength_with_the_least_calibrated_loss_is_chosen() {
        let path = Options::default().path().unwrap();
        let best = found(&Search::plan(30, 8, 2, 3, &path), 2.0);
        let loss = |found: Found| found.temperature.map(|temperature| temperature.log_loss).unwrap();
        let strength = best.strength;
        let least = loss(best);
        for &other in &path {
            let alone = found(&Search::plan(30, 8, 2, 3, &[other]), 2.0);
            // Another start of the path changes a loss by its tolerance.
            assert!(loss(alone) >= least - 1e-4);
        }
        same(&[loss(found(&Search::plan(30, 8, 2, 3, &[strength]), 2.0))], &[least], 1e-3);
    }

    #[test]
    fn large_problems_have_a_reduced_search() {
        let path = Options::default().path().unwrap();
        let full = Search::plan(10_000, 100, 100, 5, &path);
        assert!(full.is_full && full.strengths == path && full.folds == 5);
        let reduced = Search::plan(10_001, 100, 100, 5, &path);
        assert!(!reduced.is_full && reduced.folds == 1);
        assert_eq!(reduced.strengths, path.iter().copied().step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn rows_that_cannot_be_divided_get_the_common_strength() {
        let search = Search::plan(1, 8, 2, 0, &Options::default().path().unwrap());
        let best = found(&search, 2.0);
        assert!(best.temperature.is_none() && (0.5..2.0).contains(&best.strength), "{}", best.strength);
    }
}
