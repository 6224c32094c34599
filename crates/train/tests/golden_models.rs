//! Model files that Keras wrote predict here what they predict in Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_golden::{Case, relative_error};
use engraft_nn::Model;
use engraft_train::Train;

/// f32 sums in another order; the files hold the same weights to the bit.
const TOLERANCE: f32 = 1e-5;

fn check(case: &Case, model: &Model, what: &str) {
    let arrays = case.arrays();
    let array = |key: &str| arrays.get(case.get(key).as_str().unwrap());
    let found = model.predict(array("x"), 32).unwrap();
    let error = relative_error(found.data(), array("y").data());
    assert!(error <= TOLERANCE, "{} {what}: off by {error}", case.name());
    assert_eq!(model.count_params() as u64, case.get("parameters").as_u64().unwrap(), "{}", case.name());
    let trainable: usize = model.trainable_weights().iter().map(|weight| weight.count()).sum();
    assert_eq!(trainable as u64, case.get("trainable_parameters").as_u64().unwrap(), "{} {what}", case.name());
}

#[test]
fn files_of_keras_predict_the_same_before_and_after_saving() {
    let folder = tempfile::tempdir().unwrap();
    let cases = engraft_golden::cases("models");
    let mut checked = 0;
    for case in &cases {
        let model = keras::load_model(&case.path(case.get("file").as_str().unwrap())).unwrap();
        if let Some(weights) = case.get("weights_file").as_str() {
            model.weights().iter().for_each(|weight| weight.set(vec![0.0; weight.count()]).unwrap());
            keras::load_weights(&case.path(weights), &model).unwrap();
        }
        check(case, &model, "as loaded");
        let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
        let paths = ["again.keras", "again.h5"].map(|name| folder.path().join(name));
        keras::save(&model, &paths[0], &options).unwrap();
        legacy::save(&model, &paths[1], &options).unwrap();
        for path in &paths {
            check(case, &keras::load_model(path).unwrap(), &format!("saved and loaded again as {}", path.display()));
        }
        checked += 1;
    }
    assert!(checked >= 15, "only {checked} files");
}
