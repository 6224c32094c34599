//! VGG16 with the ImageNet weights has the activations of Keras, on a photo and on a synthetic image.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft::data::decode;
use engraft::prelude::*;
use engraft::train::Train;
use engraft_golden::{Case, relative_error};

/// Tolerance relative to the largest activation. (Keras' own values differ by 3e-7 from a computation in f64.)
const TOLERANCE: f32 = 1e-3;

/// The path of a file of `cargo xtask assets`; if it is missing, prints that the test is skipped.
fn asset(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(file);
    if !path.exists() {
        eprintln!("SKIPPED: assets/{file} is missing; `cargo xtask assets` downloads it");
    }
    path.exists().then_some(path)
}

fn case(name: &str) -> Case {
    engraft_golden::cases("vgg16").into_iter().find(|case| case.name() == name).unwrap()
}

/// Compares the activations for `pixels: [128, 128, 3]` with those of the case.
fn check(case: &Case, weights: &Path, pixels: Vec<f32>) {
    let inputs = Input::new([128, 128, 3]);
    let x = engraft::applications::vgg16::preprocess_input(&inputs).unwrap();
    let base = vgg16().include_top(false).weights(weights).input_tensor(&x).build().unwrap();
    let photo = Tensor::new([1, 128, 128, 3], pixels).unwrap();
    let arrays = case.arrays();
    for (layer, activation) in case.get("activations").as_object().unwrap() {
        let found = base.features(&photo, layer, 1).unwrap();
        let strides: Vec<usize> =
            activation["strides"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap() as usize).collect();
        let [height, width, channels] = found.shape()[1..].try_into().unwrap();
        let mut sampled = Vec::new();
        for row in (0..height).step_by(strides[0]) {
            for column in (0..width).step_by(strides[1]) {
                let pixel = &found.data()[(row * width + column) * channels..][..channels];
                sampled.extend(pixel.iter().step_by(strides[2]));
            }
        }
        let error = relative_error(&sampled, arrays.get(activation["array"].as_str().unwrap()).data());
        assert!(error <= TOLERANCE, "{} {layer}: off by {error}", case.name());
        eprintln!("{} {layer}: within {error:.1e} of the largest", case.name());
    }
}

fn weights() -> Option<PathBuf> {
    asset("keras/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
}

#[test]
fn a_picture_made_by_a_formula() {
    let Some(weights) = weights() else { return };
    check(&case("synthetic"), &weights, engraft_golden::picture(128));
}

#[test]
fn a_real_photo() {
    let case = case("photo_accurate");
    let name = case.get("file").as_str().unwrap().rsplit('/').next().unwrap();
    let (Some(weights), Some(photo)) = (weights(), asset(&format!("food5/fish/{name}"))) else { return };
    check(&case, &weights, decode(&photo).unwrap().resize(128, 128));
}
