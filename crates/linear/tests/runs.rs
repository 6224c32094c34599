//! Runs as a whole: same bits for any number of threads, progress, and stops.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engraft_ir::random::Rng;
use engraft_linear::{ClassWeights, Features, Folds, Labels, LinearError, Monitor, Options, cross_validate, fit};

struct Set {
    values: Vec<f32>,
    labels: Labels,
    dim: usize,
}

fn set(samples: usize, dim: usize, classes: usize) -> Set {
    let mut rng = Rng::new(11);
    let class_of_sample: Vec<usize> = (0..samples).map(|sample| sample % classes).collect();
    let value = |at: usize| rng.normal() + if at % dim == class_of_sample[at / dim] { 2.0 } else { 0.0 };
    let values = (0..samples * dim).map(value).collect();
    Set { values, labels: Labels::single(&class_of_sample, classes).unwrap(), dim }
}

impl Set {
    fn features(&self) -> Features<'_> {
        Features::new(&self.values, self.labels.samples(), self.dim).unwrap()
    }
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn one_and_four_threads_give_the_same_bits() {
    for (samples, dim, classes) in [(50, 120, 3), (300, 20, 4)] {
        let set = set(samples, dim, classes);
        let folds = Folds::stratified(&set.labels, 5, 3).unwrap();
        let mut options = Options::default();
        options.class_weights = ClassWeights::Balanced;
        let run = |threads| {
            with_threads(threads, || {
                let fitted = fit(set.features(), &set.labels, &options, &Monitor::new()).unwrap();
                (fitted, cross_validate(set.features(), &set.labels, &folds, &options, &Monitor::new()).unwrap())
            })
        };
        assert_eq!(run(1), run(4));
    }
}

#[test]
fn the_order_of_samples_changes_rounding_alone_where_folds_are_given() {
    let set = set(60, 10, 3);
    let fold_of_sample: Vec<usize> = (0..60).map(|sample| sample / 3 % 4).collect();
    let mut order: Vec<usize> = (0..60).collect();
    Rng::new(4).shuffle(&mut order);
    let values: Vec<f32> = order.iter().flat_map(|&sample| set.features().row(sample)).copied().collect();
    let labels = Labels::single(&order.iter().map(|&sample| sample % 3).collect::<Vec<_>>(), 3).unwrap();
    let mut options = Options::default();
    // One strength, as the inner folds depend on the order. A strong one, for which the solution is precise.
    options.strengths = vec![100.0];
    let score = |features, labels: &Labels, folds: Vec<usize>| {
        cross_validate(features, labels, &Folds::new(folds).unwrap(), &options, &Monitor::new()).unwrap()
    };
    let one = score(set.features(), &set.labels, fold_of_sample.clone());
    let features = Features::new(&values, 60, 10).unwrap();
    let other = score(features, &labels, order.iter().map(|&sample| fold_of_sample[sample]).collect());
    // The temperature depends on the inner folds as well, so that logits are compared up to their scale.
    for (at, &sample) in order.iter().enumerate() {
        let centred = |probabilities: &[f32], sample: usize, temperature: f64| {
            let row = &probabilities[3 * sample..][..3];
            let logits: Vec<f64> = row.iter().map(|&p| f64::from(p).ln() / temperature).collect();
            [logits[0] - logits[2], logits[1] - logits[2]]
        };
        let fold = fold_of_sample[sample];
        let a = centred(&one.probabilities, sample, one.choices[fold].temperature);
        let b = centred(&other.probabilities, at, other.choices[fold].temperature);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 2e-3 * a.abs().max(1.0)), "{a:?} {b:?}");
    }
}

#[test]
fn progress_rises_to_one() {
    let set = set(60, 30, 3);
    let folds = Folds::stratified(&set.labels, 3, 0).unwrap();
    let seen = Mutex::new(Vec::new());
    let progress = |fraction| seen.lock().unwrap().push(fraction);
    let monitor = Monitor::new().on_progress(&progress);
    cross_validate(set.features(), &set.labels, &folds, &Options::default(), &monitor).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() > 50 && seen.is_sorted());
    assert!(seen[0] > 0.0 && seen[0] < 0.5 && *seen.last().unwrap() > 0.999, "{:?}", seen.last());
}

#[test]
fn a_stop_ends_a_run_soon() {
    let set = set(60, 30, 3);
    let folds = Folds::stratified(&set.labels, 3, 0).unwrap();
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 20;
    let monitor = Monitor::new().stop_when(&stop);
    let error = with_threads(2, || cross_validate(set.features(), &set.labels, &folds, &Options::default(), &monitor))
        .unwrap_err();
    assert_eq!(error, LinearError::Stopped);
    assert!(asked.into_inner() < 60, "each solution under way ends at its next evaluation");
}
