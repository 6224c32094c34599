//! Refuses `.keras` files that are damaged or inconsistent, with an error that names the place.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::path::Path;

use engraft_formats::keras;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const NAMES: [&str; 3] = ["metadata.json", "config.json", "model.weights.h5"];

fn original(model: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(format!("{model}.keras"))
}

fn entry(model: &str, name: &str) -> Vec<u8> {
    keras::read_extra(&original(model), name).unwrap().unwrap()
}

fn config(model: &str) -> Value {
    serde_json::from_slice(&entry(model, "config.json")).unwrap()
}

fn zip(entries: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn load(bytes: &[u8]) -> Result<keras::Archive, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    keras::load(file.path()).map_err(|error| error.to_string())
}

fn refused(bytes: &[u8], expected: &str) {
    let error = load(bytes).unwrap_err();
    assert!(error.contains(expected), "expected `{expected}` in: {error}");
}

/// A `.keras` archive with the weights of the golden model `model`, but with this config.
fn with_config(model: &str, config: &Value) -> Vec<u8> {
    let entries =
        [("config.json", config.to_string().into_bytes()), ("model.weights.h5", entry(model, "model.weights.h5"))];
    zip(&entries, CompressionMethod::Stored)
}

fn layer<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.iter_mut().find(|layer| layer["config"]["name"] == name).unwrap()
}

#[test]
fn files_that_are_no_archives() {
    refused(b"", "expected a .keras file");
    refused(b"not a zip archive at all", "expected a .keras file");
    refused(&[0; 100_000], "expected a .keras file");
    let missing = keras::load(Path::new("absent.keras")).unwrap_err().to_string();
    assert!(missing.starts_with("absent.keras: "), "{missing}");
}

#[test]
fn missing_entries() {
    for missing in ["config.json", "model.weights.h5"] {
        let entries: Vec<_> =
            NAMES.iter().filter(|name| **name != missing).map(|name| (*name, entry("functional", name))).collect();
        refused(&zip(&entries, CompressionMethod::Stored), &format!("an entry `{missing}`"));
    }
}

#[test]
fn deflated_archives_are_read() {
    let entries: Vec<_> = NAMES.iter().map(|name| (*name, entry("functional", name))).collect();
    let (stored, deflated) =
        (load(&zip(&entries, CompressionMethod::Stored)), load(&zip(&entries, CompressionMethod::Deflated)));
    assert_eq!(*stored.unwrap().model.weights()[0].values(), *deflated.unwrap().model.weights()[0].values());
}

#[test]
fn classes_of_strangers() {
    for (change, expected) in [
        (json!({"class_name": "Lambda"}), "layer `conv2d` (Lambda): a Lambda layer holds Python code"),
        (
            json!({"module": "os", "class_name": "system"}),
            "class `system` in config.json: expected a class of Keras itself",
        ),
        (json!({"module": "kerasx.layers"}), "module \"kerasx.layers\""),
        (json!({"registered_name": "mine>Conv2D"}), "registered name \"mine>Conv2D\""),
        (json!({"module": null}), "expected a class of Keras itself"),
        (json!({"class_name": 5}), "an object with a class_name"),
        (json!({"config": []}), "expected a config"),
        (json!({"module": "keras.src.ops.numpy"}), "operation `conv2d` (Conv2D): this operation is not known"),
    ] {
        let mut config = config("functional");
        layer(&mut config, "conv2d").as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        refused(&with_config("functional", &config), expected);
    }
}

#[test]
fn options_that_are_not_known() {
    for (place, expected) in [("", "model `functional`: unknown option `spy`"), ("conv2d", "unknown field `spy`")] {
        let mut config = config("functional");
        let object = if place.is_empty() { &mut config } else { layer(&mut config, place) };
        object["config"]["spy"] = json!(1);
        refused(&with_config("functional", &config), expected);
    }
}

#[test]
fn flags_that_are_neither_true_nor_false() {
    for (place, layer_of) in [("", "layer `functional` (Functional)"), ("conv2d", "layer `conv2d` (Conv2D)")] {
        for flag in [json!("yes"), json!(0), Value::Null] {
            let mut config = config("functional");
            let object = if place.is_empty() { &mut config } else { layer(&mut config, place) };
            object["config"]["trainable"] = flag.clone();
            refused(
                &with_config("functional", &config),
                &format!("{layer_of}: expected trainable to be true or false, received {flag}"),
            );
        }
    }
}

#[test]
fn files_of_later_versions() {
    let written_by = |version: &str, config: &Value| {
        let entries = [
            ("metadata.json", json!({"keras_version": version}).to_string().into_bytes()),
            ("config.json", config.to_string().into_bytes()),
            ("model.weights.h5", entry("functional", "model.weights.h5")),
        ];
        zip(&entries, CompressionMethod::Stored)
    };
    let mut config = config("functional");
    assert_eq!(load(&written_by("3.99.0", &config)).unwrap().keras_version.as_deref(), Some("3.99.0"));
    refused(
        &written_by("4.0.0", &config),
        "keras_version: expected 3.x or older, received 4.0.0\nhint: a later Keras wrote",
    );
    layer(&mut config, "conv2d")["config"]["spread"] = json!(2);
    refused(&written_by("3.99.0", &config), "layer `conv2d` (Conv2D), option `spread`: unknown field `spread`");
    refused(&written_by("3.99.0", &config), "hint: Keras 3.99.0 wrote this file");
}

#[test]
fn sizes_beyond_reason() {
    for (name, option, value, expected) in [
        ("conv2d", "filters", json!(1_u64 << 60), "option `filters`, number: expected at most"),
        ("conv2d", "kernel_size", json!([u64::MAX, 3]), "option `kernel_size`"),
        ("conv2d", "filters", json!(1 << 24), "an output of 1 to"),
        ("dense", "units", json!(1 << 24), "weight `dense/kernel`: expected [6, 16777216]"),
        (
            "input_layer",
            "batch_shape",
            json!([null, 1 << 20, 1 << 20, 3]),
            "layer `input_layer`: expected an output of 1 to",
        ),
        ("input_layer", "batch_shape", json!([null, 0, 12, 3]), "layer `input_layer`: expected an output of 1 to"),
        ("input_layer", "batch_shape", json!([null, -1, 12, 3]), "invalid value"),
    ] {
        let mut config = config("functional");
        layer(&mut config, name)["config"][option] = value;
        refused(&with_config("functional", &config), expected);
    }
}

#[test]
fn graphs_that_cannot_be() {
    let history = |layer: &str, call: i64| {
        json!([{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [null, 12, 12, 3], "dtype": "float32",
                "keras_history": [layer, call, 0]}}], "kwargs": {}}])
    };
    for (nodes, expected) in [
        (history("conv2d_1", 0), "the graph has a cycle"),
        (history("conv2d", 0), "the graph has a cycle"),
        (history("absent", 0), "call 0 of `absent`"),
        (history("input_layer", 7), "call 7 of `input_layer`"),
        (history("input_layer", -1), "expected [layer, call, output]"),
        (json!([]), "one of 0 calls"),
        (json!([{"args": [], "kwargs": {}}]), "at least one tensor"),
        (json!("conv2d"), "objects with a name and inbound_nodes"),
    ] {
        let mut config = config("functional");
        layer(&mut config, "conv2d")["inbound_nodes"] = nodes;
        refused(&with_config("functional", &config), expected);
    }
    let mut config = config("functional");
    layer(&mut config, "conv2d_1")["name"] = json!("conv2d");
    refused(&with_config("functional", &config), "two are called `conv2d`");
}

#[test]
fn weights_of_another_model() {
    let mut units = config("functional");
    layer(&mut units, "dense")["config"]["units"] = json!(4);
    let expected = "weight `dense/kernel`: expected [6, 4], received [6, 3] in `layers/dense/vars/0`";
    refused(&with_config("functional", &units), expected);

    let mut shape = config("functional");
    layer(&mut shape, "dense")["config"]["use_bias"] = json!(false);
    refused(
        &with_config("functional", &shape),
        "layer `dense` (Dense): expected 1 arrays in `layers/dense/vars`, received 2",
    );

    let text = config("functional").to_string().replace("\"dense\"", "\"renamed\"");
    refused(
        &with_config("functional", &serde_json::from_str(&text).unwrap()),
        "layer `renamed` (Dense): expected its weights",
    );

    let mut shorter = config("functional_in_sequential");
    shorter["config"]["layers"].as_array_mut().unwrap().pop();
    refused(&with_config("functional_in_sequential", &shorter), "others in `layers/dense_1`");

    let mut longer = config("sequential");
    let mut last = longer["config"]["layers"][4].clone();
    last["config"]["name"] = json!("more");
    longer["config"]["layers"].as_array_mut().unwrap().push(last);
    refused(
        &with_config("sequential", &longer),
        "weight `more/kernel`: expected an array `layers/dense_1/vars/0` of [3, 3], received none",
    );
}

/// Nested models, each of which calls the next one twice: 2^`levels` calls.
fn doubling(levels: usize) -> Value {
    let tensor = |layer: &str, call: usize| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, call, 0]}});
    let input = json!({"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [null, 4]}, "inbound_nodes": []});
    let mut model = json!({"class_name": "Dense", "config": {"name": "inner", "units": 4}});
    for level in 0..levels {
        model["name"] = json!("inner");
        model["inbound_nodes"] = json!([{"args": [tensor("x", 0)]}, {"args": [tensor("inner", 0)]}]);
        let first = usize::from(model["class_name"] == "Functional");
        let name = if level + 1 == levels { "outer" } else { "inner" };
        model = json!({"class_name": "Functional", "config": {"name": name, "layers": [input, model],
                       "input_layers": ["x", 0, 0], "output_layers": ["inner", 1 + first, 0]}});
    }
    model
}

#[test]
fn nesting_without_end() {
    assert!(load(&with_config("functional", &doubling(30))).is_err(), "2^30 calls");
    refused(&with_config("functional", &doubling(30)), "expected at most 100000 calls");
    let mut deep = json!({"class_name": "Dense", "config": {"name": "d", "units": 4}});
    for level in 0..34 {
        deep = json!({"class_name": "Sequential", "config": {"name": format!("s{level}"), "layers": [deep]}});
    }
    refused(&with_config("functional", &deep), "nested more than 32 deep");
    let brackets = [("config.json", "[".repeat(100_000).into_bytes())];
    refused(&zip(&brackets, CompressionMethod::Stored), "recursion limit");
}
