//! Keras' serialized objects: `{"module", "class_name", "config", "registered_name"}`, and options that must be `null`.
//!
//! Initializers, regularizers and constraints are written and read in this form within the config of their layer. Objects that
//! aren't implemented are kept word for word: a model predicts without them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

/// Serializes an enum tagged by `class_name` and `config` as a Keras object of `module`.
pub(crate) fn to_value<T: Serialize>(module: &str, object: &T) -> Value {
    let tagged = serde_json::to_value(object).expect("configs hold only numbers, strings and lists");
    json!({
        "module": module,
        "class_name": tagged["class_name"],
        "config": tagged["config"],
        "registered_name": null,
    })
}

/// Deserializes a Keras object, or Keras' short form: the name alone (`"glorot_uniform"` or `"GlorotUniform"`).
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let (class_name, config) = match value {
        Value::String(name) => (camel_case(&name), json!({})),
        Value::Object(mut object) => match object.remove("class_name") {
            Some(Value::String(name)) => (name, object.remove("config").unwrap_or_else(|| json!({}))),
            _ => return Err(format!("expected an object with a class_name, received {}", Value::Object(object))),
        },
        other => return Err(format!("expected an object or its name, received {other}")),
    };
    let text = class_name.clone();
    serde_json::from_value(json!({"class_name": class_name, "config": config})).map_err(|e| format!("{text}: {e}"))
}

/// An object in a file whose class or options aren't implemented, word for word.
///
/// ```
/// use engraft_nn::{Regularizer, prelude::*, layers::from_config};
/// let spectral = serde_json::json!({"class_name": "SpectralRegularizer", "config": {"factor": 0.01}});
/// let config = serde_json::json!({"name": "top", "units": 2, "kernel_regularizer": spectral});
/// let layer = from_config("Dense", config.as_object().unwrap().clone())?;
/// layer.call(&Input::new([3]))?;
/// let weights = layer.weights();
/// let Some(Regularizer::Unknown(object)) = weights[0].regularizer() else { panic!("not implemented") };
/// assert_eq!(object.class_name(), "SpectralRegularizer");
/// assert_eq!(layer.def().config()["kernel_regularizer"], spectral);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownObject(Value);

impl UnknownObject {
    /// The name of the class, or the whole value if it has none.
    pub fn class_name(&self) -> String {
        let name = self.0.get("class_name").unwrap_or(&self.0);
        name.as_str().map_or_else(|| name.to_string(), str::to_owned)
    }
}

/// A type of Keras' objects that keeps those that aren't implemented.
pub(crate) trait Kept: Serialize + DeserializeOwned {
    /// Keras' module of the implemented classes.
    const MODULE: &'static str;

    /// The value that keeps an object.
    fn keep(object: UnknownObject) -> Self;

    /// The object that the value keeps; `None` for an implemented class.
    fn kept(&self) -> Option<&UnknownObject>;
}

/// Serializes an object: in Keras' form, or as it was kept.
pub(crate) fn write_kept<T: Kept>(object: &T) -> Value {
    object.kept().map_or_else(|| to_value(T::MODULE, object), |kept| kept.0.clone())
}

/// Deserializes an object; keeps one whose class or options aren't implemented.
pub(crate) fn read_kept<T: Kept>(value: Value) -> T {
    let known = is_of_keras(&value).then(|| from_value(value.clone()).ok()).flatten();
    known.unwrap_or_else(|| T::keep(UnknownObject(value)))
}

/// Whether an object is of a class of Keras itself. A registered class of the same name may compute anything.
fn is_of_keras(object: &Value) -> bool {
    let module = object.get("module").and_then(Value::as_str).is_none_or(|module| {
        let package = module.split('.').next();
        package == Some("keras") || package == Some("tf_keras")
    });
    let registered = object.get("registered_name").unwrap_or(&Value::Null);
    module && (registered.is_null() || Some(registered) == object.get("class_name"))
}

/// Defines a module for `#[serde(with = …)]` on an optional Keras object, which is `null` if absent.
macro_rules! optional_object {
    ($name:ident, $type:ty) => {
        pub(crate) mod $name {
            pub(crate) fn serialize<S: serde::Serializer>(v: &Option<$type>, s: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&v.as_ref().map($crate::keras_object::write_kept), s)
            }
            pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<$type>, D::Error> {
                let value: Option<serde_json::Value> = serde::Deserialize::deserialize(d)?;
                Ok(value.map($crate::keras_object::read_kept))
            }
        }
    };
}
pub(crate) use optional_object;

/// A Keras option that engraft doesn't support: only `null` can be deserialized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unset;

impl Serialize for Unset {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_none()
    }
}

impl<'de> Deserialize<'de> for Unset {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::Null => Ok(Self),
            other => {
                Err(de::Error::custom(format_args!("expected null (an option not supported here), received {other}")))
            }
        }
    }
}

/// Converts `glorot_uniform` to `GlorotUniform`; a name already in camel case stays as it is.
fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        })
        .collect()
}
