//! EfficientNet-Lite0 with its real weights on real photos. `cargo xtask assets` downloads both.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft::prelude::*;

/// The weights with the classifier in f32, and the photos; `None` without the assets.
fn assets() -> Option<(PathBuf, Vec<PathBuf>)> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let (weights, folder) = (assets.join("efficientnet-lite0.safetensors"), assets.join("imagenet20"));
    if !weights.exists() || !folder.exists() {
        eprintln!(
            "SKIPPED: {} or {} is missing; `cargo xtask assets` downloads them",
            weights.display(),
            folder.display()
        );
        return None;
    }
    let mut photos: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    photos.sort();
    Some((weights, photos))
}

/// The class in a photo's name, such as 243 in `imagenet_00_243.jpg`.
fn class(photo: &Path) -> usize {
    photo.file_stem().unwrap().to_string_lossy().rsplit('_').next().unwrap().parse().unwrap()
}

#[test]
fn it_recognises_photos_of_imagenet() {
    let Some((weights, photos)) = assets() else { return };
    let inputs = Input::new([224, 224, 3]);
    let x = efficientnet_lite::preprocess_input(&inputs).unwrap();
    let network = efficientnet_lite0().weights(weights.as_path()).input_tensor(&x).build().unwrap();
    let classifier = Classifier::new(network, None).unwrap();
    let right = photos.iter().filter(|photo| {
        let probabilities = classifier.classify(&data::decode(photo).unwrap()).unwrap();
        let best = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
        best == Some(class(photo))
    });
    // PyTorch with the published file recognises 18 of the 20, after another resizing.
    let right = right.count();
    assert!(photos.len() == 20 && right >= 18, "{right} of {}", photos.len());
}

#[test]
fn the_features_of_the_embedded_weights_are_those_of_f32() {
    let Some((weights, photos)) = assets() else { return };
    let base = |weights: Option<&Path>| {
        let inputs = Input::new([224, 224, 3]);
        let x = efficientnet_lite::preprocess_input(&inputs).unwrap();
        let network = efficientnet_lite0().include_top(false).pooling(Pooling::Avg).input_tensor(&x);
        weights.into_iter().fold(network, engraft::applications::Network::weights).build().unwrap()
    };
    let (embedded, exact) = (base(None), base(Some(&weights)));
    let (mut difference, mut size) = (0.0, 0.0);
    for photo in &photos {
        let pixels = data::decode(photo).unwrap();
        let x = Tensor::new([1, 224, 224, 3], pixels.resize(224, 224)).unwrap();
        let [a, b] = [&embedded, &exact].map(|base| base.predict(&x, 1).unwrap());
        difference += a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        size += b.data().iter().map(|b| f64::from(*b).powi(2)).sum::<f64>();
    }
    // Kernels in f16 are off by up to 2^-11 of their values. 2.9e-3 was observed over the 20 photos.
    let relative = (difference / size).sqrt();
    assert!(relative < 5e-3, "root mean square of the difference, relative to the features: {relative:.1e}");
}
