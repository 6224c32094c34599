//! Fine-tuning after a linear probe, kept only where held-out photos show a lower log loss: LP-FT.

mod budget;
mod checkpoints;
mod cost;
mod trial;
mod tuner;

use std::time::Instant;

use engraft_linear::{CrossValidation, Fit, Folds, LinearError, LinearModel, Monitor, Options, fit};

pub use self::budget::Budget;
use self::cost::Cost;
use self::trial::{Trial, trial};
use self::tuner::Tuner;
use super::candidate::{Candidate, Trained, failed, matrix};
use super::report::HeldOutScore;
use crate::cache::FeatureCache;
use crate::data::Photo;
use crate::recipe::{Interrupt, PhotoFeatures};
use crate::runtime::Runtime;
use crate::{Error, Result};

/// What became of fine-tuning after a [`LinearProbe`](super::LinearProbe).
///
/// ```
/// use engraft::recipe::FineTuning;
/// let outcome = FineTuning::Tried { epochs: 8, linear_log_loss: 0.41, tuned_log_loss: 0.45, folds_kept: 1, kept: false };
/// assert!(!outcome.is_kept());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FineTuning {
    /// The budget is 0.
    Off,
    /// The smallest useful number of steps costs more than the budget. Both are multiples of the features' multiply-accumulates.
    OverBudget {
        /// The cost.
        needed: f64,
        /// The budget.
        budget: f64,
    },
    /// The values below the last block, of all photos, need more than half of the available memory.
    OverMemory {
        /// Bytes of these values.
        needed: usize,
    },
    /// An interrupt ended it. The classifier is the linear one.
    Stopped,
    /// It was tried.
    Tried {
        /// Passes over the training photos.
        epochs: usize,
        /// Log loss of the linear head on the photos that were held out of the trial.
        linear_log_loss: f64,
        /// Log loss after fine-tuning on the same photos.
        tuned_log_loss: f64,
        /// The folds of the cross-validation whose training part chose fine-tuning.
        folds_kept: usize,
        /// Whether the classifier is the fine-tuned one.
        kept: bool,
    },
}

impl FineTuning {
    /// Whether the classifier is the fine-tuned one.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Tried { kept: true, .. })
    }
}

/// The scores with fine-tuning, and whether the network has the weights of it.
pub(super) struct FineTuned {
    pub(super) outcome: FineTuning,
    /// The out-of-fold score of the whole procedure, if fine-tuning was tried.
    pub(super) score: Option<CrossValidation>,
    /// The held-out score of the fine-tuned network, if it is kept.
    pub(super) held_out: Option<HeldOutScore>,
}

impl From<FineTuning> for FineTuned {
    fn from(outcome: FineTuning) -> Self {
        Self { outcome, score: None, held_out: None }
    }
}

/// What fine-tuning needs beside the candidate.
pub(super) struct Context<'a> {
    pub(super) budget: Budget,
    pub(super) options: &'a Options,
    pub(super) folds: &'a Folds,
    pub(super) runtime: &'a Runtime,
    pub(super) cache: &'a FeatureCache,
    pub(super) batch_size: usize,
    pub(super) interrupt: &'a Interrupt,
}

/// Progress of the features below the last block, in photos and their total, and of training, as a fraction.
pub(super) struct FineTuningProgress<'a> {
    pub(super) features: &'a mut dyn FnMut(usize, usize),
    pub(super) training: &'a mut dyn FnMut(f64),
}

/// Fine-tunes the last block of the network of `chosen`, if that lowers the log loss: LP-FT (Kumar et al. 2022, arXiv 2202.10054), if that lowers the log loss.
///
/// `score` is the out-of-fold score without fine-tuning. `is_chosen` tells for each fold whether its training part chose this
/// candidate. In each of these folds, and among all photos, a trial decides on photos that are held out of it. So the score
/// includes the decision.
pub(super) fn fine_tune(
    chosen: &Candidate,
    trained: &Trained,
    score: &CrossValidation,
    is_chosen: &[bool],
    context: &Context<'_>,
    progress: &mut FineTuningProgress<'_>,
) -> Result<FineTuned> {
    if context.budget == Budget::Features(0.0) || trained.labels.is_multi() {
        return Ok(FineTuning::Off.into());
    }
    let tuned = attempt(chosen, trained, score, is_chosen, context, progress);
    chosen.network.recipe.freeze.apply(&chosen.network.model)?;
    tuned
}

fn attempt(
    chosen: &Candidate,
    trained: &Trained,
    score: &CrossValidation,
    is_chosen: &[bool],
    context: &Context<'_>,
    progress: &mut FineTuningProgress<'_>,
) -> Result<FineTuned> {
    let Some(parts) = chosen.network.last_block()? else { return Ok(FineTuning::Off.into()) };
    let photos = &chosen.training.photos;
    let cost = Cost::of(&parts, photos.len(), context.folds.count())?;
    if let Budget::Features(multiple) = context.budget
        && cost.epochs(multiple).is_none()
    {
        return Ok(FineTuning::OverBudget { needed: cost.least(), budget: multiple }.into());
    }
    let extractor = chosen.network.extractor_of(&parts, context.runtime, context.cache)?.batch_size(context.batch_size);
    let needed = extractor.bytes(photos.len());
    if context.runtime.available_memory().is_some_and(|available| needed > available / 2) {
        return Ok(FineTuning::OverMemory { needed }.into());
    }
    let start = Instant::now();
    let total = photos.len() + chosen.held_out.photos.len();
    let mut extract = |photos: &[Photo], before: usize| {
        let mut features = |done, _| (progress.features)(before + done, total);
        readable(extractor.extract(photos, context.interrupt, &mut features)?)
    };
    let Some(values) = extract(photos, 0)? else { return Ok(FineTuning::Stopped.into()) };
    let Some(held_out) = extract(&chosen.held_out.photos, photos.len())? else { return Ok(FineTuning::Stopped.into()) };
    let tuner = Tuner::new(&chosen.network, parts, values, &trained.labels, context)?;
    let multiple = match context.budget {
        Budget::Features(multiple) => multiple,
        Budget::Time(time) => {
            let left = time.saturating_sub(start.elapsed()).as_secs_f64();
            cost.features_in(left * tuner.macs_per_second(&trained.fit.model, &cost)?)
        }
    };
    let Some(epochs) = cost.epochs(multiple) else {
        return Ok(FineTuning::OverBudget { needed: cost.least(), budget: multiple }.into());
    };
    let run = Run { chosen, trained, tuner: &tuner, epochs, context };
    let tuned = run.with_score(score, is_chosen, &held_out, progress.training);
    if !matches!(&tuned, Ok(Some(tuned)) if tuned.outcome.is_kept()) {
        tuner.restore()?;
    }
    Ok(tuned?.unwrap_or_else(|| FineTuning::Stopped.into()))
}

/// The features, unless a photo that could be read before can't be read any more.
fn readable(features: Option<PhotoFeatures>) -> Result<Option<PhotoFeatures>> {
    match features.as_ref().and_then(|features| features.skipped.first()) {
        Some(file) => {
            Err(Error::because(file.path.display(), format_args!("changed during training: {}", file.reason)))
        }
        None => Ok(features),
    }
}

/// One fine-tuning with its trials.
struct Run<'a> {
    chosen: &'a Candidate,
    trained: &'a Trained,
    tuner: &'a Tuner<'a>,
    epochs: usize,
    context: &'a Context<'a>,
}

impl Run<'_> {
    /// Tries fine-tuning in each fold and among all photos; `None` if interrupted.
    fn with_score(
        &self,
        score: &CrossValidation,
        is_chosen: &[bool],
        held_out: &PhotoFeatures,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<FineTuned>> {
        let (labels, folds) = (&self.trained.labels, self.context.folds);
        let runs = (folds.count() + 1) as f64;
        let (mut probabilities, mut folds_kept) = (score.probabilities.clone(), 0);
        for fold in (0..folds.count()).filter(|&fold| is_chosen[fold]) {
            let (training, left_out) = folds.split(fold);
            let mut of_fold = |fraction: f64| progress((fold as f64 + fraction) / runs);
            let Some((trial, head)) = self.trial(&training, fold as u64 + 1, &mut of_fold)? else { return Ok(None) };
            if !trial.is_better() {
                continue;
            }
            folds_kept += 1;
            let Some(()) = self.tuner.repeat(&head, &training, self.epochs, &trial, &mut of_fold)? else {
                return Ok(None);
            };
            let of_fold = self.tuner.probabilities(self.tuner.features(), &left_out)?;
            for (&photo, row) in left_out.iter().zip(of_fold.chunks_exact(labels.classes())) {
                probabilities[photo * labels.classes()..][..labels.classes()].copy_from_slice(row);
            }
        }
        let all: Vec<usize> = (0..labels.samples()).collect();
        let mut of_all = |fraction: f64| progress((runs - 1.0 + fraction) / runs);
        let Some((trial, head)) = self.trial(&all, 0, &mut of_all)? else { return Ok(None) };
        let kept = trial.is_better();
        if kept && self.tuner.repeat(&head, &all, self.epochs, &trial, &mut of_all)?.is_none() {
            return Ok(None);
        }
        let outcome = FineTuning::Tried {
            epochs: self.epochs,
            linear_log_loss: trial.linear_log_loss,
            tuned_log_loss: trial.tuned_log_loss,
            folds_kept,
            kept,
        };
        let held_out = if kept { self.held_out(held_out)? } else { None };
        let score = score.with_probabilities(probabilities, labels).map_err(failed)?;
        Ok(Some(FineTuned { outcome, score: Some(score), held_out }))
    }

    /// A trial among the photos `rows`, and the linear head of all of them; `None` if interrupted.
    fn trial(
        &self,
        rows: &[usize],
        number: u64,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<(Trial, LinearModel)>> {
        let labels = &self.trained.labels;
        let Some(parts) = trial::split(labels, rows, self.context.options.seed, number)? else { return Ok(None) };
        let [head_of_part, head] = [self.linear(&parts.training)?, self.linear(rows)?];
        let (Some(head_of_part), Some(head)) = (head_of_part, head) else { return Ok(None) };
        let trial = trial(self.tuner, &head_of_part.model, &parts, self.epochs, labels, progress)?;
        Ok(trial.map(|trial| (trial, head.model)))
    }

    /// The linear head of the photos `rows`; `None` if interrupted.
    fn linear(&self, rows: &[usize]) -> Result<Option<Fit>> {
        let features = matrix(&self.chosen.training).map_err(failed)?;
        let values: Vec<f32> = rows.iter().flat_map(|&row| features.row(row)).copied().collect();
        let features = engraft_linear::Features::new(&values, rows.len(), features.dim()).map_err(failed)?;
        let stop = || self.context.interrupt.is_requested();
        let monitor = Monitor::new().stop_when(&stop);
        match fit(features, &self.trained.labels.select(rows), self.context.options, &monitor) {
            Ok(fit) => Ok(Some(fit)),
            Err(LinearError::Stopped) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn held_out(&self, held_out: &PhotoFeatures) -> Result<Option<HeldOutScore>> {
        if held_out.photos.is_empty() {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..held_out.photos.len()).collect();
        let probabilities = self.tuner.probabilities(held_out, &rows)?;
        let classes = held_out.photos.iter().filter_map(Photo::class);
        let rows = probabilities.chunks(self.trained.labels.classes());
        Ok(Some(HeldOutScore::of(rows.zip(classes))))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use engraft_linear::Labels;

    use super::*;
    use crate::data::PhotoFolder;
    use crate::random::Rng;
    use crate::recipe::{Backbone, LinearProbe, ProbeProgress, ProbeReport, Recipe};
    use crate::{Model, Weight};

    /// 24 photos of 16 by 16 pixels: noise that is a little brighter in one class.
    fn photos(folder: &Path) -> PhotoFolder {
        let mut rng = Rng::new(1);
        for (class, brightness) in [("bright", 40), ("dark", 0)] {
            std::fs::create_dir(folder.join(class)).unwrap();
            for photo in 0..12 {
                let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\0\0\0\x10\0\0\0\x01\0\x18\0".to_vec();
                bmp.extend([0; 24]);
                bmp.extend((0..16 * 16 * 3).map(|_| brightness + rng.below(200) as u8));
                std::fs::write(folder.join(class).join(format!("{photo}.bmp")), bmp).unwrap();
            }
        }
        PhotoFolder::scan(folder, &mut |_, _| {}).unwrap()
    }

    fn recipe() -> Recipe {
        Recipe { image_size: 32, ..Recipe::linear_probe(Backbone::EfficientNetLite0, 2) }
    }

    fn run(budget: Budget, threads: usize, interrupt: &Interrupt, progress: &mut ProbeProgress<'_>) -> ProbeReport {
        let dir = tempfile::tempdir().unwrap();
        let folder = photos(dir.path());
        let probe = LinearProbe::new(vec![recipe()]).folds(2).budget(budget);
        let probe = probe.runtime(&Runtime::cpu(Some(threads)).unwrap());
        probe.run(dir.path(), folder, &[], interrupt, progress).unwrap().unwrap()
    }

    fn values(model: &Model) -> Vec<Vec<f32>> {
        model.weights().iter().map(|weight| weight.values().clone()).collect()
    }

    /// The weights that a fine-tuned classifier may change: three kernels of the block, one of the top convolution, the head.
    fn changed(one: &[Vec<f32>], other: &[Vec<f32>]) -> usize {
        one.iter().zip(other).filter(|(one, other)| one != other).count()
    }

    #[test]
    fn a_budget_that_is_too_small_says_what_is_needed() {
        let run = |budget| run(budget, 2, &Interrupt::new(), &mut ProbeProgress::default());
        let FineTuning::OverBudget { needed, budget } = run(Budget::default()).fine_tuning else { panic!("tried") };
        assert!(needed > 100.0 && budget == 10.0, "24 photos need 100 epochs: {needed}");
        assert_eq!(run(Budget::Features(0.0)).fine_tuning, FineTuning::Off);
        assert!(matches!(run(Budget::Time(std::time::Duration::ZERO)).fine_tuning, FineTuning::OverBudget { .. }));
    }

    #[test]
    fn fine_tuning_gives_the_same_bits_on_any_number_of_threads_and_is_kept_only_if_better() {
        let run = |threads| run(Budget::Features(1e6), threads, &Interrupt::new(), &mut ProbeProgress::default());
        let (one, two) = (run(1), run(2));
        let FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, folds_kept, kept } = one.fine_tuning else {
            panic!("{:?}", one.fine_tuning)
        };
        assert_eq!((epochs, kept), (100, tuned_log_loss < linear_log_loss));
        assert_eq!((two.fine_tuning, &two.score), (one.fine_tuning, &one.score));
        let (model, linear) = (
            one.classifier.model(),
            self::run(Budget::Features(0.0), 2, &Interrupt::new(), &mut ProbeProgress::default()),
        );
        assert!(values(model) == values(two.classifier.model()), "other weights on two threads");
        // The head alone is trainable, whether or not the block was trained.
        assert_eq!(model.trainable_weights().len(), 2);
        assert_eq!(changed(&values(model), &values(linear.classifier.model())), if kept { 6 } else { 0 });
        assert_eq!(one.score.probabilities != linear.score.probabilities, folds_kept > 0);
    }

    #[test]
    fn an_interrupt_leaves_the_linear_classifier() {
        let (interrupt, mut called) = (Interrupt::new(), 0);
        let request = interrupt.clone();
        let fine_tuning = Box::new(|_fraction| {
            called += 1;
            if called == 5 {
                request.request();
            }
        });
        let mut progress = ProbeProgress { fine_tuning, ..ProbeProgress::default() };
        let stopped = run(Budget::Features(1e6), 2, &interrupt, &mut progress);
        drop(progress);
        assert_eq!((stopped.fine_tuning, called), (FineTuning::Stopped, 5));
        let linear = run(Budget::Features(0.0), 2, &Interrupt::new(), &mut ProbeProgress::default());
        assert!(values(stopped.classifier.model()) == values(linear.classifier.model()));
        assert_eq!(stopped.score, linear.score);
    }

    #[test]
    fn a_trial_that_is_better_can_be_repeated_and_undone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = photos(dir.path());
        let (runtime, cache, interrupt) = (Runtime::cpu(Some(2)).unwrap(), FeatureCache::off(), Interrupt::new());
        let network = super::super::candidate::Network::build(&recipe(), Box::new(|_, _| {})).unwrap();
        let pretrained = values(&network.model);
        let features = network.extractor(&runtime, &cache).unwrap();
        let features = features.extract(&folder.photos, &interrupt, &mut |_, _| {}).unwrap().unwrap();
        // A head that was trained on wrong labels can be improved.
        let wrong: Vec<usize> = (0..24).map(|photo| photo % 2).collect();
        let head =
            fit(matrix(&features).unwrap(), &Labels::single(&wrong, 2).unwrap(), &Options::default(), &Monitor::new());
        let head = head.unwrap().model;
        let classes: Vec<usize> = folder.photos.iter().filter_map(Photo::class).collect();
        let labels = Labels::single(&classes, 2).unwrap();
        let parts = network.last_block().unwrap().unwrap();
        let values_below = network.extractor_of(&parts, &runtime, &cache).unwrap();
        let values_below = values_below.extract(&folder.photos, &interrupt, &mut |_, _| {}).unwrap().unwrap();
        let (options, folds) = (Options::default(), Folds::stratified(&labels, 2, 0).unwrap());
        let context = Context {
            budget: Budget::default(),
            options: &options,
            folds: &folds,
            runtime: &runtime,
            cache: &cache,
            batch_size: 8,
            interrupt: &interrupt,
        };
        let tuner = Tuner::new(&network, parts, values_below, &labels, &context).unwrap();
        let all: Vec<usize> = (0..24).collect();
        let split = trial::split(&labels, &all, 0, 0).unwrap().unwrap();
        assert_eq!(split.training.len() + split.validation.len(), 24);
        let trial = trial(&tuner, &head, &split, 60, &labels, &mut |_| {}).unwrap().unwrap();
        assert!(trial.is_better() && trial.snapshots.len() == 3, "{trial:?}");

        tuner.repeat(&head, &split.training, 60, &trial, &mut |_| {}).unwrap().unwrap();
        let tuned = values(&network.model);
        assert_eq!(changed(&tuned, &pretrained), 6, "three kernels, the top one and the head");
        // The repetition on the same photos has the log loss of the trial, its temperature included.
        let probabilities = tuner.probabilities(tuner.features(), &split.validation).unwrap();
        let logits: Vec<f32> = probabilities.iter().map(|probability| probability.ln()).collect();
        let found = engraft_linear::calibration::calibrate(&logits, &labels.select(&split.validation)).unwrap();
        assert!(
            (found.temperature - 1.0).abs() < 1e-3 && (found.log_loss - trial.tuned_log_loss).abs() < 1e-5,
            "{found:?}"
        );

        tuner.restore().unwrap();
        let is_head =
            |weight: &Weight| network.model.output().layer().own_weights().iter().any(|own| own.id() == weight.id());
        for (weight, values) in network.model.weights().iter().zip(&pretrained).filter(|(weight, _)| !is_head(weight)) {
            assert!(*weight.values() == *values, "{}", weight.path());
        }
    }
}
