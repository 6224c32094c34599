//! The smallest and the oddest sets: finite results, and errors that name what is wrong.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_ir::random::Rng;
use engraft_linear::{
    ClassWeights, CrossValidation, Features, Fit, Folds, Labels, LinearError, Monitor, Options, cross_validate, fit,
};

fn run(values: &[f32], labels: &Labels) -> Vec<(Fit, CrossValidation)> {
    let samples = labels.samples();
    let features = Features::new(values, samples, values.len() / samples).unwrap();
    let folds = Folds::stratified(labels, 5, 1).unwrap();
    let both = |class_weights| {
        let mut options = Options::default();
        options.class_weights = class_weights;
        let fitted = fit(features, labels, &options, &Monitor::new()).unwrap();
        let score = cross_validate(features, labels, &folds, &options, &Monitor::new()).unwrap();
        let numbers = fitted.model.kernel().iter().chain(fitted.model.bias()).chain(&score.probabilities);
        assert!(numbers.clone().all(|x| x.is_finite()), "{:?}", numbers.collect::<Vec<_>>());
        assert!(
            [score.log_loss, score.calibration_error, score.brier, score.accuracy_spread].iter().all(|x| x.is_finite())
        );
        assert!(score.interval.0 <= score.accuracy && score.accuracy <= score.interval.1);
        if !labels.is_multi() {
            assert!(
                score.probabilities.chunks(labels.classes()).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5)
            );
        }
        (fitted, score)
    };
    [ClassWeights::None, ClassWeights::Balanced].map(both).into()
}

#[test]
fn two_samples_of_one_feature() {
    for (fitted, score) in run(&[1.0, 3.0], &Labels::single(&[0, 1], 2).unwrap()) {
        let model = fitted.model;
        let probabilities = model.probabilities(Features::new(&[1.0, 3.0], 2, 1).unwrap()).unwrap();
        assert!(probabilities[0] > 0.5 && probabilities[3] > 0.5, "{probabilities:?}");
        assert_eq!((score.accuracy, fitted.inner_log_loss), (0.0, None));
    }
}

#[test]
fn classes_of_one_to_three_samples() {
    let classes = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3];
    let values: Vec<f32> = classes
        .iter()
        .enumerate()
        .flat_map(|(sample, &class)| [class as f32 * 3.0, sample as f32 * 0.1, 1.0])
        .collect();
    for (fitted, score) in run(&values, &Labels::single(&classes, 4).unwrap()) {
        let probabilities = fitted.model.probabilities(Features::new(&values, 10, 3).unwrap()).unwrap();
        let best = |row: &[f32]| (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        assert_eq!(probabilities.chunks(4).map(best).collect::<Vec<_>>(), classes.map(Some));
        assert!(score.accuracy >= 0.6, "{}", score.accuracy);
    }
}

#[test]
fn equal_rows_and_constant_features_say_nothing() {
    for (fitted, _) in run(&[7.0; 24], &Labels::single(&[0, 1, 1, 0, 1, 1], 2).unwrap()) {
        assert!(fitted.model.kernel().iter().all(|&weight| weight == 0.0));
        let probabilities = fitted.model.probabilities(Features::new(&[9.0; 4], 1, 4).unwrap()).unwrap();
        assert!((0.3..0.8).contains(&probabilities[1]), "{probabilities:?}");
    }
}

#[test]
fn copies_of_samples_and_of_features() {
    let mut rng = Rng::new(2);
    let original: Vec<[f32; 2]> =
        (0..8).map(|sample| [rng.normal() + (sample % 2) as f32 * 4.0, rng.normal()]).collect();
    let values: Vec<f32> = (0..24).flat_map(|sample| [original[sample % 8], original[sample % 8]].concat()).collect();
    for (fitted, _) in run(&values, &Labels::single(&(0..24).map(|sample| sample % 2).collect::<Vec<_>>(), 2).unwrap())
    {
        for row in 0..2 {
            let (first, copy) = (&fitted.model.kernel()[2 * row..][..2], &fitted.model.kernel()[2 * (row + 2)..][..2]);
            assert!(
                first.iter().zip(copy).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0)),
                "copies share a weight"
            );
        }
    }
}

#[test]
fn features_of_very_different_scales() {
    let mut rng = Rng::new(5);
    let scales = [1e-20f32, 1.0, 1e20];
    let values: Vec<f32> =
        (0..40).flat_map(|sample| scales.map(|scale| scale * (rng.normal() + (sample % 2) as f32 * 3.0))).collect();
    for (_, score) in run(&values, &Labels::single(&(0..40).map(|sample| sample % 2).collect::<Vec<_>>(), 2).unwrap()) {
        assert!(score.accuracy > 0.9, "{}", score.accuracy);
    }
}

#[test]
fn labels_that_few_or_all_samples_have() {
    let mut rng = Rng::new(3);
    let values: Vec<f32> = (0..30 * 2).map(|_| rng.normal()).collect();
    let bits: Vec<bool> = (0..30).flat_map(|sample| [values[2 * sample] > 0.0, sample == 4, true]).collect();
    for (fitted, score) in run(&values, &Labels::multi(&bits, 3).unwrap()) {
        assert!(fitted.model.is_multi());
        let third = fitted.model.kernel().iter().skip(2).step_by(3);
        assert!(
            third.clone().all(|&weight| weight == 0.0) && fitted.model.bias()[2] > 2.0,
            "all samples have the third label"
        );
        assert!(
            score.probabilities.chunks(3).zip(bits.chunks(3)).filter(|(p, bits)| (p[0] > 0.5) == bits[0]).count() > 24
        );
    }
    run(&[0.5, -0.5], &Labels::multi(&[true, false], 1).unwrap());
}

#[test]
fn sizes_that_do_not_match_are_named() {
    let (options, monitor) = (Options::default(), Monitor::new());
    let features = Features::new(&[0.0, 1.0, 2.0], 3, 1).unwrap();
    let labels = Labels::single(&[0, 1], 2).unwrap();
    let error = fit(features, &labels, &options, &monitor).unwrap_err();
    assert_eq!(error, LinearError::Size { place: "labels, samples", expected: 3, received: 2 });
    let labels = Labels::single(&[0, 1, 0], 2).unwrap();
    let folds = Folds::new(vec![0, 1]).unwrap();
    let error = cross_validate(features, &labels, &folds, &options, &monitor).unwrap_err();
    assert_eq!(error.to_string(), "folds, samples: expected 3, received 2");
}
