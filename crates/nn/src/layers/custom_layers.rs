//! [`CustomLayers`]: the layers of a program's own that a file may contain.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::{Error, Result};

/// Creates a layer from its config and name.
type Reader = Arc<dyn Fn(Map<String, Value>, String) -> Result<Layer> + Send + Sync>;

/// Custom layers of Keras models, written again in Rust: the classes that a program teaches the reader of files.
///
/// A file names a custom class by its registered name (`my_package>Scale`, from Keras'
/// `@keras.saving.register_keras_serializable("my_package")`) and its class name. A class is looked up by the registered name
/// first. The options that every layer has (`name`, `trainable`, `dtype`) are no part of the config.
///
/// ```
/// use engraft_ir::{Op, ValueId};
/// use engraft_nn::layers::{CustomLayers, from_config};
/// use engraft_nn::{LayerDef, Lowering, Result, Shape};
/// use serde::{Deserialize, Serialize};
/// use serde_json::{Map, Value, json};
///
/// /// The square of each value.
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Square {}
///
/// impl LayerDef for Square {
///     fn class_name(&self) -> &'static str {
///         "Square"
///     }
///     fn config(&self) -> Map<String, Value> {
///         Map::new()
///     }
///     fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
///         Ok(inputs[0].clone())
///     }
///     fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
///         let shape = to.shape(inputs[0]).clone();
///         Ok(to.push(Op::Multiply, &[inputs[0], inputs[0]], shape))
///     }
/// }
///
/// let layers = CustomLayers::new().with::<Square>("my_package>Square");
/// let object = json!({"module": null, "class_name": "Square", "registered_name": "my_package>Square", "config": {"name": "s"}});
/// let layer = layers.read(&object)?.expect("a known class");
/// assert_eq!((layer.name(), layer.class_name()), ("s", "Square"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CustomLayers {
    readers: BTreeMap<String, Reader>,
}

impl CustomLayers {
    /// No custom layers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a class whose description deserializes from the config. `name` is the registered name or the class name in files.
    #[must_use]
    pub fn with<D: LayerDef + DeserializeOwned>(self, name: impl Into<String>) -> Self {
        self.with_reader(name, |config| {
            serde_json::from_value::<D>(Value::Object(config)).map_err(|error| Error::from_source("config", error))
        })
    }

    /// Adds a class whose description `read` makes from the config. `name` is the registered name or the class name in files.
    ///
    /// ```
    /// use engraft_nn::layers::{CustomLayers, LeakyReLU};
    /// use serde_json::json;
    /// // A class that does what a built-in layer does.
    /// let layers = CustomLayers::new().with_reader("LeakyReLU", |_config| Ok(LeakyReLU::new(0.25)));
    /// let object = json!({"module": "my", "class_name": "LeakyReLU", "config": {"name": "leaky"}});
    /// assert_eq!(layers.read(&object)?.expect("a known class").def().config()["negative_slope"], 0.25);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn with_reader<D: LayerDef>(
        mut self,
        name: impl Into<String>,
        read: impl Fn(Map<String, Value>) -> Result<D> + Send + Sync + 'static,
    ) -> Self {
        self.readers.insert(name.into(), Arc::new(move |config, name| Ok(Layer::new(read(config)?, Some(name)))));
        self
    }

    /// Whether the class of a serialized object is one of these.
    pub fn contains(&self, object: &Value) -> bool {
        self.reader(object).is_some()
    }

    /// Creates the layer that a serialized object of Keras describes; `None` if its class isn't one of these.
    ///
    /// The layer keeps the module and the registered name of its class, which writers give back to Keras.
    ///
    /// # Errors
    /// A config that the class doesn't accept, or a description whose `class_name` isn't that of the object.
    pub fn read(&self, object: &Value) -> Result<Option<Layer>> {
        let Some(reader) = self.reader(object) else { return Ok(None) };
        let origin = CustomClass::of(object);
        let mut config = object.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(Value::String(name)) = config.remove("name") else {
            return Err(Error::new(format_args!("{} layer", origin.class_name), "a name", "none"));
        };
        let place = format!("layer `{name}` ({})", origin.class_name);
        let options = super::registry::common_options(&place, &origin.class_name, &mut config)?;
        let layer = reader(config, name).map_err(|error| error.within(&place))?;
        if layer.class_name() != origin.class_name {
            return Err(Error::new(
                &place,
                format_args!("class_name() to be `{}`", origin.class_name),
                layer.class_name(),
            )
            .hint(
                "files name the weights of a layer by its class, so the class in Rust has the name of that in Python",
            ));
        }
        options.apply(&layer);
        layer.set_custom_class(Some(origin));
        Ok(Some(layer))
    }

    fn reader(&self, object: &Value) -> Option<&Reader> {
        let name = |key: &str| object.get(key).and_then(Value::as_str);
        let registered = name("registered_name").and_then(|name| self.readers.get(name));
        let class_name = name("class_name")?;
        registered.or_else(|| self.readers.get(class_name)).or_else(|| self.readers.get(short_name(class_name)))
    }
}

impl fmt::Debug for CustomLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.readers.keys()).finish()
    }
}

/// How files name the class of a custom layer, kept word for word.
///
/// ```
/// use engraft_nn::CustomClass;
/// let object = serde_json::json!({"module": null, "class_name": "Scale", "registered_name": "my_package>Scale"});
/// let class = CustomClass::of(&object);
/// assert_eq!((class.class_name.as_str(), class.registered_name.as_str()), ("Scale", Some("my_package>Scale")));
/// // An `.h5` has the registered name in place of the class name.
/// let class = CustomClass::of(&serde_json::json!({"class_name": "my_package>Scale"}));
/// assert_eq!((class.class_name.as_str(), class.registered_name.as_str()), ("Scale", Some("my_package>Scale")));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CustomClass {
    /// The name of the class in Python.
    pub class_name: String,
    /// The module that defines the class: a text or null.
    pub module: Value,
    /// The registered name: a text or null.
    pub registered_name: Value,
}

impl CustomClass {
    /// The class of a serialized object.
    pub fn of(object: &Value) -> Self {
        let class_name = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
        let member = |key: &str| object.get(key).cloned().unwrap_or_default();
        let registered_name = match member("registered_name") {
            Value::Null if class_name.contains('>') => class_name.into(),
            other => other,
        };
        Self { class_name: short_name(class_name).to_owned(), module: member("module"), registered_name }
    }
}

/// The class name in a registered name such as `my_package>Scale`.
fn short_name(registered: &str) -> &str {
    registered.rsplit('>').next().unwrap_or(registered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::Dense;

    #[test]
    fn a_class_is_found_by_its_registered_name_or_its_class_name() {
        let object = |class: &str, registered: Value| json!({"class_name": class, "registered_name": registered, "config": {"name": "d", "units": 2}});
        let registered = CustomLayers::new().with::<Dense>("my>Dense");
        let plain = CustomLayers::new().with::<Dense>("Dense");
        assert!(
            registered.contains(&object("Dense", json!("my>Dense")))
                && registered.contains(&object("my>Dense", json!(null)))
        );
        assert!(!registered.contains(&object("Dense", json!("other>Dense"))));
        assert!(
            plain.contains(&object("Dense", json!("other>Dense"))) && plain.contains(&object("my>Dense", json!(null)))
        );
        assert!(registered.read(&object("Conv", json!(null))).unwrap().is_none());
    }

    #[test]
    fn the_common_options_are_no_part_of_the_config() {
        let config = json!({"name": "d", "trainable": false, "dtype": "mixed_float16", "units": 2});
        let object =
            json!({"module": "my.layers", "class_name": "Dense", "registered_name": "my>Dense", "config": config});
        let layer = CustomLayers::new().with::<Dense>("my>Dense").read(&object).unwrap().unwrap();
        assert!(!layer.trainable() && layer.dtype_policy().is_some());
        assert_eq!(layer.custom_class(), Some(CustomClass::of(&object)));
    }

    #[test]
    fn what_does_not_fit_names_the_layer() {
        let layers = CustomLayers::new().with::<Dense>("Other").with::<Dense>("Dense");
        for (class, config, expected) in [
            ("Dense", json!({"name": "d", "rank": 2}), "layer `d` (Dense), config: unknown field `rank`"),
            ("Dense", json!({"units": 2}), "Dense layer: expected a name"),
            ("Dense", json!({"name": "d", "units": 2, "trainable": 1}), "expected trainable to be true or false"),
            ("Other", json!({"name": "d", "units": 2}), "expected class_name() to be `Other`, received Dense"),
        ] {
            let error = layers.read(&json!({"class_name": class, "config": config})).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
