//! A reported score must be that of new samples: no leakage, and no optimism from the choices.

use engraft_ir::random::Rng;
use engraft_linear::{Features, Folds, Labels, Monitor, Options, calibration, cross_validate, fit};

/// Gaussian classes with random centres at `distance` from 0, and their classes in turn.
fn gaussians(rng: &mut Rng, centres: &[Vec<f32>], samples: usize) -> (Vec<f32>, Vec<usize>) {
    let classes: Vec<usize> = (0..samples).map(|sample| sample % centres.len()).collect();
    let values = classes
        .iter()
        .flat_map(|&class| centres[class].iter().map(|centre| centre + rng.normal()).collect::<Vec<_>>())
        .collect();
    (values, classes)
}

fn centres(rng: &mut Rng, classes: usize, dim: usize, distance: f32) -> Vec<Vec<f32>> {
    (0..classes).map(|_| (0..dim).map(|_| rng.normal() * distance / (dim as f32).sqrt()).collect()).collect()
}

#[test]
fn random_labels_are_predicted_no_better_than_by_chance() {
    // More features than samples: every training part can be separated, so that any leak would show.
    let (samples, dim, rounds) = (60, 150, 4);
    let mut right = 0.0;
    for round in 0..rounds {
        let mut rng = Rng::new(round);
        let values: Vec<f32> = (0..samples * dim).map(|_| rng.normal()).collect();
        let classes: Vec<usize> = (0..samples).map(|sample| sample % 3).collect();
        let (features, labels) = (Features::new(&values, samples, dim).unwrap(), Labels::single(&classes, 3).unwrap());
        let folds = Folds::stratified(&labels, 5, round).unwrap();
        let score = cross_validate(features, &labels, &folds, &Options::default(), &Monitor::new()).unwrap();
        right += score.accuracy * samples as f64;
        assert!(score.log_loss > 3.0f64.ln() - 0.02, "{}", score.log_loss);
    }
    let trials = samples as f64 * rounds as f64;
    // Four standard deviations of a binomial distribution with chance 1/3: exceeded by one run in 30,000.
    let bound = 4.0 * (trials * 2.0 / 9.0).sqrt();
    assert!((right - trials / 3.0).abs() < bound, "{right} of {trials} right, chance is {}", trials / 3.0);
}

#[test]
fn the_reported_accuracy_is_that_of_new_samples() {
    let (samples, dim, classes, rounds) = (100, 40, 4, 12);
    let (mut optimism, mut optimism_of_loss) = (0.0, 0.0);
    for round in 0..rounds {
        let mut rng = Rng::new(100 + round);
        let centres = centres(&mut rng, classes, dim, 2.5);
        let (values, class_of_sample) = gaussians(&mut rng, &centres, samples);
        let labels = Labels::single(&class_of_sample, classes).unwrap();
        let features = Features::new(&values, samples, dim).unwrap();
        let folds = Folds::stratified(&labels, 5, round).unwrap();
        let score = cross_validate(features, &labels, &folds, &Options::default(), &Monitor::new()).unwrap();
        let model = fit(features, &labels, &Options::default(), &Monitor::new()).unwrap().model;
        let (values, class_of_sample) = gaussians(&mut rng, &centres, 4000);
        let probabilities = model.probabilities(Features::new(&values, 4000, dim).unwrap()).unwrap();
        let labels = Labels::single(&class_of_sample, classes).unwrap();
        let held_out = calibration::accuracy(&probabilities, &labels).unwrap();
        assert!((0.4..0.98).contains(&held_out), "neither trivial nor hopeless: {held_out}");
        optimism += (score.accuracy - held_out) / rounds as f64;
        optimism_of_loss += (score.log_loss - calibration::log_loss(&probabilities, &labels).unwrap()) / rounds as f64;
        assert!(calibration::expected_calibration_error(&probabilities, &labels, 10).unwrap() < 0.12);
    }
    // The classifiers of the folds see a fifth less, so that the score is pessimistic if anything.
    assert!(optimism < 0.01, "{optimism}");
    assert!(optimism > -0.06, "{optimism}");
    assert!(optimism_of_loss > -0.03, "{optimism_of_loss}");
}

#[test]
fn held_out_labels_change_nothing_that_is_trained_without_them() {
    let (samples, dim) = (40, 60);
    let mut rng = Rng::new(7);
    let centres = centres(&mut rng, 2, dim, 2.0);
    let (values, classes) = gaussians(&mut rng, &centres, samples);
    let features = Features::new(&values, samples, dim).unwrap();
    let fold_of_sample: Vec<usize> = (0..samples).map(|sample| sample / 2 % 5).collect();
    let folds = Folds::new(fold_of_sample.clone()).unwrap();
    let score = |classes: &[usize]| {
        let labels = Labels::single(classes, 2).unwrap();
        cross_validate(features, &labels, &folds, &Options::default(), &Monitor::new()).unwrap()
    };
    let swapped: Vec<usize> =
        classes.iter().zip(&fold_of_sample).map(|(&class, &fold)| if fold == 3 { 1 - class } else { class }).collect();
    let (one, other) = (score(&classes), score(&swapped));
    for sample in (0..samples).filter(|&sample| fold_of_sample[sample] == 3) {
        assert_eq!(one.probabilities[2 * sample..][..2], other.probabilities[2 * sample..][..2]);
    }
    assert_eq!(one.choices[3], other.choices[3]);
    assert_ne!(one.choices[0], other.choices[0]);
}
