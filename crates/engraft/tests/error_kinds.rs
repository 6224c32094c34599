//! Every kind of error but `Internal` can be produced through the public API, and keeps its source.
//!
//! `Internal` means a bug in engraft, so no correct call produces it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::error::Error as _;
use std::io;
use std::path::Path;

use engraft::data::{PhotoFolder, decode_bytes};
use engraft::formats::atomic::AtomicError;
use engraft::formats::h5::{H5Error, H5Writer};
use engraft::formats::onnx::OnnxError;
use engraft::formats::safetensors::SafetensorsFile;
use engraft::formats::{FloatType, keras, npy};
#[cfg(feature = "download")]
use engraft::hub::{Hub, HubError};
use engraft::interpreter::OnnxModel;
use engraft::plan::{Plan, PlanOptions};
use engraft::prelude::*;
use engraft::{Error, ErrorKind, Result};
use serde_json::json;

/// The kind of the error in `result`.
#[track_caller]
fn kind<T>(result: Result<T>) -> ErrorKind {
    error(result).kind()
}

#[track_caller]
fn error<T>(result: Result<T>) -> Error {
    result.err().expect("expected an error")
}

/// Checks the kind, and that the source is an `S`.
#[track_caller]
fn assert_caused_by<S: std::error::Error + 'static>(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.source().is_some_and(|source| source.is::<S>()), "{error}: {:?}", error.source());
}

/// A compiled classifier of points in the plane.
fn model(learning_rate: f64) -> Model {
    let layers = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax).named("top"));
    let model = layers.build().unwrap();
    model.compile(Sgd::new(learning_rate), Loss::categorical_crossentropy(), []).unwrap();
    model
}

fn points(x: Vec<f32>) -> Arrays {
    Arrays::new(Tensor::new([2, 2], x).unwrap(), Tensor::new([2, 2], vec![1.0, 0.0, 0.0, 1.0]).unwrap()).unwrap()
}

/// A whole-model `.h5` of an input and one layer of this class.
fn model_of(class: &str) -> Vec<u8> {
    let input = json!({"class_name": "InputLayer", "config": {"name": "input", "batch_shape": [null, 2]}});
    let layer = json!({"class_name": class, "config": {"name": "layer", "units": 2}});
    let config = json!({"class_name": "Sequential", "config": {"name": "model", "layers": [input, layer]}});
    let mut writer = H5Writer::new();
    writer.attr_string("", "model_config", &config.to_string()).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_does_not_fit_is_an_invalid_argument() {
    let fitted = model(0.1);
    let images = Tensor::new([1, 3], vec![0.0; 3]).unwrap();
    assert_eq!(kind(Tensor::new([2, 2], vec![1.0])), ErrorKind::InvalidArgument);
    assert_eq!(kind(fitted.predict(&images, 1)), ErrorKind::InvalidArgument);
    assert_eq!(kind(Plan::predict(&fitted, 0, &PlanOptions::default())), ErrorKind::InvalidArgument);
    assert_eq!(kind(Dense::new(0).call(&Input::new([4]))), ErrorKind::InvalidArgument);
    assert_eq!(kind(engraft::Optimizer::from_name("adm")), ErrorKind::InvalidArgument);
}

#[test]
fn a_call_too_early_is_an_invalid_state() {
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(2)).build().unwrap();
    assert_eq!(kind(model.fit(&points(vec![0.0; 4]), Fit::new())), ErrorKind::InvalidState);
    model.set_trainable(false);
    model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
    assert_eq!(kind(model.fit(&points(vec![0.0; 4]), Fit::new())), ErrorKind::InvalidState);
}

#[test]
fn what_is_not_there_is_not_found() {
    assert_eq!(kind(model(0.1).get_layer("head")), ErrorKind::NotFound);
    let missing = Path::new("no/such/file");
    assert_caused_by::<io::Error>(&error(keras::load(missing)), ErrorKind::NotFound);
    assert_caused_by::<io::Error>(&error(keras::load_weights(missing, &model(0.1))), ErrorKind::NotFound);
    assert_caused_by::<io::Error>(&error(npy::load(missing)), ErrorKind::NotFound);
    assert_caused_by::<io::Error>(&error(engraft::data::decode(missing)), ErrorKind::NotFound);
    assert_caused_by::<io::Error>(&error(PhotoFolder::scan(missing, &mut |_, _| {})), ErrorKind::NotFound);
    assert_caused_by::<OnnxError>(&error(OnnxModel::load(missing)), ErrorKind::NotFound);
    assert_caused_by::<H5Error>(&error(keras::legacy::layers(missing)), ErrorKind::NotFound);
    assert_eq!(kind(vgg16().include_top(false).weights("no/such.h5").build()), ErrorKind::NotFound);
    let written = keras::save(&model(0.1), &missing.join("model.keras"), &keras::SaveOptions::default());
    assert_caused_by::<AtomicError>(&error(written), ErrorKind::NotFound);
}

#[test]
fn a_damaged_file_is_invalid_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    keras::save(&model(0.1), &path, &keras::SaveOptions::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();

    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let truncated = error(keras::load(&path));
    assert_eq!(truncated.kind(), ErrorKind::InvalidData, "{truncated}");
    assert!(truncated.source().is_some(), "the error has no source");

    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0xff;
    std::fs::write(&path, &flipped).unwrap();
    let flipped = error(keras::load(&path));
    assert_eq!(flipped.kind(), ErrorKind::InvalidData, "{flipped}");

    assert_eq!(kind(npy::read(b"no array")), ErrorKind::InvalidData);
    assert_eq!(kind(decode_bytes(b"no photo", "cat.jpg")), ErrorKind::InvalidData);
    assert_caused_by::<OnnxError>(&error(OnnxModel::from_bytes(b"no graph")), ErrorKind::InvalidData);
    let no_json = io::Cursor::new(b"\x02\0\0\0\0\0\0\0{]".to_vec());
    assert_caused_by::<serde_json::Error>(&error(SafetensorsFile::new(no_json)), ErrorKind::InvalidData);
}

#[test]
fn a_folder_without_classes_is_invalid_data() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(kind(PhotoFolder::scan(folder.path(), &mut |_, _| {})), ErrorKind::InvalidData);
}

#[test]
fn weights_of_another_shape_are_invalid_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.weights.h5");
    keras::save_weights(&model(0.1), &path, FloatType::F32).unwrap();
    let wider = Sequential::new().add(Input::new([3])).add(Dense::new(2)).build().unwrap();
    assert_eq!(kind(keras::load_weights(&path, &wider)), ErrorKind::InvalidData);
    // A whole-model file without weights.
    assert_eq!(kind(keras::read(io::Cursor::new(model_of("Dense")))), ErrorKind::InvalidData);
}

#[test]
fn what_this_program_cannot_is_unsupported() {
    for class in ["Lambda", "LSTM"] {
        assert_eq!(kind(keras::read(io::Cursor::new(model_of(class)))), ErrorKind::Unsupported, "{class}");
    }
    assert_eq!(kind(decode_bytes(b"\0\0\0\x18ftypheic\0\0\0\0", "cat.heic")), ErrorKind::Unsupported);
    assert_eq!(kind(npy::read(b"\x80\x04K\x01.")), ErrorKind::Unsupported);
    let config = json!({"name": "x", "units": 2, "quantized": true});
    let unknown = engraft::layers::from_config("Dense", config.as_object().unwrap().clone());
    assert_caused_by::<serde_json::Error>(&error(unknown), ErrorKind::Unsupported);
    assert_eq!(kind(engraft::Loss::from_keras(&"poisson".into())), ErrorKind::Unsupported);
}

#[test]
fn a_limit_too_small_is_out_of_memory() {
    let fit = |bytes| {
        let runtime = Runtime::shared().unwrap().memory_limit(Some(bytes));
        model(0.1).fit(&points(vec![1.0; 4]), Fit::new().epochs(1).runtime(&runtime))
    };
    assert!(fit(1 << 30).is_ok());
    assert_eq!(kind(fit(1)), ErrorKind::OutOfMemory);
    assert_eq!(kind(Plan::predict(&model(0.1), usize::MAX / 4, &PlanOptions::default())), ErrorKind::OutOfMemory);
}

#[test]
fn a_loss_that_is_no_number_is_non_finite() {
    let result = model(0.1).fit(&points(vec![f32::NAN; 4]), Fit::new().epochs(1));
    let error = error(result);
    assert_eq!(error.kind(), ErrorKind::NonFinite, "{error}");
    assert!(error.to_string().starts_with("epoch 1 of 1, "), "{error}");
}

/// A symbolic link to itself, which no user can open, not even root.
#[cfg(unix)]
#[test]
fn what_the_system_refuses_is_io() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("circle.keras");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert_caused_by::<io::Error>(&error(keras::load(&path)), ErrorKind::Io);
    assert_caused_by::<io::Error>(&error(npy::load(&path)), ErrorKind::Io);
    assert_caused_by::<io::Error>(&error(engraft::data::decode(&path)), ErrorKind::Io);
}

#[cfg(feature = "download")]
#[test]
fn a_server_out_of_reach_is_network() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path().join("cache"), folder.path().join("keras"));
    hub.mirror = Some("http://127.0.0.1:9".into());
    let error = error(vgg16().include_top(false).hub(hub).build());
    assert_caused_by::<HubError>(&error, ErrorKind::Network);
    let client = error.source().and_then(std::error::Error::source);
    assert!(client.is_some(), "the error of the HTTP client is missing: {error}");
}

#[test]
fn errors_travel_between_threads_and_as_trait_objects() {
    let error = error(model(0.1).get_layer("head"));
    let sent = std::thread::spawn({
        let error = error.clone();
        move || Box::<dyn std::error::Error + Send + Sync>::from(error)
    });
    let boxed = sent.join().unwrap();
    let received = boxed.downcast_ref::<Error>().unwrap();
    assert_eq!((received, received.kind()), (&error, ErrorKind::NotFound));
}
