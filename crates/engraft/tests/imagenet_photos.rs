//! Networks with their real weights on real photos. `cargo xtask assets` downloads both.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft::applications::{Architecture, Network};
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

/// How many of the photos a network with these weights recognises, whose classes begin at number `first`.
fn right(network: &str, weights: &str, classes: usize, first: usize) -> Option<usize> {
    let (_, photos) = assets()?;
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(weights);
    if !weights.exists() {
        eprintln!("SKIPPED: {} is missing; `cargo xtask assets` downloads it", weights.display());
        return None;
    }
    let architecture = Architecture::find(network).unwrap();
    let size = architecture.image_size();
    let x = architecture.preprocessing().call(&Input::new([size, size, 3])).unwrap();
    let network = Network::new(architecture).weights(weights.as_path()).classes(classes).input_tensor(&x);
    let classifier = Classifier::new(network.build().unwrap(), None).unwrap();
    let is_right = |photo: &&PathBuf| {
        let probabilities = classifier.classify(&data::decode(photo).unwrap()).unwrap();
        let best = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
        best == Some(first + class(photo))
    };
    assert_eq!(photos.len(), 20);
    Some(photos.iter().filter(is_right).count())
}

#[test]
fn networks_recognise_photos_of_imagenet() {
    // As many as the programs that published the weights recognise, after another resizing. Class 0 of MobileNet is the
    // background.
    for (network, weights, classes, first, expected) in [
        ("efficientnet-lite0", "efficientnet-lite0.safetensors", 1000, 0, 18),
        ("efficientnet-lite1", "efficientnet-lite1.safetensors", 1000, 0, 19),
        ("efficientnet-lite2", "efficientnet-lite2.safetensors", 1000, 0, 18),
        ("mobilenet", "mobilenet.safetensors", 1001, 1, 17),
    ] {
        let Some(right) = right(network, weights, classes, first) else { continue };
        assert!(right >= expected, "{network}: {right} of 20");
    }
}

#[test]
fn the_features_of_the_embedded_weights_are_those_of_f32() {
    let Some((weights, photos)) = assets() else { return };
    let base = |weights: Option<&Path>| {
        let inputs = Input::new([224, 224, 3]);
        let x = efficientnet_lite::preprocess_input(&inputs).unwrap();
        let network = efficientnet_lite0().include_top(false).pooling(Pooling::Avg).input_tensor(&x);
        weights.into_iter().fold(network, Network::weights).build().unwrap()
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
