//! Shape bombs: a shape of a few bytes declares terabytes, and Keras allocated them.

use std::io::Cursor;

use engraft_formats::h5::H5Writer;
use engraft_formats::safetensors::SafetensorsFile;
use engraft_formats::{keras, npy, onnx};
use engraft_hostile::archive;
use engraft_nn::prelude::*;
use serde_json::{Value, json};
use zip::CompressionMethod;

use super::{data, entry, h5_of, keras_of, load, refused, refused_within, with_layer};

fn model() -> Model {
    Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap()
}

/// A weight file whose kernel declares 4 TiB without data.
#[test]
fn in_the_weights_of_a_model() {
    let weights = std::fs::read(data("shape_bomb.weights.h5")).unwrap();
    let expected = ["weight `dense", "/kernel`: expected [4, 2], received [1048576, 1048576] in `layers/dense/vars/0`"];
    refused(|| keras::read_weights(Cursor::new(weights.clone()), &model()), &expected);
    let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 4]}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 2}}]}});
    let entries = [("config.json", config.to_string().into_bytes()), ("model.weights.h5", weights)];
    refused(|| load(&archive(&entries, CompressionMethod::Stored)), &["expected [4, 2], received [1048576, 1048576]"]);
}

/// Layers with huge weights or huge outputs.
#[test]
fn in_the_config_of_a_layer() {
    let conv = |option: &str, value: Value| {
        let mut options = json!({"filters": 4, "kernel_size": [3, 3]});
        options[option] = value;
        with_layer("Conv2D", "keras.layers", &options)
    };
    let upsampling = with_layer("UpSampling2D", "keras.layers", &json!({"size": [1 << 20, 1 << 20]}));
    for (config, expected) in [
        (conv("filters", json!(1_u64 << 60)), "option `filters`, number: expected at most 16777216, received 1152"),
        (conv("filters", json!(1 << 24)), "layer `conv2d`: expected an output of 1 to 268435456 numbers, received ["),
        (conv("kernel_size", json!([u64::MAX, 3])), "option `kernel_size`"),
        (upsampling, "layer `conv2d`"),
    ] {
        for bytes in [keras_of(&config), h5_of(&config)] {
            refused(|| load(&bytes), &[expected]);
        }
    }
    let text = String::from_utf8(entry("config.json")).unwrap();
    let huge = text
        .replace("[null, 12, 12, 3]", "[null, 1048576, 1048576, 3]")
        .replace("[null,12,12,3]", "[null,1048576,1048576,3]");
    assert_ne!(huge, text);
    let config = serde_json::from_str(&huge).unwrap();
    refused(|| load(&keras_of(&config)), &["layer `input_layer`: expected an output of 1 to 268435456 numbers"]);
}

/// Layers with a huge number of options. The search for the unknown option must not take quadratic time or much memory.
#[test]
fn in_the_number_of_options() {
    let mut options = json!({"filters": 4, "kernel_size": [3, 3]});
    (0..20_000).for_each(|number| options[format!("option{number}")] = json!(number));
    let bytes = keras_of(&with_layer("Conv2D", "keras.layers", &options));
    refused_within(64 << 20, || load(&bytes), &["layer `conv2d` (Conv2D): unknown field `option0`"]);
}

#[test]
fn in_other_formats() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576), }\n";
    let array = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &[0; 64]].concat();
    let expected = "expected values for shape [1048576, 1048576], received 64 bytes of F32";
    refused(|| npy::read(&array), &["array: ", expected]);
    let npz = archive(&[("x.npy", array)], CompressionMethod::Stored);
    refused(|| npy::read_npz(Cursor::new(npz)), &["`x`", expected]);

    let header = r#"{"x":{"dtype":"F32","shape":[1048576,1048576],"data_offsets":[0,4398046511104]}}"#;
    let tensors = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat();
    refused(
        || SafetensorsFile::new(Cursor::new(tensors)),
        &["expected 4398046511104 bytes after the header, received 64"],
    );

    // A model with a graph with a float tensor `x` of [2^40, 2^40] without values.
    let tensor =
        [&[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20][..], &[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20], &[16, 1, 66, 1, b'x']]
            .concat();
    let graph = [&[42, tensor.len() as u8][..], &tensor].concat();
    let bytes = [&[58, graph.len() as u8][..], &graph].concat();
    let expected = "initializer `x`: shape [1099511627776, 1099511627776] doesn't hold 0 values";
    refused(|| onnx::initializers_from_bytes(&bytes), &[expected]);
}

/// In HDF5, attributes have shapes, too.
#[test]
fn in_the_shape_of_an_attribute() {
    let mut writer = H5Writer::new();
    writer.attr_strings("", "layer_names", &["a", "b", "c", "d", "e", "f", "g"]).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    // The attribute's dataspace: version 2, one dimension of size seven.
    let at = bytes.windows(8).position(|window| window == 7_u64.to_le_bytes()).unwrap();
    let blocks = engraft_hostile::protected(&bytes);
    bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    engraft_hostile::protect(&mut bytes, &blocks);
    let file = engraft_formats::h5::H5File::from_bytes(bytes).unwrap();
    refused(|| file.attr_strings("", "layer_names"), &["damaged or unsupported"]);
}
