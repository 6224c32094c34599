//! Reads and writes the older `.h5` files of Keras 2, with weights and with models.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft_formats::h5::{H5File, H5Writer};
use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_nn::prelude::*;

fn model_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(name)
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

fn zero(model: &Model) {
    model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
}

#[test]
fn weight_files_of_keras_2_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    for name in ["functional", "functional_in_sequential", "augmentation"] {
        let model = keras::load_model(&model_file(&format!("{name}.keras"))).unwrap();
        let own = values(&model);
        zero(&model);
        // The generator gave both files the same weights.
        legacy::load_weights(&model_file(&format!("{name}.h5")), &model.layers()).unwrap();
        assert_eq!(values(&model), own, "{name}");
        legacy::save_weights(&path, &model.layers()).unwrap();
        zero(&model);
        legacy::load_weights(&path, &model.layers()).unwrap();
        assert_eq!(values(&model), own, "{name}");
    }
}

#[test]
fn legacy_files_list_their_layers() {
    let layers = legacy::layers(&model_file("functional.h5")).unwrap();
    let names_and_shapes: Vec<(&str, Vec<&[usize]>)> = layers
        .iter()
        .map(|layer| (layer.name.as_str(), layer.weights.iter().map(|(_, shape)| shape.as_slice()).collect()))
        .collect();
    assert_eq!(names_and_shapes[0], ("input_layer", vec![]));
    assert_eq!(names_and_shapes[1], ("conv2d", vec![&[3, 3, 3, 4][..], &[4]]));
    assert_eq!(names_and_shapes.last().unwrap(), &("dense", vec![&[6, 3][..], &[3]]));
}

#[test]
fn legacy_weights_of_another_model_are_refused_by_name() {
    let x = Input::new([12, 12, 3]);
    let y = Conv2D::new(4, 3).named("first").call(&x).unwrap();
    let shorter = Model::new(&x, &y).unwrap();
    let error = legacy::load_weights(&model_file("functional.h5"), &shorter.layers()).unwrap_err().to_string();
    assert!(error.contains("expected 1 layers with weights, received 3"), "{error}");
    assert!(error.contains("the end in the model and `conv2d_1` in the file"), "{error}");

    let y = Conv2D::new(7, 3).named("second").call(&y).unwrap();
    let y = Dense::new(3).call(&GlobalAveragePooling2D::new().call(&y).unwrap()).unwrap();
    let other = Model::new(&x, &y).unwrap();
    let before = values(&other);
    let error = legacy::load_weights(&model_file("functional.h5"), &other.layers()).unwrap_err().to_string();
    assert!(error.contains("layer `second`: expected weights of shapes [[3, 3, 4, 7], [7]]"), "{error}");
    assert_eq!(values(&other), before, "nothing is changed unless everything fits");
    assert!(legacy::layers(&model_file("functional.weights.h5")).unwrap_err().to_string().contains("`layer_names`"));
}

#[test]
fn by_name_sets_the_layers_that_are_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    let model = |names: [&str; 3], classes| {
        let [a, b, top] = names;
        let layers = Sequential::new().add(Input::new([4])).add(Dense::new(4).named(a)).add(Dense::new(4).named(b));
        layers.add(Dense::new(classes).named(top)).build().unwrap()
    };
    let saved = model(["a", "b", "old_top"], 3);
    legacy::save_weights(&path, &saved.layers()).unwrap();

    let other = model(["b", "c", "new_top"], 7);
    let before = values(&other);
    assert_eq!(legacy::load_weights_by_name(&path, &other.layers()).unwrap(), ["b"]);
    assert_eq!(values(&other)[..2], values(&saved)[2..4]);
    assert_eq!(values(&other)[2..], before[2..], "all others stay");

    let error = legacy::load_weights_by_name(&path, &model(["x", "y", "z"], 3).layers()).unwrap_err().to_string();
    assert!(error.contains("expected layers called x, y, z, received a, b, old_top"), "{error}");
    let error = legacy::load_weights_by_name(&path, &model(["a", "y", "old_top"], 9).layers()).unwrap_err().to_string();
    assert!(error.contains("layer `old_top`: expected weights of shapes [[4, 9], [9]]"), "{error}");
}

/// Loads an `.h5` of a model with these attributes and no weights.
fn load_with_attributes(attributes: &[(&str, &str)]) -> Result<keras::Archive, String> {
    let mut writer = H5Writer::new();
    attributes.iter().for_each(|(name, text)| writer.attr_string("", name, text).unwrap());
    writer.attr_strings::<&str>("model_weights", "layer_names", &[]).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    keras::read(std::io::Cursor::new(bytes)).map_err(|error| error.to_string())
}

#[test]
fn what_a_whole_model_file_lacks_is_named() {
    let config = r#"{"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [null, 3]}}]}}"#;
    for (attributes, expected) in [
        (vec![], "root: expected an attribute `model_config`, received none\nhint: this .h5 holds weights only"),
        (vec![("model_config", "{")], "config.json: EOF"),
        (vec![("model_config", config)], "expected 1 layers with weights, received 0"),
        (vec![("model_config", config), ("keras_version", "4.1.0")], "expected 3.x or older, received 4.1.0"),
        (
            vec![("model_config", &config.replace("Dense", "Spread")), ("keras_version", "3.20.0")],
            "layer `d` (Spread): this class of layer is not known\nhint: Keras 3.20.0 wrote this file",
        ),
    ] {
        let expected = expected.replace("config.json", "model_config");
        let error = load_with_attributes(&attributes).unwrap_err();
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn extras_of_a_whole_model_are_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap();
    let extras = [("engraft.json".to_owned(), b"[1]".to_vec())];
    legacy::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap();
    assert_eq!(keras::read_extra(&path, "engraft.json").unwrap().unwrap(), b"[1]");
    assert_eq!(keras::read_extra(&path, "other.json").unwrap(), None);
    for (name, bytes) in [("model_config", &b"{}"[..]), ("picture", &[0xff])] {
        let extras = [(name.to_owned(), bytes.to_vec())];
        let options = SaveOptions { extras: &extras, ..SaveOptions::default() };
        let error = legacy::save(&model, &path, &options).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(keras::load(&path).is_ok(), "the old file is unchanged");
}

#[test]
fn layers_of_one_name_in_nested_models_keep_their_own_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    let inner = || Sequential::new().add(Input::new([4])).add(Dense::new(4).named("same"));
    let middle = Sequential::new().add(inner().build().unwrap()).add(inner().build().unwrap()).build().unwrap();
    let model = Sequential::new().add(&middle).build().unwrap();
    legacy::save(&model, &path, &SaveOptions::default()).unwrap();
    assert_eq!(values(&keras::load_model(&path).unwrap()), values(&model));
    let file = H5File::open(&path).unwrap();
    let names = file.attr_strings(&format!("model_weights/{}", middle.name()), "weight_names").unwrap().unwrap();
    assert_eq!(names, ["same/kernel", "same/bias", "same/kernel_1", "same/bias_1"]);
}
