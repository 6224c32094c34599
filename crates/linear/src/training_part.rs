//! [`TrainingPart`]: trains a classifier on some samples, with every choice made among these samples.

use std::ops::Range;

use engraft_ir::random::mix;

use crate::decomposition::Decomposition;
use crate::design::Design;
use crate::error::Result;
use crate::features::Features;
use crate::folds::Folds;
use crate::labels::Labels;
use crate::logistic::Problem;
use crate::model::LinearModel;
use crate::monitor::{Meter, Stage, macs};
use crate::options::Options;
use crate::ridge::{self, Ridge, RidgeChoice};
use crate::search::{Found, Search};
use crate::subset::Subset;
use crate::targets::Targets;
use crate::temperature::{self, Scored};

/// Samples to train on, ordered by inner fold.
pub(crate) struct TrainingPart<'a> {
    features: Features<'a>,
    samples: Vec<usize>,
    targets: Targets,
    /// The rows of each inner fold.
    inner: Vec<Range<usize>>,
    search: Search,
}

/// A classifier and the choices behind it.
pub(crate) struct Trained {
    pub(crate) model: LinearModel,
    pub(crate) strength: f64,
    pub(crate) penalty: f64,
    pub(crate) temperature: f64,
    pub(crate) log_loss: Option<f64>,
    pub(crate) ridge: Option<RidgeChoice>,
}

impl<'a> TrainingPart<'a> {
    /// The training part of these samples. `number` gives each part of a cross-validation inner folds of its own.
    ///
    /// # Errors
    /// An option is out of range.
    pub(crate) fn new(
        features: Features<'a>,
        labels: &Labels,
        samples: Vec<usize>,
        options: &Options,
        number: u64,
    ) -> Result<Self> {
        let path = options.path()?;
        let groups = options.groups_of(&samples, labels.samples())?;
        let fold_of_row = match groups.iter().all(|group| Some(group) == groups.first()) {
            // A single group can't be held out.
            true => vec![0; samples.len()],
            false => {
                let (labels, seed) = (labels.select(&samples), mix(options.seed, number));
                Folds::stratified_groups(&labels, &groups, options.inner_folds, seed)?.of_samples().to_vec()
            }
        };
        let mut order: Vec<usize> = (0..samples.len()).collect();
        order.sort_by_key(|&row| fold_of_row[row]);
        let count = fold_of_row.iter().max().map_or(0, |last| last + 1);
        let start = |fold: usize| order.partition_point(|&row| fold_of_row[row] < fold);
        let inner: Vec<Range<usize>> =
            (0..if count > 1 { count } else { 0 }).map(|fold| start(fold)..start(fold + 1)).collect();
        let samples: Vec<usize> = order.into_iter().map(|row| samples[row]).collect();
        let targets = Targets::of(labels, &samples, options.class_weights);
        let search = Search::plan(samples.len(), features.dim(), labels.classes(), inner.len(), &path);
        Ok(Self { features, samples, targets, inner, search })
    }

    /// About the multiply-accumulates of [`train`](Self::train).
    pub(crate) fn planned(&self) -> u64 {
        let ridge = if self.search.is_full { self.planned_ridge() } else { 0 };
        self.planned_design().saturating_add(self.search.planned()).saturating_add(ridge)
    }

    fn planned_ridge(&self) -> u64 {
        let (rows, dim) = (self.samples.len(), self.features.dim());
        ridge::choice_macs(rows, rows.min(dim), self.targets.classes(), ridge::lambdas(dim).len())
    }

    fn planned_design(&self) -> u64 {
        let (rows, dim) = (self.samples.len(), self.features.dim());
        let rotation = if rows > dim { macs([rows, dim, dim]) } else { 0 };
        Decomposition::macs(rows, dim).saturating_add(rotation)
    }

    /// Chooses strength and temperature, and trains on all samples of the part.
    ///
    /// # Errors
    /// [`Stopped`](crate::LinearError::Stopped), [`NoConvergence`](crate::LinearError::NoConvergence).
    pub(crate) fn train(&self, meter: &Meter<'_>) -> Result<Trained> {
        let mut stage = meter.stage(self.planned_design());
        stage.spend(0)?;
        let design = Design::new(self.features, self.samples.clone(), &self.targets.weights)?;
        stage.spend(self.planned_design())?;
        drop(stage);
        let dim = self.features.dim();
        let Found { strength, temperature, start } =
            self.search.run(&design, &self.targets, &self.inner, meter, dim)?;
        let ridge = if self.search.is_full { Some(self.ridge(&design, meter)?) } else { None };
        let penalty = Options::penalty(strength, dim);
        let problem = Problem::new(&design, &self.targets, Subset::of(0..design.rows()));
        let mut stage = meter.stage(self.search.planned_solution);
        let zero = vec![0.0; design.coefficients(self.targets.classes())];
        let starts = [Some(start), ridge.as_ref().map(|ridge| self.calibrated(ridge)), Some(zero)];
        let start = nearest(&problem, penalty, starts.into_iter().flatten(), &mut stage)?;
        let coefficients = problem.solve(penalty, start, self.search.final_limits, &mut stage)?;
        let scale = temperature.map_or(1.0, |temperature| temperature.scale);
        let choice = ridge.map(|ridge| self.choice(&ridge));
        let log_loss = temperature.map(|temperature| temperature.log_loss);
        let model = self.model(&design, &problem, &coefficients, scale);
        Ok(Trained { model, strength, penalty, temperature: scale, log_loss, ridge: choice })
    }

    fn ridge(&self, design: &Design<'_>, meter: &Meter<'_>) -> Result<Ridge> {
        let lambdas = ridge::lambdas(self.features.dim());
        let mut stage = meter.stage(self.planned_ridge());
        let ridge = ridge::choose(design, &self.targets, &lambdas);
        stage.spend(self.planned_ridge())?;
        Ok(ridge)
    }

    /// The coefficients of ridge as logits: scaled by the temperature of its leave-one-out scores.
    fn calibrated(&self, ridge: &Ridge) -> Vec<f64> {
        let weights: Vec<f64> = self.entries().map(|(row, class)| self.targets.weight(row, class)).collect();
        let found = temperature::fit(&Scored { logits: &ridge.scores, weights: &weights, targets: &self.targets });
        let scale = found.map_or(1.0, |temperature| temperature.scale);
        ridge.coefficients.iter().map(|value| value * scale).collect()
    }

    fn entries(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.samples.len()).flat_map(|row| (0..self.targets.classes()).map(move |class| (row, class)))
    }

    fn choice(&self, ridge: &Ridge) -> RidgeChoice {
        let leave_one_out_accuracy =
            crate::calibration::share_of_right_answers(&ridge.scores, &self.targets.labels, 0.0);
        RidgeChoice { lambda: ridge.lambda, leave_one_out_error: ridge.error, leave_one_out_accuracy }
    }

    /// The classifier of raw features, with the scale in its kernel.
    fn model(&self, design: &Design<'_>, problem: &Problem<'_>, coefficients: &[f64], scale: f64) -> LinearModel {
        let (mut kernel, mut bias) = design.raw_kernel(coefficients, self.targets.classes());
        kernel.iter_mut().chain(&mut bias).for_each(|value| *value *= scale);
        problem.activity.fill(&mut bias);
        LinearModel::new(&kernel, &bias, self.targets.labels.is_multi())
    }
}

/// The start with the least value.
fn nearest(
    problem: &Problem<'_>,
    penalty: f64,
    starts: impl Iterator<Item = Vec<f64>>,
    stage: &mut Stage<'_>,
) -> Result<Vec<f64>> {
    let mut best = (f64::INFINITY, Vec::new());
    for start in starts {
        stage.spend(problem.macs())?;
        let value = problem.evaluate(penalty, &start).loss;
        // The first start stays where values are not finite.
        if value < best.0 || best.1.is_empty() {
            best = (value, start);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussians;

    #[test]
    fn samples_of_a_group_are_in_one_inner_fold() {
        let (values, classes) = gaussians(3, 40, 4, 2, 1.0);
        let (features, labels) = (Features::new(&values, 40, 4).unwrap(), Labels::single(&classes, 2).unwrap());
        let part = |groups, samples: Vec<usize>| {
            let options = Options { groups, ..Options::default() };
            TrainingPart::new(features, &labels, samples, &options, 1)
        };
        let groups: Vec<usize> = (0..40).map(|sample| sample % 17).collect();
        let grouped = part(Some(groups.clone()), (3..40).collect()).unwrap();
        assert_eq!(grouped.inner.len(), 5);
        for fold in &grouped.inner {
            let inside = |row: &usize| fold.contains(row);
            for row in fold.clone() {
                let others = (0..37).filter(|&other| groups[grouped.samples[other]] == groups[grouped.samples[row]]);
                assert!(others.clone().all(|other| inside(&other)));
            }
        }
        // Without groups, or with one for each sample, the folds are the same.
        let [alone, none] = [Some((0..40).collect()), None].map(|groups| part(groups, (3..40).collect()).unwrap());
        assert_eq!((&alone.samples, &alone.inner), (&none.samples, &none.inner));
        // One group can't be held out.
        assert!(part(Some(vec![5; 40]), (3..40).collect()).unwrap().inner.is_empty());
        assert!(part(None, vec![3]).unwrap().inner.is_empty());
        let error = part(Some(vec![0; 39]), vec![3]).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("options, groups: expected 40, received 39"));
    }
}
