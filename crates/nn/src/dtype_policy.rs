//! [`DTypePolicy`]: Keras' dtype policy of a layer, kept from file to file. Layers compute in f32 here, whatever it says.

use serde_json::{Map, Value, json};

use crate::{Error, ErrorKind, Result};

/// The policies of float numbers alone.
const FLOAT: [&str; 6] = ["float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"];

/// The modes of Keras' quantized policies.
const QUANTIZED: [&str; 5] = ["int8", "int4", "float8", "gptq", "awq"];

/// Keras' classes of policies. `Policy` is that of Keras 2.
const CLASSES: [&str; 9] = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy",
    "Int4DTypePolicy",
    "GPTQDTypePolicy",
    "AWQDTypePolicy",
    "DTypePolicyMap",
    "Policy",
];

/// The layers whose weights Keras stores in another form under a quantized policy. Other layers ignore the quantization.
const QUANTIZED_LAYERS: [&str; 4] = ["Dense", "EinsumDense", "Embedding", "ReversibleEmbedding"];

/// The layers whose weights of int8 are dequantized when a file is read.
const INT8_LAYERS: [&str; 3] = ["Dense", "EinsumDense", "Embedding"];

/// The dtype policy of a layer (Keras' `DTypePolicy`): the number formats in which Keras computes and stores weights.
///
/// Layers compute in f32 here. The policy is kept as it is, so that a file goes back to Keras with it. A quantized policy
/// (`int8_from_float32`) also says how a file stores the weights of the layer.
///
/// ```
/// use engraft_nn::{prelude::*, layers::from_config};
/// let config = serde_json::json!({"name": "top", "units": 2, "dtype": "mixed_float16"});
/// let top = from_config("Dense", config.as_object().unwrap().clone())?;
/// assert_eq!(top.dtype_policy().map(|policy| policy.name()), Some("mixed_float16".to_owned()));
/// assert!(Dense::new(2).into_layer().dtype_policy().is_none(), "float32");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DTypePolicy(Value);

impl DTypePolicy {
    /// Parses the option `dtype` of a layer: a name or a Keras object. `None` for float32, and for no policy.
    ///
    /// ```
    /// use engraft_nn::DTypePolicy;
    /// use serde_json::json;
    /// assert_eq!(DTypePolicy::parse(&json!("float32"))?, None);
    /// let policy = json!({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "bfloat16"}});
    /// let policy = DTypePolicy::parse(&policy)?.expect("a policy other than float32");
    /// assert_eq!((policy.name(), policy.quantization().as_deref()), ("int8_from_bfloat16".to_owned(), Some("int8")));
    /// assert!(DTypePolicy::parse(&json!("int32")).is_err());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A class or name that isn't a policy of floats.
    pub fn parse(dtype: &Value) -> Result<Option<Self>> {
        let policy = match dtype {
            Value::Null => return Ok(None),
            Value::String(name) if is_policy(name) => dtype.clone(),
            Value::Object(object) if is_policy_object(object) => of_keras_3(object),
            other => {
                return Err(Error::new("dtype", "a policy of floats such as float32 or mixed_float16", other)
                    .with_kind(ErrorKind::Unsupported)
                    .hint("save the model with a policy of floats: keras.config.set_dtype_policy(\"float32\")"));
            }
        };
        Ok(Some(Self(policy)).filter(|policy| policy.name() != "float32"))
    }

    /// The policy as it stands in Keras' config: a name or an object.
    pub fn to_keras(&self) -> &Value {
        &self.0
    }

    /// The name of the policy as Keras shows it: `mixed_float16`, `int8_from_float32`, `map_float32`, ….
    pub fn name(&self) -> String {
        let text = |place: &str| self.0.pointer(place).and_then(Value::as_str).unwrap_or("float32");
        match (&self.0, self.0["class_name"].as_str()) {
            (Value::String(name), _) => name.clone(),
            (object, _) if object.pointer("/config/mode").is_some() => {
                format!("{}_from_{}", text("/config/mode"), text("/config/source_name"))
            }
            (object, Some("DTypePolicyMap")) => {
                let default = object.pointer("/config/default_policy");
                let default = default.and_then(|policy| Self::parse(policy).ok().flatten());
                format!("map_{}", default.map_or("float32".to_owned(), |policy| policy.name()))
            }
            _ => text("/config/name").to_owned(),
        }
    }

    /// The mode of a quantized policy: `int8`, `int4`, `float8`, `gptq` or `awq`; `None` for a policy of floats alone.
    pub fn quantization(&self) -> Option<String> {
        let name = self.name();
        let mode = QUANTIZED.into_iter().find(|mode| name.starts_with(mode))?;
        Some(mode.to_owned())
    }

    /// The policy of the same layer with weights that aren't quantized.
    ///
    /// ```
    /// use engraft_nn::DTypePolicy;
    /// use serde_json::json;
    /// let policy = DTypePolicy::parse(&json!("int8_from_mixed_bfloat16"))?.expect("a policy other than float32");
    /// assert_eq!(policy.dequantized(), json!({
    ///     "module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}, "registered_name": null,
    /// }));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn dequantized(&self) -> Value {
        if self.0["class_name"] == "DTypePolicyMap" {
            return self.dequantized_map();
        }
        match self.quantization() {
            None => self.0.clone(),
            Some(_) => {
                let name = self.name();
                policy_object(name.split_once("_from_").map_or("float32", |(_, source)| source))
            }
        }
    }

    /// The map with each quantized policy in it dequantized.
    fn dequantized_map(&self) -> Value {
        let mut map = self.0.clone();
        let dequantize = |policy: &mut Value| {
            if let Ok(Some(quantized)) = Self::parse(policy).map(|parsed| parsed.filter(|p| p.quantization().is_some()))
            {
                *policy = quantized.dequantized();
            }
        };
        map.pointer_mut("/config/default_policy").into_iter().for_each(dequantize);
        let policies = map.pointer_mut("/config/policy_map").and_then(Value::as_object_mut);
        policies.into_iter().flat_map(Map::values_mut).for_each(dequantize);
        map
    }

    /// Whether Keras stores the weights of a layer of this class in another form under this policy.
    /// A map is no such policy: it says nothing about one layer.
    pub fn quantizes(&self, class_name: &str) -> bool {
        QUANTIZED_LAYERS.contains(&class_name) && self.quantization().is_some()
    }

    /// Checks that the weights of a layer of this class can be read.
    pub(crate) fn check(&self, class_name: &str) -> Result<()> {
        match self.quantization().filter(|_| QUANTIZED_LAYERS.contains(&class_name)) {
            Some(mode) if mode != "int8" || !INT8_LAYERS.contains(&class_name) => {
                Err(Error::new("dtype", "floats or int8", self.name())
                    .with_kind(ErrorKind::Unsupported)
                    .hint("save the model before it is quantized (before `model.quantize(..)`)"))
            }
            _ => Ok(()),
        }
    }
}

/// Keras' object of a policy of floats.
fn policy_object(name: &str) -> Value {
    json!({"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": null})
}

fn is_policy(name: &str) -> bool {
    let of_floats = |name: &str| FLOAT.contains(&name);
    of_floats(name)
        || name.split_once("_from_").is_some_and(|(mode, source)| {
            QUANTIZED.contains(&mode.split('/').next().unwrap_or_default()) && of_floats(source)
        })
}

fn is_policy_object(object: &Map<String, Value>) -> bool {
    let class_name = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
    let named = |option: &str| match object.get("config").and_then(|config| config.get(option)) {
        None | Some(Value::Null) => true,
        Some(name) => name.as_str().is_some_and(|name| FLOAT.contains(&name)),
    };
    CLASSES.contains(&class_name) && named("name") && named("source_name")
}

/// A policy in the form of Keras 3. Keras 2 calls the class `Policy`.
fn of_keras_3(object: &Map<String, Value>) -> Value {
    match object.get("class_name").and_then(Value::as_str) {
        Some("Policy") => {
            let name = object.get("config").and_then(|config| config.get("name")).and_then(Value::as_str);
            policy_object(name.unwrap_or("float32"))
        }
        _ => {
            // The ids of shared objects are those of one file. A policy has no identity, so it needs none.
            let mut object = object.clone();
            object.remove("shared_object_id");
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(dtype: Value) -> Option<String> {
        DTypePolicy::parse(&dtype).unwrap().map(|policy| policy.name())
    }

    #[test]
    fn every_form_of_a_policy_is_read() {
        let object = |class: &str, config: Value| json!({"class_name": class, "config": config});
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(name(json!(null)), None);
        assert_eq!(name(object("DTypePolicy", json!({"name": "float32"}))), None);
        assert_eq!(name(object("DTypePolicy", json!({"name": null}))), None, "the default of the program");
        assert_eq!(name(json!("bfloat16")), some("bfloat16"));
        assert_eq!(name(object("Policy", json!({"name": "mixed_float16"}))), some("mixed_float16"));
        assert_eq!(name(json!("int8_from_float32")), some("int8_from_float32"));
        let map = object("DTypePolicyMap", json!({"default_policy": null, "policy_map": {}}));
        assert_eq!(name(map), some("map_float32"));
        let gptq = object("GPTQDTypePolicy", json!({"mode": "gptq/4/128", "source_name": "float32"}));
        assert_eq!(name(gptq.clone()), some("gptq/4/128_from_float32"));
        let gptq = DTypePolicy::parse(&gptq).unwrap().unwrap();
        assert_eq!(gptq.quantization().as_deref(), Some("gptq"));
        assert!(gptq.quantizes("Dense") && !gptq.quantizes("Conv2D"));
        assert!(gptq.check("Dense").unwrap_err().to_string().contains("received gptq/4/128_from_float32"));
        assert!(gptq.check("Conv2D").is_ok());
    }

    #[test]
    fn weights_of_other_quantizations_than_int8_are_refused_by_name() {
        for class in ["Dense", "EinsumDense", "Embedding"] {
            let check = |mode: &str| {
                let policy = DTypePolicy::parse(&json!(format!("{mode}_from_float32"))).unwrap().unwrap();
                policy.check(class).map_err(|error| error.to_string())
            };
            assert_eq!(check("int8"), Ok(()));
            for mode in ["int4", "int4/128", "float8", "gptq/4/128", "awq/4/128"] {
                let error = check(mode).unwrap_err();
                assert!(error.contains(&format!("expected floats or int8, received {mode}_from_float32")), "{error}");
            }
        }
    }

    #[test]
    fn a_map_is_written_without_quantized_policies() {
        let int8 = json!({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "bfloat16"}});
        let map = |query: Value| json!({"class_name": "DTypePolicyMap", "config": {"default_policy": "float16", "policy_map": {"a/query": query}}});
        let policy = DTypePolicy::parse(&map(int8)).unwrap().unwrap();
        assert_eq!(policy.dequantized(), map(policy_object("bfloat16")));
        let floats = map(json!("float16"));
        assert_eq!(DTypePolicy::parse(&floats).unwrap().unwrap().dequantized(), floats);
    }

    #[test]
    fn what_is_no_policy_of_floats_is_refused() {
        for dtype in [
            json!("int32"),
            json!("float33"),
            json!("int3_from_float32"),
            json!("int8_from_int8"),
            json!(7),
            json!({"class_name": "MyPolicy", "config": {"name": "float32"}}),
            json!({"class_name": "DTypePolicy", "config": {"name": "uint8"}}),
        ] {
            let error = DTypePolicy::parse(&dtype).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().starts_with("dtype: expected a policy of floats"), "{error}");
        }
    }

    #[test]
    fn a_policy_of_keras_2_is_written_as_one_of_keras_3() {
        let policy = json!({"class_name": "Policy", "config": {"name": "mixed_bfloat16"}});
        let policy = DTypePolicy::parse(&policy).unwrap().unwrap();
        assert_eq!(policy.to_keras()["class_name"], "DTypePolicy");
        assert_eq!(policy.to_keras(), &policy.dequantized());
    }
}
