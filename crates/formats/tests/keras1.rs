//! Opens `.h5` files of Keras 1.2. They are made here, after `save_model` of Keras 1.2.2 (`keras/models.py`), which no longer runs.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use engraft_formats::h5::H5Writer;
use engraft_formats::keras;
use engraft_nn::Model;
use serde_json::{Value, json};

/// The name and shape of an array.
type Array = (&'static str, &'static [usize]);

/// The layers of the files with their arrays, in the order in which Keras 1.2 writes them.
const ARRAYS: [(&str, &[Array]); 6] = [
    ("convolution2d_1", &[("convolution2d_1_W", &[3, 3, 3, 4]), ("convolution2d_1_b", &[4])]),
    (
        "batchnormalization_1",
        &[
            ("batchnormalization_1_gamma", &[4]),
            ("batchnormalization_1_beta", &[4]),
            ("batchnormalization_1_running_mean", &[4]),
            ("batchnormalization_1_running_std", &[4]),
        ],
    ),
    ("maxpooling2d_1", &[]),
    ("flatten_1", &[]),
    ("dropout_1", &[]),
    ("dense_1", &[("dense_1_W", &[36, 2]), ("dense_1_b", &[2])]),
];

fn layers() -> Vec<Value> {
    let layer = |class: &str, config: Value| json!({"class_name": class, "config": config});
    vec![
        layer(
            "Convolution2D",
            json!({"name": "convolution2d_1", "trainable": true, "batch_input_shape": [null, 8, 8, 3], "input_dtype": "float32",
                "nb_filter": 4, "nb_row": 3, "nb_col": 3, "init": "glorot_uniform", "activation": "relu", "border_mode": "valid",
                "subsample": [1, 1], "dim_ordering": "tf", "W_regularizer": null, "b_regularizer": null,
                "activity_regularizer": null, "W_constraint": null, "b_constraint": null, "bias": true}),
        ),
        layer(
            "BatchNormalization",
            json!({"name": "batchnormalization_1", "trainable": true, "epsilon": 0.001, "mode": 0, "axis": 3, "momentum": 0.99,
                "gamma_regularizer": null, "beta_regularizer": null}),
        ),
        layer(
            "MaxPooling2D",
            json!({"name": "maxpooling2d_1", "trainable": true, "pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid",
                "dim_ordering": "tf"}),
        ),
        layer("Flatten", json!({"name": "flatten_1", "trainable": true})),
        layer("Dropout", json!({"name": "dropout_1", "trainable": true, "p": 0.5})),
        layer(
            "Dense",
            json!({"name": "dense_1", "trainable": true, "output_dim": 2, "init": "glorot_uniform", "activation": "softmax",
                "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}, "b_regularizer": null,
                "activity_regularizer": null, "W_constraint": null, "b_constraint": null, "bias": true, "input_dim": null}),
        ),
    ]
}

/// The layers as a functional model, each called on the one before.
fn functional() -> Value {
    let input = json!({"class_name": "InputLayer", "name": "input_1", "inbound_nodes": [],
        "config": {"name": "input_1", "batch_input_shape": [null, 8, 8, 3], "input_dtype": "float32", "sparse": false}});
    let mut found = vec![input];
    for mut layer in layers() {
        let before = found.last().unwrap()["name"].clone();
        layer["name"] = layer["config"]["name"].clone();
        layer["inbound_nodes"] = json!([[[before, 0, 0]]]);
        found.push(layer);
    }
    let ends = ["input_1", "dense_1"].map(|name| json!([[name, 0, 0]]));
    json!({"class_name": "Model", "config": {"name": "model_1", "layers": found, "input_layers": ends[0], "output_layers": ends[1]}})
}

fn values(array: &str, count: usize) -> Vec<f32> {
    (0..count).map(|index| array.len() as f32 + index as f32).collect()
}

fn write(path: &Path, config: &Value) {
    let mut writer = H5Writer::new();
    writer.attr_string("", "keras_version", "1.2.2").unwrap();
    writer.attr_string("", "model_config", &config.to_string()).unwrap();
    writer.attr_strings("model_weights", "layer_names", &ARRAYS.map(|(name, _)| name)).unwrap();
    for (layer, arrays) in ARRAYS {
        let group = format!("model_weights/{layer}");
        writer.attr_strings(&group, "weight_names", &arrays.iter().map(|(name, _)| *name).collect::<Vec<_>>()).unwrap();
        for (name, shape) in arrays {
            writer.f32(&format!("{group}/{name}"), shape, values(name, shape.iter().product())).unwrap();
        }
    }
    writer.write_to(std::fs::File::create(path).unwrap()).unwrap();
}

fn check(model: &Model) {
    let arrays = ARRAYS.iter().flat_map(|(_, arrays)| arrays.iter());
    assert_eq!(model.weights().len(), 8);
    for (weight, (name, shape)) in model.weights().iter().zip(arrays) {
        assert_eq!((weight.shape(), &*weight.values()), (*shape, &values(name, weight.count())), "{name}");
    }
    let dropout = model.get_layer("dropout_1").unwrap();
    assert_eq!(dropout.def().config()["rate"], 0.5);
    assert_eq!((model.input_shape(), model.output_shape()), (&vec![8, 8, 3], &vec![2]));
}

#[test]
fn models_of_keras_1_open_and_are_written_as_those_of_keras_3() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.h5", "new.keras"].map(|name| folder.path().join(name));
    for config in [json!({"class_name": "Sequential", "config": layers()}), functional()] {
        write(&old, &config);
        let archive = keras::load(&old).unwrap();
        assert_eq!(archive.keras_version.as_deref(), Some("1.2.2"));
        check(&archive.model);
        keras::save_model(&archive.model, &new).unwrap();
        check(&keras::load_model(&new).unwrap());
    }
}

#[test]
fn the_axes_of_theano_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.h5");
    let mut layers = layers();
    layers[0]["config"]["dim_ordering"] = json!("th");
    write(&path, &json!({"class_name": "Sequential", "config": layers}));
    let error = keras::load(&path).unwrap_err().to_string();
    assert!(error.contains("layer `convolution2d_1` (Convolution2D), option `dim_ordering`: expected tf"), "{error}");
}
