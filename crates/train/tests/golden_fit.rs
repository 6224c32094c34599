//! `fit` with class weights and penalties, compared with Keras' history and weights.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_data::Arrays;
use engraft_formats::keras;
use engraft_golden::{Case, relative_error};
use engraft_train::{Fit, Train};

/// The dataset of two arrays of a case.
fn dataset(case: &Case, x: &str, y: &str) -> Arrays {
    let arrays = case.arrays();
    Arrays::new(arrays.get(x).clone(), arrays.get(y).clone()).unwrap()
}

#[test]
fn class_weights_change_loss_and_weights_as_in_keras() {
    let cases = engraft_golden::cases("fit");
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let number = |key: &str| case.get(key).as_u64().unwrap() as usize;
        let class_weights = case.get("class_weight").as_array().unwrap().iter();
        let class_weights: Vec<f32> = class_weights.map(|weight| weight.as_f64().unwrap() as f32).collect();
        let (training, validation) = (dataset(case, "x", "y"), dataset(case, "validation_x", "validation_y"));
        let model = keras::load_model(&case.path(case.get("model").as_str().unwrap())).unwrap();
        let fit = Fit::new().epochs(number("epochs")).batch_size(number("batch_size")).shuffle(false);
        let history = model.fit(&training, fit.class_weights(&class_weights).validation(&validation)).unwrap();

        let arrays = case.arrays();
        // Class weights act on `loss` alone: accuracy and the validation set count each sample the same.
        for name in ["loss", "accuracy", "val_loss", "val_accuracy"] {
            let expected = arrays.get(name).data();
            assert_eq!(history.get(name).len(), expected.len());
            for (epoch, (found, expected)) in history.get(name).iter().zip(expected).enumerate() {
                // The tolerance covers f32 rounding over three epochs of Adam.
                let error = (found - f64::from(*expected)).abs();
                assert!(error <= 1e-5, "{} {name}, epoch {epoch}: {found} for {expected}", case.name());
            }
        }
        for (weight, name) in model.weights().iter().zip(case.names("weights_after")) {
            let error = relative_error(&weight.values(), arrays.get(name).data());
            assert!(error < 1e-4, "{} {}: off by {error}", case.name(), weight.path());
        }
    }
}
