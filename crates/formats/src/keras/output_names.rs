//! The keys of a dictionary of outputs, by which Keras names them: `keras.Model(x, {"color": a, "size": b})`.

use std::path::Path;

use engraft_nn::Result;
use serde_json::Value;

use super::read_extra;
use crate::json::parse;

/// The names that the outputs of the model in a `.keras` or `.h5` file have beside those of their layers, in the order of the
/// outputs. There are none unless the model was made with a dictionary of outputs.
///
/// ```
/// use engraft_formats::keras::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("m.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// keras::save(&model, &path, &SaveOptions::default())?;
/// assert!(keras::output_names(&path)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`read_extra`], and a config that isn't JSON.
pub fn output_names(path: &Path) -> Result<Vec<String>> {
    let config = match read_extra(path, "config.json")? {
        None => read_extra(path, "model_config")?,
        config => config,
    };
    let config: Value = parse("config.json", config.as_deref().unwrap_or(b"null"))?;
    Ok(names(&config))
}

fn names(config: &Value) -> Vec<String> {
    let Some(Value::Object(outputs)) = config.pointer("/config/output_layers") else { return Vec::new() };
    let mut names: Vec<String> = outputs.keys().cloned().collect();
    // Keras flattens a mapping in the order of its keys.
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_outputs() {
        let outputs = |outputs: Value| names(&json!({"config": {"output_layers": outputs}}));
        assert_eq!(outputs(json!({"size": ["s", 0, 0], "color": ["c", 0, 0]})), ["color", "size"]);
        assert!(outputs(json!([["s", 0, 0], ["c", 0, 0]])).is_empty() && names(&Value::Null).is_empty());
    }
}
