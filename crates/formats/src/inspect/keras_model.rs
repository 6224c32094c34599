//! Inspection of Keras models: the layers of the loaded model, or those in its config if it can't be loaded.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::Path;

use engraft_nn::{Layer, Model, OpenShapes, Result};
use serde_json::Value;

use super::{Contents, LayerInfo, after, arrays};
use crate::archive::Zip;
use crate::h5::H5File;
use crate::json::parse;
use crate::keras::{self, MAX_CONFIG, MAX_EXTRA, unzipped};

/// Limit on the depth of nested models in a config. Deeper layers are left out.
const MAX_NESTING: usize = 32;

/// Inspects a `.keras` file.
pub(super) fn of_archive(path: &Path, mut zip: Zip<impl Read + Seek + Send + 'static>) -> Result<Contents> {
    let config = zip.require("config.json", MAX_CONFIG)?;
    let metadata = zip.read("metadata.json", MAX_EXTRA)?.unwrap_or_default();
    // The HDF5 file is dropped before the model is loaded: a deflated one is held in memory.
    let arrays = arrays(&zip.into_h5("model.weights.h5", None)?)?;
    let contents = Contents { format: "Keras model (.keras)".into(), arrays, ..written_by(&metadata) };
    Ok(with_model(path, &config, contents))
}

/// Inspects a folder with the content of a `.keras` file.
pub(super) fn of_folder(path: &Path) -> Result<Contents> {
    let metadata = unzipped::metadata(path)?.unwrap_or_default();
    let arrays = arrays(&unzipped::weights(path)?)?;
    let contents = Contents { format: "Keras model (.keras in a folder)".into(), arrays, ..written_by(&metadata) };
    Ok(with_model(path, &unzipped::config(path)?, contents))
}

/// The program that wrote a `.keras` file, from its `metadata.json`.
fn written_by(metadata: &[u8]) -> Contents {
    let metadata: Value = parse("metadata.json", metadata).unwrap_or_default();
    let word = |name: &str| metadata.get(name).and_then(Value::as_str);
    let written_by = match (word("engraft_version"), word("keras_version")) {
        (Some(engraft), Some(keras)) => Some(format!("engraft {engraft}, as Keras {keras}")),
        (_, keras) => keras.map(|version| format!("Keras {version}")),
    };
    Contents { written_by, ..Contents::default() }
}

/// Inspects a model in an `.h5`; `config` is the text of its attribute `model_config`.
pub(super) fn of_hdf5(path: &Path, file: &H5File, config: &str) -> Result<Contents> {
    let version = file.attr_string("", "keras_version").ok().flatten();
    let contents = Contents {
        format: "Keras model (.h5)".into(),
        written_by: version.map(|version| format!("Keras {version}")),
        arrays: arrays(file)?,
        ..Contents::default()
    };
    Ok(with_model(path, config.as_bytes(), contents))
}

/// Loads the model and adds its layers, its optimizer and the problems of loading to `contents`.
///
/// If the model can't be loaded, the layers are those in `config`.
fn with_model(path: &Path, config: &[u8], mut contents: Contents) -> Contents {
    match keras::load(path) {
        Ok(archive) => {
            let shapes = OpenShapes::of(&archive.model);
            archive.model.layers().iter().for_each(|layer| of_layer(layer, "", &shapes, &mut contents.layers));
            contents.optimizer = optimizer(&archive.model);
            contents.texts.extend(dtype_policies(&archive.model));
            contents.problems = archive.warnings;
        }
        Err(error) => {
            contents.problems.push(format!("the model can't be loaded: {error}"));
            let config = parse("config", config).unwrap_or_default();
            of_config(&config, "", 0, &mut contents.layers);
        }
    }
    contents
}

/// The dtype policies of the layers other than float32, as a text of the file; `None` if there are none.
fn dtype_policies(model: &Model) -> Option<(String, String)> {
    let policies = model.leaves().into_iter().filter_map(|layer| layer.dtype_policy());
    let names: BTreeSet<String> = policies.map(|policy| policy.name()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let text = || format!("{} in Keras; computed in float32 here", names.join(", "));
    (!names.is_empty()).then(|| ("dtype_policy".to_owned(), text()))
}

fn optimizer(model: &Model) -> Option<String> {
    let compiled = model.compiled();
    let compiled = compiled.as_ref()?;
    let name = compiled.optimizer.as_ref()?.to_keras()["class_name"].as_str()?.to_owned();
    Some(match compiled.state.iterations() {
        0 => name,
        steps => format!("{name} {}", after(steps)),
    })
}

/// Adds a layer and all layers nested in it to `to`. `within` is the prefix of their names.
fn of_layer(layer: &Layer, within: &str, shapes: &OpenShapes, to: &mut Vec<LayerInfo>) {
    let name = format!("{within}{}", layer.name());
    let inside = format!("{name}/");
    to.push(LayerInfo {
        name,
        class: layer.class_name().to_owned(),
        output_shape: shapes.of_layer(layer),
        parameters: Some(layer.count_params()),
    });
    layer.layers().iter().for_each(|inner| of_layer(inner, &inside, shapes, to));
}

/// Adds the layers in a model's config to `to`, whether their classes are known or not. `within` is the prefix of their names.
fn of_config(object: &Value, within: &str, depth: usize, to: &mut Vec<LayerInfo>) {
    let layers = object.pointer("/config/layers").and_then(Value::as_array);
    for layer in layers.into_iter().flatten().filter(|_| depth < MAX_NESTING) {
        let word = |place: &str| layer.pointer(place).and_then(Value::as_str).unwrap_or("?").to_owned();
        let name = format!("{within}{}", word("/config/name"));
        let inside = format!("{name}/");
        to.push(LayerInfo { name, class: word("/class_name"), output_shape: None, parameters: None });
        of_config(layer, &inside, depth + 1, to);
    }
}
