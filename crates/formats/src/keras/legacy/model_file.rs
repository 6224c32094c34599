//! Models in an `.h5`: config in JSON attributes, weights in the group `model_weights`, optimizer state.

use std::path::Path;

use engraft_nn::{Error, Model, Optimizer, Result, RmsProp};
use serde_json::{Map, Value, json};

use super::{KERAS_VERSION, LayerWeights, OrderedWeights, in_h5, write_file};
use crate::h5::{H5File, H5Writer};
use crate::json::parse;
use crate::keras::config_reader::ConfigReader;
use crate::keras::open_input::{self, OpenInputs};
use crate::keras::optimizer_state::{self, SavedOptimizer};
use crate::keras::{Archive, LoadOptions, SaveOptions, base_record, config_writer, keras2, recompile, version};

const CONFIG: &str = "model_config";
const TRAINING: &str = "training_config";
const WEIGHTS: &str = "model_weights";

/// Reads the model in an `.h5`: layers, weights, the record of the base, the settings of `compile` and the optimizer state.
pub(in crate::keras) fn read(file: &H5File, options: &LoadOptions) -> Result<Archive> {
    let keras_version = file.attr_string("", "keras_version").map_err(in_h5)?;
    version::check(keras_version.as_deref())?;
    let Some(config) = file.attr_string("", CONFIG).map_err(in_h5)? else {
        return Err(Error::new("root", format_args!("an attribute `{CONFIG}`"), "none")
            .hint("this .h5 holds weights only: give the layers too, as JSON that Keras writes with model.to_json() (--architecture FILE.json, keras::load_architecture), or load them into a model of the same layers"));
    };
    let config = parse(CONFIG, config.as_bytes())?;
    let size = file.attr_string("", open_input::KEY).map_err(in_h5)?;
    let size = size.map_or(Ok(Value::Null), |size| parse(open_input::KEY, size.as_bytes()))?;
    let open_inputs = OpenInputs::new(&config, options.image_size, &size);
    let model = ConfigReader::new(keras_version.as_deref(), options).open_inputs(open_inputs).model(&config);
    let (model, mut warnings) = model.map_err(|error| version::hint(error, keras_version.as_deref()))?;
    LayerWeights::of(file)?.set_by_order(&model.layers())?;
    if let Some(record) = file.attr_string("", base_record::KEY).map_err(in_h5)? {
        base_record::restore(&model, &parse(base_record::KEY, record.as_bytes())?)?;
    }
    if let Some(training) = file.attr_string("", TRAINING).map_err(in_h5)? {
        let compiled = compile_config(parse(TRAINING, training.as_bytes())?);
        warnings.extend(recompile(&model, &compiled, || SavedOptimizer::in_legacy_h5(file)));
    }
    Ok(Archive { model, warnings, keras_version })
}

/// Converts a `training_config` of an `.h5` to the `compile_config` of a `.keras` file.
fn compile_config(training: Value) -> Map<String, Value> {
    let Value::Object(mut config) = training else { return Map::new() };
    if let Some(optimizer) = config.remove("optimizer_config") {
        config.insert("optimizer".into(), optimizer);
    }
    keras2::compile_config(&mut config);
    for (part, module) in
        [("loss", "keras.losses"), ("metrics", "keras.metrics"), ("weighted_metrics", "keras.metrics")]
    {
        if let Some(value) = config.get_mut(part) {
            add_module(value, module);
        }
    }
    config
}

/// Adds the module of Keras to serialized objects without one, which Keras finds in an `.h5` alone.
fn add_module(value: &mut Value, module: &str) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| add_module(value, module)),
        Value::Object(object) if !object.contains_key("class_name") => {
            object.values_mut().for_each(|value| add_module(value, module));
        }
        Value::Object(object) if !object.contains_key("module") && object["class_name"] != "function" => {
            // No `registered_name`: Keras looks a custom class up by its class name then.
            object.insert("module".into(), module.into());
        }
        _ => {}
    }
}

/// Converts a `compile_config` of a `.keras` file to the `training_config` of an `.h5`.
fn training_config(mut compiled: Map<String, Value>) -> Value {
    let optimizer = compiled.remove("optimizer").filter(|optimizer| !optimizer.is_null());
    // An `.h5` must have an optimizer: the default of `compile`.
    let optimizer = optimizer.unwrap_or_else(|| Optimizer::from(RmsProp::default()).to_keras());
    // `module` is left out: with it, Keras 3 would take the object for one of its own format and fail.
    compiled.insert(
        "optimizer_config".into(),
        json!({"class_name": optimizer["class_name"], "config": optimizer["config"]}),
    );
    Value::Object(compiled)
}

/// Writes a model to an `.h5` for Keras 2 and 3: layers, weights, and the settings of `compile`.
///
/// Extra entries become attributes of the root.
///
/// ```
/// use engraft_formats::keras::{self, SaveOptions, legacy};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let extras = [("licence".to_owned(), b"MIT".to_vec())];
/// legacy::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() })?;
/// assert_eq!(keras::load_model(&path)?.count_params(), 10);
/// assert_eq!(keras::read_extra(&path, "licence")?.as_deref(), Some(&b"MIT"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written; a weight doesn't fit the float type; an extra entry isn't UTF-8 text or has the
/// name of one of Keras' attributes.
pub fn save(model: &Model, path: &Path, options: &SaveOptions<'_>) -> Result<()> {
    let within = |error: Error| error.within(path.display());
    options.float_type.check(&model.weights()).map_err(within)?;
    let attributes = attributes(model, options).map_err(within)?;
    let layers = model.layers();
    let weights = OrderedWeights::of(&layers);
    let values = weights.values();
    let trainable = model.trainable_weights();
    let compiled = model.compiled();
    let state = compiled.as_ref().map(|compiled| compiled.state.slots());
    let slots = state.as_deref().filter(|_| options.optimizer_state);
    let mut writer = H5Writer::new();
    let mut fill = || {
        attributes.iter().try_for_each(|(name, text)| writer.attr_string("", name, text))?;
        weights.write(WEIGHTS, &values, options.float_type, &mut writer)?;
        match compiled.as_ref() {
            Some(compiled) => optimizer_state::write_legacy(compiled, &trainable, slots, &mut writer),
            None => Ok(()),
        }
    };
    fill().map_err(|error| within(in_h5(error)))?;
    write_file(path, &writer)
}

/// Names and texts of the root's attributes to be written.
fn attributes(model: &Model, options: &SaveOptions<'_>) -> Result<Vec<(String, String)>> {
    let mut config = config_writer::model(model);
    spell_out_ellipses(&mut config);
    remove_lora(&mut config);
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
    if let paths @ [_, ..] = &base_record::paths(model)[..] {
        attributes.push((base_record::KEY.to_owned(), json!(paths).to_string()));
    }
    if let Some(size) = open_input::record(model) {
        attributes.push((open_input::KEY.to_owned(), json!(size).to_string()));
    }
    for (name, bytes) in options.extras {
        let text = String::from_utf8(bytes.clone()).map_err(|error| Error::from_source(name, error))?;
        attributes.push((name.clone(), text));
    }
    Ok(attributes)
}

/// Removes the options of LoRA, whose product is merged into the kernel. With them, Keras would expect its factors in an `.h5`.
///
/// They may be those of a layer inside a wrapper, such as a SpectralNormalization.
fn remove_lora(object: &mut Value) {
    let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) else { return };
    config.retain(|option, _| option != "lora_rank" && option != "lora_alpha");
    config.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten().for_each(remove_lora);
    config.get_mut("layer").into_iter().for_each(remove_lora);
}

/// Replaces each ellipsis by full slices, `x[..., 0]` by `x[:, :, :, 0]`, since Keras can't read an ellipsis from an `.h5`.
fn spell_out_ellipses(object: &mut Value) {
    for layer in object.pointer_mut("/config/layers").and_then(Value::as_array_mut).into_iter().flatten() {
        spell_out_ellipses(layer);
        for node in layer.get_mut("inbound_nodes").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some([tensor, key]) = node.get_mut("args").and_then(Value::as_array_mut).map(Vec::as_mut_slice)
                && let Some(axes) = tensor.pointer("/config/shape").and_then(Value::as_array).map(Vec::len)
            {
                *key = without_ellipsis(key, axes);
            }
        }
    }
}

/// An index expression for a tensor of `axes` axes, with full slices in place of an ellipsis.
fn without_ellipsis(key: &Value, axes: usize) -> Value {
    let is_ellipsis = |index: &Value| index["class_name"] == "__ellipsis__";
    let list = if key.is_array() { key.as_array().cloned().unwrap_or_default() } else { vec![key.clone()] };
    let Some(at) = list.iter().position(is_ellipsis) else { return key.clone() };
    // A null (None in Python) adds a new axis, so it indexes none of the tensor's axes.
    let indexed = list.iter().filter(|index| !is_ellipsis(index) && !index.is_null()).count();
    let full_slice = json!({"class_name": "__slice__", "config": {"start": null, "stop": null, "step": null}});
    let rest = vec![full_slice; axes.saturating_sub(indexed)];
    list[..at].iter().cloned().chain(rest).chain(list[at + 1..].iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_lora_are_removed_inside_models_and_wrappers() {
        let dense = |lora: bool| match lora {
            true => json!({"class_name": "Dense", "config": {"units": 2, "lora_rank": 4, "lora_alpha": 2}}),
            false => json!({"class_name": "Dense", "config": {"units": 2}}),
        };
        let model = |lora| {
            let wrapper = json!({"class_name": "SpectralNormalization", "config": {"layer": dense(lora)}});
            let inner = json!({"class_name": "Sequential", "config": {"layers": [dense(lora), wrapper]}});
            json!({"class_name": "Sequential", "config": {"layers": [inner, dense(lora)]}})
        };
        let mut config = model(true);
        remove_lora(&mut config);
        assert_eq!(config, model(false));
    }

    #[test]
    fn a_training_config_has_what_keras_needs_to_open_it() {
        let training = training_config(Map::from_iter([("loss".to_owned(), json!("mse"))]));
        assert_eq!(training["optimizer_config"]["class_name"], "RMSprop");
        assert_eq!(Optimizer::from_keras(&compile_config(training)["optimizer"]).unwrap(), RmsProp::default().into());
        let auc = || json!({"class_name": "AUC", "config": {"name": "auc"}});
        let metrics = json!(["accuracy", auc(), {"top": [auc()]}]);
        let read = compile_config(json!({"metrics": metrics, "loss": "mse"}));
        let with_module = json!({"class_name": "AUC", "config": {"name": "auc"}, "module": "keras.metrics"});
        assert_eq!(read["metrics"], json!(["accuracy", with_module, {"top": [with_module]}]));
    }

    #[test]
    fn an_ellipsis_is_as_many_slices_as_axes_are_left() {
        let ellipsis = json!({"class_name": "__ellipsis__", "config": {}});
        let all = json!({"class_name": "__slice__", "config": {"start": null, "stop": null, "step": null}});
        assert_eq!(without_ellipsis(&json!([ellipsis, 2]), 4), json!([all, all, all, 2]));
        assert_eq!(without_ellipsis(&json!([0, ellipsis, null, 2]), 3), json!([0, all, null, 2]));
        assert_eq!(without_ellipsis(&ellipsis, 2), json!([all, all]));
        for other in [json!([1, all]), json!(1), json!(2.5), json!({"class_name": "__tensor__"})] {
            assert_eq!(without_ellipsis(&other, 4), other);
        }
    }
}
