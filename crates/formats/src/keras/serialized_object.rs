//! Helpers for Keras' serialized objects in `config.json`, shared by the readers and writers of configs.

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// Limit on the layers of one model.
const MAX_LAYERS: usize = 10_000;

/// Key under which `functional` adds an operation's arguments to its object, for `config_reader`. Keras has them in
/// `inbound_nodes`.
pub(super) const ARGUMENTS: &str = "arguments";

/// Key of an operation's keyword arguments, beside [`ARGUMENTS`].
pub(super) const KEYWORDS: &str = "keywords";

/// Whether a Python module belongs to Keras, under any of the names that Keras 2 and 3 have had.
pub(super) fn is_module_of_keras(module: &str) -> bool {
    ["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras"]
        .into_iter()
        .any(|package| module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Whether a Python module contains operations, such as `keras.ops`. Operations are nodes of a graph that are no layers in Keras.
pub(super) fn is_operation(module: &str) -> bool {
    let mut parts = module.split('.');
    parts.next() == Some("keras") && parts.any(|part| part == "ops" || part == "activations")
}

/// The name of a model. Refuses options other than `name`, `trainable`, `dtype` and those in `options`.
pub(super) fn model_name(config: &Map<String, Value>, options: &[&str]) -> Result<String> {
    let Some(name) = config.get("name").and_then(Value::as_str) else {
        return Err(Error::new("model in config.json", "a name", format_args!("{:?}", config.get("name"))));
    };
    let common = ["name", "trainable", "dtype"];
    match config.keys().find(|key| !common.contains(&key.as_str()) && !options.contains(&key.as_str())) {
        None => Ok(name.to_owned()),
        Some(option) => Err(Error::because(format_args!("model `{name}`"), format_args!("unknown option `{option}`"))
            .with_kind(ErrorKind::Unsupported)),
    }
}

/// The objects that describe a model's layers.
pub(super) fn layer_objects(config: &Map<String, Value>) -> Result<&[Value]> {
    match config.get("layers").and_then(Value::as_array) {
        Some(layers) if layers.len() <= MAX_LAYERS => Ok(layers),
        Some(layers) => Err(Error::new("layers", format_args!("at most {MAX_LAYERS}"), layers.len())),
        None => Err(Error::new("layers", "a list", "none")),
    }
}

/// The first 200 characters of a value as JSON, for an error.
pub(super) fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_told_by_their_module() {
        assert!(is_operation("keras.src.ops.numpy") && is_operation("keras.activations"));
        assert!(!is_operation("keras.layers") && !is_operation(""));
        assert!(!is_operation("my.ops"), "a custom layer");
    }

    #[test]
    fn unknown_options_of_a_model_are_named() {
        let config = json!({"name": "m", "trainable": true, "layers": [], "quantized": true});
        let config = config.as_object().unwrap();
        assert_eq!(model_name(config, &["layers", "quantized"]).unwrap(), "m");
        let error = model_name(config, &["layers"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("model `m`: unknown option `quantized`"), "{error}");
    }

    #[test]
    fn layers_are_a_list_of_limited_length() {
        let found = |layers: Value| layer_objects(json!({"layers": layers}).as_object().unwrap()).map(<[Value]>::len);
        assert_eq!(found(json!([1, 2])).unwrap(), 2);
        assert!(found(json!("none")).unwrap_err().to_string().contains("expected a list"));
        let many = vec![Value::Null; MAX_LAYERS + 1];
        assert!(found(json!(many)).unwrap_err().to_string().contains("expected at most 10000"));
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(excerpt(&json!([1])), "[1]");
        assert_eq!(excerpt(&json!("ä".repeat(300))).chars().count(), 201);
    }
}
