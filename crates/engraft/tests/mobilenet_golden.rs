//! A published whole-model `.h5` of MobileNetV2 predicts the same as in Keras, on a synthetic image.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use engraft::formats::keras;
use engraft::prelude::*;
use engraft_golden::{cases, picture, relative_error};

/// Absolute tolerance of a probability.
const TOLERANCE: f32 = 1e-4;

/// Tolerance of the features, relative to the largest, for another order of f32 sums in fifty-two convolutions.
const FEATURE_TOLERANCE: f32 = 1e-4;

/// Three images, with values from -1 to 1: the synthetic image, its vertical flip and its horizontal flip.
fn pictures(size: usize) -> Tensor {
    let picture: Vec<f32> = picture(size).iter().map(|value| value / 127.5 - 1.0).collect();
    let rows: Vec<&[f32]> = picture.chunks(3 * size).collect();
    let upside_down = rows.iter().rev().flat_map(|row| row.iter());
    let mirrored = rows.iter().flat_map(|row| row.chunks(3).rev().flatten());
    let pixels = picture.iter().chain(upside_down).chain(mirrored).copied().collect();
    Tensor::new([3, size, size, 3], pixels).unwrap()
}

#[test]
fn it_predicts_what_it_predicts_in_keras() {
    let case = &cases("mobilenet")[0];
    let file = format!("third_party/{}", case.get("file").as_str().unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(&file);
    if !path.exists() {
        eprintln!("SKIPPED: assets/{file} is missing; `cargo xtask assets` downloads it");
        return;
    }
    let archive = keras::load(&path).unwrap();
    assert_eq!((archive.warnings.len(), archive.keras_version.as_deref()), (0, Some("3.11.3")));
    let (model, arrays) = (archive.model, case.arrays());
    let x = pictures(160);

    let features = model.features(&x, "global_average_pooling2d", 32).unwrap();
    let error = relative_error(features.data(), arrays.get("features").data());
    assert!(error <= FEATURE_TOLERANCE, "features are off by {error}");
    let (found, expected) = (model.predict(&x, 3).unwrap(), arrays.get("y"));
    assert_eq!(found.shape(), [3, 19]);
    let off = found.data().iter().zip(expected.data()).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(off <= TOLERANCE, "a probability is off by {off}");
    eprintln!("features within {error:.1e} of the largest, probabilities within {off:.1e}");
}
