//! A model in two files: the layers as JSON (`model.to_json()` in Keras), and the weights alone (`model.save_weights(..)`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::Value;

use super::config_reader::ConfigReader;
use super::open_input::OpenInputs;
use super::{Archive, LoadOptions, MAX_CONFIG, legacy, load_weights, version};
use crate::error::within_file;
use crate::json::parse;

/// Reads a model from the JSON of its layers and a file of its weights: `.weights.h5`, `.h5` or `.keras`.
///
/// Keras writes the JSON with `model.to_json()`. Weights are matched by order, as Keras' `load_weights` does.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::keras::{self, LoadOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let (json, weights) = (folder.path().join("m.json"), folder.path().join("m.weights.h5"));
/// std::fs::write(&json, r#"{"class_name": "Sequential", "config": {"name": "m", "layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 4]}},
///     {"class_name": "Dense", "config": {"name": "top", "units": 2}}]}}"#)?;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// keras::save_weights(&model, &weights, FloatType::F32)?;
/// let again = keras::load_architecture(&json, &weights, &LoadOptions::new())?.model;
/// assert_eq!(*again.weights()[0].values(), *model.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load`](super::load); the JSON is larger than 8 MiB or describes no model; the weights are those of other layers.
pub fn load_architecture(architecture: &Path, weights: &Path, options: &LoadOptions) -> Result<Archive> {
    let read = || {
        let mut config: Value = parse("layers", &json(architecture)?)?;
        // `json.dump(model.to_json(), file)` writes the JSON as a string of JSON.
        if let Value::String(json) = &config {
            config = parse("layers", json.as_bytes())?;
        }
        let keras_version = config.get("keras_version").and_then(Value::as_str).map(str::to_owned);
        version::check(keras_version.as_deref())?;
        let open_inputs = OpenInputs::new(&config, options.image_size, &Value::Null);
        let model = ConfigReader::new(keras_version.as_deref(), options).open_inputs(open_inputs).model(&config);
        let (model, warnings) = model.map_err(|error| version::hint(error, keras_version.as_deref()))?;
        Ok(Archive { model, warnings, keras_version })
    };
    let archive = read().map_err(|error| within_file(architecture, error))?;
    match legacy::layers(weights) {
        Ok(_) => legacy::load_weights(weights, &archive.model.layers())?,
        // Any other file of weights. Its errors name what is wrong with it.
        Err(_) => load_weights(weights, &archive.model)?,
    }
    Ok(archive)
}

/// The JSON of an architecture. A whole model, or another JSON that Keras has of it, is named with what to give instead.
fn json(path: &Path) -> Result<Vec<u8>> {
    const WRITE: &str = "write it in Keras: open(\"model.json\", \"w\").write(model.to_json())";
    let refuse = |received: &str, hint: String| {
        Error::new("layers", "the JSON of model.to_json()", received).with_kind(ErrorKind::InvalidData).hint(hint)
    };
    let bytes = text(path)?;
    if bytes.starts_with(b"PK") || bytes.starts_with(b"\x89HDF") {
        let hint = format!("a file with layers and weights is opened alone, as the model; else {WRITE}");
        return Err(refuse("a .keras or .h5 file", hint));
    }
    let is_config = |value: &Value| value.get("layers").is_some() && value.get("class_name").is_none();
    match parse::<Value>("layers", &bytes) {
        Ok(value) if is_config(&value) => Err(refuse("the dictionary of model.get_config()", WRITE.to_owned())),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.hint(WRITE)),
    }
}

fn text(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::from_io("file", error))?;
    match bytes.len() as u64 > MAX_CONFIG {
        true => Err(Error::new("file", format_args!("at most {MAX_CONFIG} bytes"), "more")
            .with_kind(ErrorKind::InvalidData)
            .hint("this file describes the layers alone, as Keras' `model.to_json()` writes them")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::FloatType;
    use crate::keras;

    const JSON: &str = r#"{"class_name": "Sequential", "keras_version": "2.15.0", "backend": "tensorflow", "config": {"name": "m",
        "layers": [{"class_name": "Dense", "config": {"name": "top", "units": 2, "batch_input_shape": [null, 4]}}]}}"#;

    #[test]
    fn every_file_of_weights_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build().unwrap();
        std::fs::write(path("m.json"), JSON).unwrap();
        keras::save_weights(&model, &path("m.weights.h5"), FloatType::F32).unwrap();
        keras::save_model(&model, &path("m.keras")).unwrap();
        legacy::save_weights(&path("m.h5"), &model.layers()).unwrap();
        for weights in ["m.weights.h5", "m.keras", "m.h5"] {
            let archive = load_architecture(&path("m.json"), &path(weights), &LoadOptions::new()).unwrap();
            assert_eq!(*archive.model.weights()[0].values(), *model.weights()[0].values(), "{weights}");
            assert_eq!(archive.keras_version.as_deref(), Some("2.15.0"));
        }
    }

    #[test]
    fn json_in_a_string_of_json_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build().unwrap();
        keras::save_model(&model, &path("m.keras")).unwrap();
        let string = serde_json::to_string(JSON).unwrap();
        let load = |json: &str| {
            std::fs::write(path("m.json"), json).unwrap();
            load_architecture(&path("m.json"), &path("m.keras"), &LoadOptions::new())
        };
        assert_eq!(load(&string).unwrap().model.count_params(), 10);
        let error = load(&serde_json::to_string(&string).unwrap()).unwrap_err().to_string();
        assert!(error.contains("an object with a class_name"), "{error}");
    }

    #[test]
    fn hostile_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build().unwrap();
        legacy::save_weights(&path("m.h5"), &model.layers()).unwrap();
        let dense = |name: &str, units: &str| {
            format!(
                r#"{{"class_name": "Dense", "config": {{"name": "{name}", "units": {units}, "batch_input_shape": [null, 4]}}}}"#
            )
        };
        let layers = |layers: &str| {
            format!(r#"{{"class_name": "Sequential", "config": {{"name": "m", "layers": [{layers}]}}}}"#).into_bytes()
        };
        let nested = |depth: usize| {
            let open = r#"{"class_name": "Sequential", "config": {"name": "m", "layers": ["#;
            [open.repeat(depth), "]}}".repeat(depth)].concat().into_bytes()
        };
        let mut wrong = Vec::new();
        let many = |count: usize| (0..count).map(|n| dense(&format!("d{n}"), "4")).collect::<Vec<_>>().join(",");
        for (json, expected) in [
            (Vec::new(), "EOF"),
            (JSON.as_bytes()[..JSON.len() - 9].to_vec(), "EOF"),
            (vec![0xff, 0xfe, 0x7b], "expected value"),
            (vec![b' '; MAX_CONFIG as usize + 1], "expected at most 8388608 bytes, received more\nhint: "),
            (b"7".to_vec(), "an object with a class_name"),
            ("[".repeat(100_000).into_bytes(), "recursion limit exceeded"),
            (nested(20), "m.json"),
            (layers("7"), "an object with a class_name"),
            (layers(&dense("top", "\"2\"")), "layer `top` (Dense)"),
            (layers(&dense("top", "-2")), "layer `top` (Dense)"),
            (layers(&dense("top", "1000000000000")), "option `units`, number: expected at most 16777216"),
            (layers(&[dense("top", "4"), dense("top", "2")].join(",")), "`top`"),
            (layers(&many(10_001)), "expected at most"),
            (layers(&many(3)), "m.h5"),
        ] {
            std::fs::write(path("m.json"), &json).unwrap();
            let error = load_architecture(&path("m.json"), &path("m.h5"), &LoadOptions::new()).unwrap_err().to_string();
            let is_named = error.contains("m.json") || error.contains("m.h5");
            if !error.contains(expected) || !is_named || error.len() > 20_000 {
                wrong.push(format!("expected {expected:?} in: {error}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let load = || load_architecture(&path("m.json"), &path("m.h5"), &LoadOptions::new()).unwrap_err().to_string();
        assert!(load().contains("m.json"), "{}", load());
        std::fs::write(path("m.json"), "[1]").unwrap();
        assert!(load().contains("m.json") && load().contains("an object with a class_name"), "{}", load());
        std::fs::write(path("m.json"), JSON).unwrap();
        let other = Sequential::new().add(Input::new([3])).add(Dense::new(2)).build().unwrap();
        legacy::save_weights(&path("m.h5"), &other.layers()).unwrap();
        assert!(load().contains("m.h5") && load().contains("weights of shapes [[4, 2], [2]]"), "{}", load());
    }
}
