//! This version loads the bases and the learning rate schedules that engraft 0.1 saved, and saves them again.
//!
//! `tests/compatibility/files/0.1-second/README.md` describes the files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod stored_files;

use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::prelude::*;
use engraft::recipe::Base;
use serde_json::{Value, json};
use stored_files::{StoredFiles, TOLERANCE, load};

/// Base, learning rates, iterations and trainable weights of a model, in the form of the index.
///
/// The rates are those at the iterations of `row`.
fn found(model: &Model, row: &Value) -> Value {
    let base = Base::of(model).ok();
    let base = base.map(|base| base.layers().iter().map(|layer| layer.name().to_owned()).collect::<Vec<_>>());
    let compiled = model.compiled();
    let compiled = compiled.as_ref().unwrap();
    let LearningRate::Schedule(schedule) = compiled.optimizer_or_error().unwrap().learning_rate() else {
        panic!("no schedule")
    };
    let iterations = row["rates"].as_array().unwrap().iter().map(|pair| pair[0].as_u64().unwrap());
    json!({
        "base": base,
        "schedule": schedule.class_name(),
        "rates": iterations.map(|iteration| [json!(iteration), json!(schedule.at(iteration))]).collect::<Vec<_>>(),
        "iterations": compiled.state.iterations(),
        "trainable": model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>(),
    })
}

#[track_caller]
fn assert_found(file: &str, model: &Model, row: &Value) {
    let found = found(model, row);
    for (key, found) in found.as_object().unwrap().iter().filter(|(key, _)| *key != "rates") {
        assert_eq!(found, &row[key], "{file}: {key}");
    }
    // The standard library's powers and cosines may differ in the last digit from one system to the next.
    let rates =
        |value: &Value| value["rates"].as_array().unwrap().iter().map(|pair| pair[1].as_f64().unwrap()).collect();
    let (found, expected): (Vec<f64>, Vec<f64>) = (rates(&found), rates(row));
    let near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= 1e-12 * expected;
    assert!(found.iter().zip(&expected).all(near), "{file}: {found:?}, not {expected:?}");
}

#[test]
fn bases_and_learning_rates_come_back() {
    let files = StoredFiles::unpack("0.1-second");
    let rows = files.of_kind("model", 8);
    assert_eq!(rows.iter().filter(|(_, row)| !row["base"].is_null()).count(), 3, "files with a base");
    for (file, row) in rows {
        let model = load(&files.path(file));
        assert_found(file, &model, row);
        files.assert_expected(file, &files.predict(&model), TOLERANCE);
    }
}

#[test]
fn training_continues_at_the_learning_rate_of_the_iteration() {
    let files = StoredFiles::unpack("0.1-second");
    for (file, row) in files.of_kind("model", 8) {
        files.assert_next_step(file, row, &load(&files.path(file)));
    }
}

#[test]
fn bases_and_learning_rates_are_written_again_without_loss() {
    let files = StoredFiles::unpack("0.1-second");
    for (file, row) in files.of_kind("model", 8) {
        let first = load(&files.path(file));
        let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
        let [archive, hdf5] = ["again.keras", "again.h5"].map(|name| files.path(name));
        keras::save(&first, &archive, &options).unwrap();
        legacy::save(&first, &hdf5, &options).unwrap();
        for path in [archive, hdf5] {
            let model = load(&path);
            assert_eq!(found(&model, row), found(&first, row), "{file} in {}", path.display());
            files.assert_next_step(file, row, &model);
        }
    }
}
