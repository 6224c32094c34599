//! Tests of fine-tuning from the linear head to the report.

use std::path::Path;
use std::time::Duration;

use engraft_linear::{Labels, LinearModel, Monitor, fit};

use super::super::candidate::{Network, matrix};
use super::super::{folds, report};
use super::*;
use crate::data::{PhotoFolder, decode};
use crate::random::Rng;
use crate::recipe::{Backbone, Classifier, LinearProbe, NearDuplicates, ProbeProgress, ProbeReport, Recipe};
use crate::{Model, Tensor};

/// Photos of two classes: few, as each step takes its time.
const PHOTOS: usize = 14;

const LAST: usize = PHOTOS - 1;

/// [`PHOTOS`] photos of 16 by 16 pixels: noise that is brighter in one class.
fn photos(folder: &Path) -> PhotoFolder {
    let mut rng = Rng::new(1);
    for (class, brightness) in [("bright", 120), ("dark", 0)] {
        std::fs::create_dir(folder.join(class)).unwrap();
        for photo in 0..PHOTOS / 2 {
            let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\0\0\0\x10\0\0\0\x01\0\x18\0".to_vec();
            bmp.extend([0; 24]);
            bmp.extend((0..16 * 16 * 3).map(|_| brightness + rng.below(130) as u8));
            std::fs::write(folder.join(class).join(format!("{photo}.bmp")), bmp).unwrap();
        }
    }
    PhotoFolder::scan(folder, &mut |_, _| {}).unwrap()
}

fn recipe() -> Recipe {
    Recipe { image_size: 32, ..Recipe::linear_probe(Backbone::EFFICIENTNET_LITE0, 2) }
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
    let FineTuning::OverBudget { needed: Budget::Features(needed), budget } = run(Budget::default()).fine_tuning else {
        panic!("tried")
    };
    assert!(needed > 100.0 && budget == Budget::Features(6.0), "few photos need 100 epochs: {needed}");
    assert_eq!(run(Budget::Features(0.0)).fine_tuning, FineTuning::Off);
    for time in [Duration::ZERO, Duration::from_millis(1)] {
        let outcome = run(Budget::Time(time)).fine_tuning;
        assert!(matches!(outcome, FineTuning::OverBudget { .. }), "{outcome:?}");
    }
}

#[test]
fn fine_tuning_gives_the_same_bits_on_any_number_of_threads_and_is_kept_only_if_better() {
    let run = |threads| run(Budget::Features(1e6), threads, &Interrupt::new(), &mut ProbeProgress::default());
    let (one, two) = (run(1), run(2));
    let FineTuning::Tried { epochs, linear_log_loss, tuned_log_loss, standard_error, folds_kept, kept } =
        one.fine_tuning
    else {
        panic!("{:?}", one.fine_tuning)
    };
    assert_eq!((epochs, kept), (100, tuned_log_loss < linear_log_loss - standard_error));
    assert_eq!((two.fine_tuning, &two.score), (one.fine_tuning, &one.score));
    let (model, linear) =
        (one.classifier.model(), self::run(Budget::Features(0.0), 2, &Interrupt::new(), &mut ProbeProgress::default()));
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

/// Photos, a network, and settings for the parts of fine-tuning.
struct Place {
    dir: tempfile::TempDir,
    folder: PhotoFolder,
    network: Network,
    labels: Labels,
    options: Options,
    folds: Folds,
    groups: Vec<usize>,
    runtime: Runtime,
    cache: FeatureCache,
    interrupt: Interrupt,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = photos(dir.path());
        let classes: Vec<usize> = folder.photos.iter().filter_map(Photo::class).collect();
        let labels = Labels::single(&classes, 2).unwrap();
        Self {
            network: Network::build(&recipe(), Box::new(|_, _| {})).unwrap(),
            options: Options::default(),
            folds: Folds::stratified(&labels, 2, 0).unwrap(),
            groups: folds::groups(&folder.photos),
            runtime: Runtime::cpu(Some(2)).unwrap(),
            cache: FeatureCache::off(),
            interrupt: Interrupt::new(),
            labels,
            dir,
            folder,
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            budget: Budget::Features(1e6),
            options: &self.options,
            folds: &self.folds,
            groups: &self.groups,
            runtime: &self.runtime,
            cache: &self.cache,
            batch_size: 8,
            interrupt: &self.interrupt,
        }
    }

    fn features(&self, photos: &[Photo]) -> PhotoFeatures {
        let extractor = self.network.extractor(&self.runtime, &self.cache).unwrap();
        extractor.extract(photos, &self.interrupt, &mut |_, _| {}).unwrap().unwrap()
    }

    /// A head that was trained on wrong labels, which can be improved.
    fn bad_head(&self) -> LinearModel {
        let wrong = Labels::single(&(0..PHOTOS).map(|photo| photo % 2).collect::<Vec<_>>(), 2).unwrap();
        fit(matrix(&self.features(&self.folder.photos)).unwrap(), &wrong, &self.options, &Monitor::new()).unwrap().model
    }
}

#[test]
fn a_trial_that_is_better_can_be_repeated_and_undone() {
    let place = Place::new();
    let (network, labels, context) = (&place.network, &place.labels, place.context());
    let (pretrained, head) = (values(&network.model), place.bad_head());
    let parts = network.last_block().unwrap().unwrap();
    let below = network.extractor_of(&parts, PHOTOS, &context).unwrap();
    let below = below.extract(&place.folder.photos, &place.interrupt, &mut |_, _| {}).unwrap().unwrap();
    let tuner = Tuner::new(network, parts, below, labels, &context).unwrap();
    let all: Vec<usize> = (0..PHOTOS).collect();
    let split = trial::split(labels, &all, &context, 0).unwrap().unwrap();
    assert_eq!(split.training.len() + split.validation.len(), PHOTOS);
    let trial = trial::trial(&tuner, &head, &split, 60, labels, &mut |_| {}).unwrap().unwrap();
    assert!(trial.is_better() && trial.snapshots.len() == 3, "{trial:?}");

    tuner.repeat(&head, &split.training, 60, &trial, &mut |_| {}).unwrap().unwrap();
    let tuned = values(&network.model);
    assert_eq!(changed(&tuned, &pretrained), 6, "three kernels, the top one and the head");
    // The repetition on the same photos is calibrated on the photos that were held out of the trial.
    let probabilities = tuner.probabilities(tuner.features(), &split.validation).unwrap();
    let logits: Vec<f32> = probabilities.iter().map(|probability| probability.ln()).collect();
    let found = engraft_linear::calibration::calibrate(&logits, &labels.select(&split.validation)).unwrap();
    assert!((found.temperature - 1.0).abs() < 1e-3, "{found:?}");

    tuner.restore().unwrap();
    let head = network.model.output().layer().own_weights().to_vec();
    for (weight, values) in network.model.weights().iter().zip(&pretrained) {
        assert!(head.iter().any(|own| own.id() == weight.id()) || *weight.values() == *values, "{}", weight.path());
    }
}

#[test]
fn a_photo_of_a_class_that_is_not_trained_decides_nothing() {
    let mut place = Place::new();
    // The last photo has a class of its own, and the first two are copies.
    let classes: Vec<usize> = (0..PHOTOS).map(|photo| if photo == LAST { 2 } else { 2 * photo / PHOTOS }).collect();
    place.labels = Labels::single(&classes, 3).unwrap();
    place.groups[1] = place.groups[0];
    let all: Vec<usize> = (0..PHOTOS).collect();
    for number in 0..20 {
        let parts = trial::split(&place.labels, &all, &place.context(), number).unwrap().unwrap();
        assert!(parts.training.contains(&LAST), "{number}");
        assert_eq!(parts.training.contains(&0), parts.training.contains(&1), "{number}");
        assert!(parts.validation.len() >= 2 && parts.training.len() + parts.validation.len() == PHOTOS);
    }
    assert!(trial::split(&place.labels, &[0], &place.context(), 0).unwrap().is_none());
}

#[test]
fn the_speed_is_measured_without_a_trace() {
    let place = Place::new();
    let parts = place.network.last_block().unwrap().unwrap();
    let before = values(&place.network.model);
    let cost = Cost::of(&parts, PHOTOS, 2).unwrap();
    assert!(macs_per_second(&parts.upper, 2, &cost, &place.runtime).unwrap() > 1e6);
    assert!(values(&place.network.model) == before);
}

#[test]
fn what_is_kept_is_scored_and_saved() {
    let place = Place::new();
    let unseen = tempfile::tempdir().unwrap();
    let held_out = photos(unseen.path()).photos;
    // Features that tell nothing make a linear head of chance, so that fine-tuning wins.
    let mut rng = Rng::new(9);
    let mut training = place.features(&place.folder.photos);
    let shape = training.values.shape().to_vec();
    let noise = (0..shape.iter().product()).map(|_| rng.uniform(-1.0, 1.0)).collect();
    training.values = Tensor::new(shape, noise).unwrap();
    let features = place.features(&held_out);
    let Place { network, folds, options, groups, runtime, cache, interrupt, dir, folder, .. } = place;
    let candidate = Candidate { network, training, held_out: features };
    let trained = candidate.train(&folds, &groups, &options, (&|_| {}, &|| false)).unwrap();
    let score = trained.score.clone();
    let linear = Linear { candidate: &candidate, trained: &trained, score: &score, is_chosen: &[true, true] };
    let context = Context {
        budget: Budget::Features(1e6),
        options: &options,
        folds: &folds,
        groups: &groups,
        runtime: &runtime,
        cache: &cache,
        batch_size: 8,
        interrupt: &interrupt,
    };
    let mut fractions = Vec::new();
    let mut training = |fraction: f64| fractions.push(fraction);
    let mut progress = FineTuningProgress { features: &mut |_, _| {}, training: &mut training };
    let tuned = fine_tune(&linear, &context, &mut progress).unwrap();
    let FineTuning::Tried { kept: true, folds_kept, .. } = tuned.outcome else { panic!("{:?}", tuned.outcome) };
    assert!(folds_kept > 0 && tuned.score.as_ref().unwrap().log_loss < score.log_loss);
    assert!(fractions.is_sorted() && fractions.last() == Some(&1.0), "progress runs forwards");

    let scores = (score, tuned);
    let report =
        report::report(0, (dir.path(), folder), vec![candidate], vec![trained], 0, scores, NearDuplicates::default());
    let report = report.unwrap();
    let held_out_score = report.held_out.unwrap();
    assert!(held_out_score.accuracy > 0.7, "{held_out_score:?}");
    let path = dir.path().join("model.keras");
    report.classifier.save(&path).unwrap();
    let mut log_loss = 0.0;
    for photo in &held_out {
        let pixels = decode(&photo.path).unwrap();
        let probabilities = report.classifier.classify(&pixels).unwrap();
        log_loss -= f64::from(probabilities[photo.class().unwrap()]).ln() / held_out.len() as f64;
        assert_eq!(Classifier::load(&path).unwrap().classify(&pixels).unwrap(), probabilities);
    }
    assert!((log_loss - held_out_score.log_loss).abs() < 1e-5, "{log_loss} {held_out_score:?}");
    // The angles to class means of the frozen network don't apply.
    let metadata = report.classifier.metadata().unwrap();
    assert!(metadata.unknown.as_ref().is_none_or(|rule| rule.class_means.is_none()));
    assert!(metadata.trained_on_all_photos, "the held-out photos are of another folder");
}

#[test]
fn an_error_of_fine_tuning_leaves_the_linear_classifier() {
    let dir = tempfile::tempdir().unwrap();
    let folder = photos(dir.path());
    let gone = folder.photos[3].path.clone();
    let mut progress =
        ProbeProgress { head: Box::new(move |_| drop(std::fs::remove_file(&gone))), ..Default::default() };
    let probe = LinearProbe::new(vec![recipe()]).folds(2).budget(Budget::Features(1e6));
    let report = probe.run(dir.path(), folder, &[], &Interrupt::new(), &mut progress).unwrap().unwrap();
    let FineTuning::Failed { reason } = &report.fine_tuning else { panic!("{:?}", report.fine_tuning) };
    assert!(reason.contains("changed during training"), "{reason}");
    assert_eq!(report.classifier.model().trainable_weights().len(), 2);
}
