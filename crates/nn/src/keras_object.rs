//! Keras' serialized objects: `{"module", "class_name", "config", "registered_name"}`, and options that must be `null`.
//!
//! Initializers and regularizers are written and read in this form within the config of their layer.

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

/// Defines a module for `#[serde(with = …)]` on an optional Keras object, which is `null` if absent.
macro_rules! optional_object {
    ($name:ident, $type:ty, $module:literal) => {
        pub(crate) mod $name {
            pub(crate) fn serialize<S: serde::Serializer>(v: &Option<$type>, s: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&v.as_ref().map(|v| $crate::keras_object::to_value($module, v)), s)
            }
            pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<$type>, D::Error> {
                let value: Option<serde_json::Value> = serde::Deserialize::deserialize(d)?;
                value.map(|v| $crate::keras_object::from_value(v).map_err(serde::de::Error::custom)).transpose()
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
