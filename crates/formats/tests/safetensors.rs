//! Saves weights to `.safetensors` and loads them again.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Cursor;

use engraft_formats::FloatType;
use engraft_formats::safetensors::{self, Naming, SafetensorsFile, SaveOptions};
use engraft_nn::prelude::*;

/// A small VGG with a head.
fn model(classes: usize) -> Model {
    let base = Sequential::with_name("base").add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("conv"));
    let base = base.add(MaxPooling2D::new(2)).build().unwrap();
    let model = Sequential::new().add(&base).add(Flatten::new()).add(Dense::new(6).named("hidden"));
    model.add(Dense::new(classes).named("top")).build().unwrap()
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

#[test]
fn both_namings_come_back_and_half_precision_is_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = model(3);
    for (naming, float_type, tolerance) in [
        (Naming::Keras, FloatType::F32, 0.0),
        (Naming::Torchvision, FloatType::F32, 0.0),
        // f16 has 11 significant bits, so rounding changes a weight below 1 by less than 0.0005.
        (Naming::Torchvision, FloatType::F16, 0.0005),
    ] {
        let options = SaveOptions { naming, float_type, ..SaveOptions::default() };
        safetensors::save_weights(&path, &saved.layers(), &options).unwrap();
        let read = model(3);
        assert_ne!(values(&read), values(&saved));
        assert!(safetensors::load_weights(&path, &read.layers(), naming).unwrap().is_empty());
        for (read, saved) in values(&read).concat().iter().zip(values(&saved).concat()) {
            assert!((read - saved).abs() <= tolerance, "{read} {saved}");
        }
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 2 * saved.count_params() as u64 + 2000, "two bytes per value");
}

#[test]
fn a_part_may_be_loaded_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = model(3);
    let metadata = [("licence".to_owned(), "MIT".to_owned())].into();
    let options = SaveOptions { metadata, ..SaveOptions::default() };
    safetensors::save_weights(&path, &saved.layers(), &options).unwrap();

    let base = model(3).layers()[..1].to_vec();
    let unused = safetensors::load_weights(&path, &base, Naming::Keras).unwrap();
    assert_eq!(unused, ["hidden/bias", "hidden/kernel", "top/bias", "top/kernel"]);
    assert_eq!(*base[0].weights()[0].values(), *saved.weights()[0].values());
    let file = SafetensorsFile::new(Cursor::new(std::fs::read(&path).unwrap())).unwrap();
    assert_eq!(file.metadata()["licence"], "MIT");
}

#[test]
fn what_does_not_fit_is_named_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    safetensors::save_weights(&path, &model(3).layers(), &SaveOptions::default()).unwrap();
    let other = model(5);
    let before = values(&other);
    for (naming, expected) in [
        (Naming::Keras, "weight `top/kernel`: expected [6, 5], received [6, 3] in `top/kernel`"),
        (Naming::Torchvision, "weight `conv/kernel`: expected a tensor `features.0.weight`, received none"),
    ] {
        let error = safetensors::load_weights(&path, &other.layers(), naming).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(values(&other), before);
}

#[test]
fn truncated_anywhere_it_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    safetensors::save_weights(&path, &model(3).layers(), &SaveOptions::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(SafetensorsFile::new(Cursor::new(bytes.clone())).is_ok());
    for len in 0..bytes.len() {
        assert!(SafetensorsFile::new(Cursor::new(bytes[..len].to_vec())).is_err(), "{len} bytes");
    }
}
