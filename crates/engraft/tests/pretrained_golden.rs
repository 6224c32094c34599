//! MobileNetV2 and Xception with Keras' ImageNet weights have the features that they have in Keras. `cargo xtask assets` downloads
//! the files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft::applications::{Network, mobilenet_v2, xception};
use engraft::prelude::*;
use engraft_golden::{Case, cases, picture, relative_error};

/// Tolerance relative to the largest feature, for another order of f32 sums in up to fifty convolutions.
const TOLERANCE: f32 = 1e-4;

/// The case of a network and the path of its file; `None` without the assets.
fn case(network: &str) -> Option<(Case, PathBuf)> {
    let case = cases("pretrained").into_iter().find(|case| case.name() == network).unwrap();
    let file = format!("third_party/{}", case.get("file").as_str().unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(&file);
    if !path.exists() {
        eprintln!("SKIPPED: assets/{file} is missing; `cargo xtask assets` downloads it");
        return None;
    }
    Some((case, path))
}

/// The synthetic image, its vertical flip and its horizontal flip, with values from -1 to 1.
fn pictures(size: usize) -> Tensor {
    let picture: Vec<f32> = picture(size).iter().map(|value| value / 127.5 - 1.0).collect();
    let rows: Vec<&[f32]> = picture.chunks(3 * size).collect();
    let upside_down = rows.iter().rev().flat_map(|row| row.iter());
    let mirrored = rows.iter().flat_map(|row| row.chunks(3).rev().flatten());
    let pixels = picture.iter().chain(upside_down).chain(mirrored).copied().collect();
    Tensor::new([3, size, size, 3], pixels).unwrap()
}

fn base(network: Network, case: &Case) -> Model {
    let size = case.get("size").as_u64().unwrap() as usize;
    network.include_top(false).pooling(Pooling::Avg).input_shape([size, size, 3]).build().unwrap()
}

fn compare(model: &Model, case: &Case) {
    let x = pictures(model.input_shape()[0]);
    let found = model.predict(&x, 3).unwrap();
    let error = relative_error(found.data(), case.arrays().get("features").data());
    assert!(error <= TOLERANCE, "{}: features are off by {error}", case.name());
}

#[test]
fn mobilenet_v2_has_the_features_of_keras() {
    let Some((case, path)) = case("MobileNetV2") else { return };
    // The file is a whole model, whose head is left out.
    compare(&base(mobilenet_v2().weights(path.as_path()), &case), &case);
}

#[test]
fn xception_has_the_features_of_keras() {
    let Some((case, path)) = case("Xception") else { return };
    let whole = load_model(&path).unwrap();
    let nested = Model::from_layer(whole.get_layer("xception").unwrap()).unwrap();
    let model = base(xception().weights("none"), &case);
    assert_eq!(model.weights().len(), nested.weights().len());
    for (weight, published) in model.weights().iter().zip(nested.weights()) {
        weight.set(published.values().clone()).unwrap();
    }
    compare(&model, &case);
}
