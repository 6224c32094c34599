//! The `seed` option of random layers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A random layer's own seed, as a file has it: none, an integer, or a serialized `SeedGenerator` with one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub(super) struct Seed(Value);

impl Seed {
    /// The seed as a number; `None` if the layer follows the seed of the run.
    pub(super) fn number(&self) -> Option<u64> {
        integer(&self.0).or_else(|| integer(self.0.pointer("/config/seed")?))
    }
}

impl From<u64> for Seed {
    fn from(seed: u64) -> Self {
        Self(seed.into())
    }
}

impl From<Seed> for Value {
    fn from(seed: Seed) -> Self {
        seed.0
    }
}

impl TryFrom<Value> for Seed {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let generator = value.get("class_name").is_some_and(|class| class == "SeedGenerator");
        let seed = if generator { value.pointer("/config/seed").unwrap_or(&Value::Null) } else { &value };
        match seed.is_null() || integer(seed).is_some() {
            true => Ok(Self(value)),
            false => Err(format!("expected an integer, a SeedGenerator or null, received {value}")),
        }
    }
}

/// An integer seed; Python's negative ones keep their bits.
fn integer(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_i64().map(|seed| seed as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_keras_is_kept_and_has_its_number() {
        let generator = |seed: Value| json!({"module": "keras.random", "class_name": "SeedGenerator", "config": {"seed": seed, "name": "g"}});
        for (form, number) in [
            (json!(null), None),
            (json!(7), Some(7)),
            (json!(-4), Some(4u64.wrapping_neg())),
            (generator(json!(7)), Some(7)),
            (generator(json!(null)), None),
        ] {
            let seed: Seed = serde_json::from_value(form.clone()).unwrap();
            assert_eq!((seed.number(), serde_json::to_value(&seed).unwrap()), (number, form));
        }
        for wrong in [json!("x"), json!(1.5), generator(json!("x")), json!({"class_name": "Other"})] {
            assert!(serde_json::from_value::<Seed>(wrong).is_err());
        }
    }
}
