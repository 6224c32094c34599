//! Malicious files, one module for each known attack. Each file is refused with a clear error, without large allocations, without
//! running code and without access to other files or the network.
//!
//! Attacks on servers aren't tested, because engraft has no server.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod tripwire;

mod cve_2022_25882_2024_27318_onnx_external_data;
mod cve_2024_3660_2025_9905_code_in_a_lambda;
mod cve_2024_55459_2025_12060_paths_in_archives;
mod cve_2025_12058_vocabulary_in_another_file;
mod cve_2025_1550_8747_9906_config_names_a_function;
mod cve_2025_32434_pickles;
mod cve_2026_0897_shape_bombs;
mod cve_2026_1669_hdf5_data_elsewhere;
mod decompression_bomb_images;
mod hdf5_bombs;
mod hdf5_cycles_of_groups;
mod rustsec_2024_0437_protobuf_recursion;
mod safetensors_headers;
mod zip_bombs;

use std::fmt::Display;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use engraft_formats::h5::H5Writer;
use engraft_formats::keras;
use engraft_hostile::{archive, peak};
use serde_json::{Value, json};
use zip::CompressionMethod;

/// Maximum memory until a malicious file is refused: a few copies of a small file, and its valid parts.
const MEMORY: u64 = 2 << 20;

/// Asserts that `read` returns an error that contains all `parts`, and allocates at most [`MEMORY`].
#[track_caller]
fn refused<T, E: Display>(read: impl FnOnce() -> Result<T, E>, parts: &[&str]) {
    refused_within(MEMORY, read, parts);
}

/// Like [`refused`], with another limit for large files.
#[track_caller]
fn refused_within<T, E: Display>(memory: u64, read: impl FnOnce() -> Result<T, E>, parts: &[&str]) {
    let (message, peak_bytes) = peak(|| read().err().map(|error| error.to_string()));
    let message = message.expect("an error");
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
    assert!(peak_bytes <= memory, "expected at most {memory} bytes, allocated {peak_bytes}: {message}");
}

/// A file in `tests/hostile/data`.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// A `.keras` file that Keras wrote.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(name)
}

/// An entry of a `.keras` file that Keras wrote.
fn entry(name: &str) -> Vec<u8> {
    keras::read_extra(&golden("functional.keras"), name).unwrap().unwrap()
}

/// The three entries of a `.keras` file that Keras wrote.
fn entries() -> Vec<(&'static str, Vec<u8>)> {
    ["metadata.json", "config.json", "model.weights.h5"].map(|name| (name, entry(name))).to_vec()
}

/// The config of a small functional model, after `change` has changed its layer `conv2d`.
fn config(change: impl FnOnce(&mut Value)) -> Value {
    let mut config: Value = serde_json::from_slice(&entry("config.json")).unwrap();
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    change(layers.iter_mut().find(|layer| layer["config"]["name"] == "conv2d").unwrap());
    config
}

/// The config of a small functional model whose layer `conv2d` is replaced by this layer.
fn with_layer(class_name: &str, module: &str, options: &Value) -> Value {
    config(|layer| {
        layer["class_name"] = json!(class_name);
        layer["registered_name"] = json!(class_name);
        layer["module"] = json!(module);
        let mut options = options.clone();
        options["name"] = json!("conv2d");
        layer["config"] = options;
    })
}

/// A `.keras` file with this config.
fn keras_of(config: &Value) -> Vec<u8> {
    let weights = entry("model.weights.h5");
    archive(&[("config.json", config.to_string().into()), ("model.weights.h5", weights)], CompressionMethod::Stored)
}

/// A whole-model `.h5` with this config.
fn h5_of(config: &Value) -> Vec<u8> {
    h5_of_text(&config.to_string())
}

/// A whole-model `.h5` with this text as its config.
fn h5_of_text(config: &str) -> Vec<u8> {
    let mut writer = H5Writer::new();
    writer.attr_string("", "model_config", config).unwrap();
    writer.attr_strings("model_weights", "layer_names", &[""; 0]).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

/// Calls a reader that takes a path.
fn at_a_path<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    read(file.path())
}

fn load(bytes: &[u8]) -> Result<keras::Archive, engraft_nn::Error> {
    keras::read(Cursor::new(bytes.to_vec()))
}
