//! Inspects files of every format.

use std::path::{Path, PathBuf};

use engraft_formats::inspect::{Contents, inspect};
use engraft_formats::keras::{self, legacy};
use engraft_formats::{npy, safetensors};
use engraft_nn::prelude::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(name)
}

fn layers(contents: &Contents) -> Vec<(&str, &str, Option<usize>)> {
    contents.layers.iter().map(|layer| (layer.name.as_str(), layer.class.as_str(), layer.parameters)).collect()
}

#[test]
fn whole_models_of_keras() {
    let contents = inspect(&golden("trained.keras")).unwrap();
    assert_eq!(contents.format, "Keras model (.keras)");
    assert_eq!(contents.written_by.as_deref(), Some("Keras 3.15.1"));
    assert_eq!(contents.optimizer.as_deref(), Some("Adam after 1 step"));
    let parameters = keras::load_model(&golden("trained.keras")).unwrap().count_params();
    assert_eq!(contents.parameters(), parameters, "an optimizer's numbers don't count");
    let nested = inspect(&golden("functional_in_sequential.h5")).unwrap();
    assert_eq!((nested.format.as_str(), &nested.problems[..]), ("Keras model (.h5)", &[][..]));
    assert!(nested.layers.iter().any(|layer| layer.name.contains('/')), "{:?}", layers(&nested));
}

#[test]
fn weights_and_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build().unwrap();
    let metadata = [("licence".to_owned(), "MIT".to_owned())].into();
    let options = safetensors::SaveOptions { metadata, ..Default::default() };
    safetensors::save_weights(&path("a.safetensors"), &model.layers(), &options).unwrap();
    legacy::save_weights(&path("a.h5"), &model.layers()).unwrap();
    keras::save_weights(&model, &path("a.weights.h5"), Default::default()).unwrap();
    let x = Tensor::zeros([4, 2]);
    npy::save(&path("a.npy"), &x).unwrap();
    npy::save_npz(&path("a.npz"), &[("x", &x)]).unwrap();
    for (file, format, name, kind) in [
        ("a.safetensors", "safetensors", "top/kernel", "F32"),
        ("a.h5", "weights by layer names (.h5)", "top/top/kernel", "F32"),
        ("a.weights.h5", "weights of Keras 3 (.weights.h5)", "layers/dense/vars/0", "F32"),
        ("a.npy", "NumPy array (.npy)", "", "F32"),
        ("a.npz", "NumPy arrays (.npz)", "x", "F32"),
    ] {
        let contents = inspect(&path(file)).unwrap();
        assert_eq!(contents.format, format);
        let array = contents.arrays.iter().find(|array| array.name == name).unwrap();
        assert_eq!((&array.shape[..], array.kind.as_str()), (&[4, 2][..], kind), "{file}");
    }
    assert_eq!(inspect(&path("a.safetensors")).unwrap().texts["licence"], "MIT");
    assert_eq!(inspect(&path("a.h5")).unwrap().written_by.as_deref(), Some("Keras 3.15.1"));
}

#[test]
fn a_model_that_cannot_be_used_is_shown_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let config = r#"{"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Sequential", "config": {"name": "inner", "layers": [
            {"class_name": "Lambda", "config": {"name": "f"}}]}}]}}"#;
    let mut writer = engraft_formats::h5::H5Writer::new();
    writer.attr_string("", "model_config", config).unwrap();
    writer.write_to(std::fs::File::create(&path).unwrap()).unwrap();
    let contents = inspect(&path).unwrap();
    assert_eq!(layers(&contents), [("inner", "Sequential", None), ("inner/f", "Lambda", None)]);
    assert!(contents.problems[0].contains("layer `f` (Lambda)"), "{:?}", contents.problems);
}

#[test]
fn onnx_files_and_others() {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let contents = inspect(&data("small.onnx")).unwrap();
    assert_eq!(contents.format, "ONNX model (.onnx)");
    assert_eq!((contents.parameters(), contents.opset), (6 + 3, Some(28)));
    let kinds: Vec<(&str, &str)> = contents.arrays.iter().map(|array| (&*array.name, &*array.kind)).collect();
    assert_eq!(kinds, [("kernel", "FLOAT"), ("bias", "FLOAT")], "no integers, which are sizes");
    let external = inspect(&data("../../../../tests/hostile/data/external.onnx")).unwrap();
    assert!(external.problems[0].contains("`kernel`: its values are in another file"), "{:?}", external.problems);
    let error = inspect(&data("generate.py")).unwrap_err().to_string();
    assert!(error.contains("generate.py: expected a .keras, .h5, "), "{error}");
    let error = inspect(&data("../../../../tests/hostile/data/cycle.h5")).unwrap_err().to_string();
    assert!(error.contains("cycle.h5"), "{error}");
    assert!(inspect(Path::new("absent.h5")).unwrap_err().to_string().starts_with("absent.h5, "));
}
