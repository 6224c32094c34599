//! Saving and restoring which layers belong to the pretrained base of a model. Keras ignores this record.

use std::collections::HashMap;

use engraft_nn::{Error, ErrorKind, Layer, Model, Result};
use serde::Deserialize;
use serde_json::Value;

/// Name of the record: a key of `metadata.json` in a `.keras` file, an attribute of the root in an `.h5`.
pub(super) const KEY: &str = "engraft_base";

/// The paths of the layers in the base.
pub(super) fn paths(model: &Model) -> Vec<String> {
    model.leaf_paths().into_iter().filter(|(_, layer)| layer.in_base()).map(|(path, _)| path).collect()
}

/// Marks the layers of a record (a list of paths, or `null` for none) as belonging to the base.
///
/// # Errors
/// The record is neither `null` nor a list of strings, or the model has no layer at one of the paths. Then no layer is
/// marked.
pub(super) fn restore(model: &Model, record: &Value) -> Result<()> {
    let Some(paths) = Option::<Vec<String>>::deserialize(record).map_err(|error| Error::from_source(KEY, error))?
    else {
        return Ok(());
    };
    let layers: HashMap<String, Layer> = model.leaf_paths().into_iter().collect();
    let find = |path: &String| {
        layers.get(path).ok_or_else(|| {
            Error::new(KEY, format_args!("layers of model `{}`", model.name()), format_args!("`{path}`"))
                .with_kind(ErrorKind::InvalidData)
                .hint("the file was changed after it was saved: save the model again with engraft")
        })
    };
    let marked = paths.iter().map(find).collect::<Result<Vec<_>>>()?;
    marked.into_iter().for_each(|layer| layer.set_in_base(true));
    Ok(())
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use serde_json::json;

    use super::*;

    fn model() -> Model {
        let base = Sequential::with_name("base").add(Input::new([4])).add(Dense::new(3).named("hidden"));
        Sequential::new().add(base.build().unwrap()).add(Dense::new(2).named("top")).build().unwrap()
    }

    #[test]
    fn the_marks_come_back_by_path_or_not_at_all() {
        let marked = model();
        marked.get_layer("base").unwrap().set_in_base(true);
        assert_eq!(paths(&marked), ["base/hidden"]);

        let fresh = model();
        let error = restore(&fresh, &json!(["base/hidden", "hidden"])).unwrap_err().to_string();
        assert!(error.contains("engraft_base: expected layers of model"), "{error}");
        assert!(restore(&fresh, &json!("hidden")).unwrap_err().to_string().contains("engraft_base: "));
        restore(&fresh, &Value::Null).unwrap();
        assert!(paths(&fresh).is_empty());
        restore(&fresh, &json!(paths(&marked))).unwrap();
        assert_eq!(paths(&fresh), ["base/hidden"]);
    }
}
