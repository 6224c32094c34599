//! Files made to do harm, one module for each incident: each is refused with a clear word, before it has cost anything,
//! with nothing run and nothing else touched.
//!
//! The incidents of servers (one that fetches an address for whoever asks, one that tells of its insides, one that a large
//! body brings down) wait for a server.

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

/// Bytes that may be held while a hostile file is refused: a copy or two of a small file, and what its valid parts take.
const MEMORY: u64 = 2 << 20;

/// Asserts that `read` gives an error with all these `parts`, and holds at most [`MEMORY`] until then.
#[track_caller]
fn refused<T, E: Display>(read: impl FnOnce() -> Result<T, E>, parts: &[&str]) {
    refused_within(MEMORY, read, parts);
}

/// Like [`refused`], where the file itself takes more.
#[track_caller]
fn refused_within<T, E: Display>(memory: u64, read: impl FnOnce() -> Result<T, E>, parts: &[&str]) {
    let (message, held) = peak(|| read().err().map(|error| error.to_string()));
    let message = message.expect("an error");
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
    assert!(held <= memory, "expected at most {memory} bytes, held {held}: {message}");
}

/// A file of this folder.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// A `.keras` file that a real Keras wrote.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(name)
}

/// An entry of that file.
fn entry(name: &str) -> Vec<u8> {
    keras::read_extra(&golden("functional.keras"), name).unwrap().unwrap()
}

/// The three entries of a `.keras` file.
fn entries() -> Vec<(&'static str, Vec<u8>)> {
    ["metadata.json", "config.json", "model.weights.h5"].map(|name| (name, entry(name))).to_vec()
}

/// The config of a small functional model, whose layer `conv2d` `change` changes.
fn config(change: impl FnOnce(&mut Value)) -> Value {
    let mut config: Value = serde_json::from_slice(&entry("config.json")).unwrap();
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    change(layers.iter_mut().find(|layer| layer["config"]["name"] == "conv2d").unwrap());
    config
}

/// A layer of its own between the input and `conv2d`'s place: `conv2d` becomes this object.
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

/// A `.keras` file of this config.
fn keras_of(config: &Value) -> Vec<u8> {
    let weights = entry("model.weights.h5");
    archive(&[("config.json", config.to_string().into()), ("model.weights.h5", weights)], CompressionMethod::Stored)
}

/// A whole-model `.h5` of this config.
fn h5_of(config: &Value) -> Vec<u8> {
    h5_of_text(&config.to_string())
}

/// A whole-model `.h5` whose config is this text.
fn h5_of_text(config: &str) -> Vec<u8> {
    let mut writer = H5Writer::new();
    writer.attr_string("", "model_config", config).unwrap();
    writer.attr_strings("model_weights", "layer_names", &[""; 0]).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

/// For what opens its file itself.
fn at_a_path<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    read(file.path())
}

fn load(bytes: &[u8]) -> Result<keras::Archive, engraft_nn::Error> {
    keras::read(Cursor::new(bytes.to_vec()))
}
