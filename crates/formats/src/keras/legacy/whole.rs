//! Whole models in one `.h5`: layers as JSON in an attribute, weights as Keras 2 lists them.

use std::path::Path;

use engraft_nn::{Error, Model, Result};
use serde_json::{Map, Value, json};

use super::{KERAS_VERSION, Listed, Weights, in_h5, write_file};
use crate::h5::{H5File, H5Writer};
use crate::keras::config::Reader;
use crate::keras::{Archive, SaveOptions, optimizer, parse, recompile, serialize, version, within};

const CONFIG: &str = "model_config";
const TRAINING: &str = "training_config";
const WEIGHTS: &str = "model_weights";

/// The model in a file.
pub(in crate::keras) fn read(file: &H5File) -> Result<Archive> {
    let keras_version = file.attr_string("", "keras_version").map_err(in_h5)?;
    version::check(keras_version.as_deref())?;
    let Some(config) = file.attr_string("", CONFIG).map_err(in_h5)? else {
        return Err(Error::new("root", format_args!("an attribute `{CONFIG}`"), "none")
            .hint("this .h5 holds weights alone: load them into a model of the same layers"));
    };
    let model = Reader::default().model(&parse(CONFIG, config.as_bytes())?);
    let (model, mut warnings) = model.map_err(|error| version::hint(error, keras_version.as_deref()))?;
    Listed::of(file)?.set_by_order(&model.layers())?;
    if let Some(training) = file.attr_string("", TRAINING).map_err(in_h5)? {
        let compiled = compile_config(parse(TRAINING, training.as_bytes())?);
        warnings.extend(recompile(&model, &compiled, || optimizer::Saved::of_legacy(file)));
    }
    Ok(Archive { model, warnings, keras_version })
}

/// `training_config` under the names of `compile_config`.
fn compile_config(training: Value) -> Map<String, Value> {
    let Value::Object(mut config) = training else { return Map::new() };
    if let Some(optimizer) = config.remove("optimizer_config") {
        config.insert("optimizer".into(), optimizer);
    }
    config
}

/// The other way around.
fn training_config(mut compiled: Map<String, Value>) -> Value {
    let optimizer = compiled.remove("optimizer").unwrap_or_default();
    // An object with a module is read as Keras 3 reads it, and there it isn't expected.
    compiled.insert(
        "optimizer_config".into(),
        json!({"class_name": optimizer["class_name"], "config": optimizer["config"]}),
    );
    Value::Object(compiled)
}

/// Writes a model to an `.h5` of the older layout, which Keras 3 opens as well: layers, weights, what
/// `compile` set. Extras become attributes of the root.
///
/// # Errors
/// The file can't be written, or a weight not so; an extra isn't text or is called as an attribute of Keras' own.
pub fn save(model: &Model, path: &Path, options: &SaveOptions<'_>) -> Result<()> {
    options.precision.check(&model.weights()).map_err(|error| within(path, error))?;
    let attributes = attributes(model, options).map_err(|error| within(path, error))?;
    let layers = model.layers();
    let weights = Weights::of(&layers);
    let values = weights.values();
    let trained = model.trainable_weights();
    let compiled = model.compiled();
    let mut writer = H5Writer::new();
    let mut lay_down = || {
        attributes.iter().try_for_each(|(name, text)| writer.attr_string("", name, text))?;
        weights.write(WEIGHTS, &values, options.precision, &mut writer)?;
        match compiled.as_ref() {
            Some(compiled) => optimizer::write_legacy(compiled, &trained, options.optimizer_state, &mut writer),
            None => Ok(()),
        }
    };
    lay_down().map_err(|error| within(path, in_h5(error)))?;
    write_file(path, &writer)
}

/// Names and texts of the root's attributes.
fn attributes(model: &Model, options: &SaveOptions<'_>) -> Result<Vec<(String, String)>> {
    let config = serialize::model(model);
    let layers = json!({"class_name": config["class_name"], "config": config["config"]});
    let mut attributes = vec![
        ("backend".to_owned(), "tensorflow".to_owned()),
        ("keras_version".to_owned(), KERAS_VERSION.to_owned()),
        (CONFIG.to_owned(), layers.to_string()),
    ];
    if let Value::Object(compiled) = &config["compile_config"]
        && !compiled.is_empty()
    {
        attributes.push((TRAINING.to_owned(), training_config(compiled.clone()).to_string()));
    }
    for (name, bytes) in options.extras {
        let text = String::from_utf8(bytes.clone()).map_err(|error| Error::because(name, error))?;
        attributes.push((name.clone(), text));
    }
    Ok(attributes)
}
