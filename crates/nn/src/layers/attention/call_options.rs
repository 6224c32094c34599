//! Arguments of a call. Those that aren't tensors are in the node of the call in a file; here they are options of the layer.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Limit on the values of a constant mask, and on its axes.
const MAX_VALUES: usize = 1 << 22;
const MAX_RANK: usize = 8;

/// A constant `attention_mask`, as Keras writes an array to a file.
#[derive(Clone, Debug)]
pub(in crate::layers) struct ConstantMask {
    /// Keras' object, which is written back word for word.
    object: Value,
    shape: Vec<usize>,
    values: Vec<bool>,
}

impl ConstantMask {
    /// Whether each query attends to each key, keys fastest. Axes of size 1 are broadcast.
    pub(super) fn pairs(&self, queries: usize, keys: usize) -> Result<Vec<bool>> {
        let wrong = || {
            let expected = format!("the same for all samples and heads: [1, {queries}, {keys}], or 1 for a size");
            Error::new("attention_mask", expected, format_args!("{:?}", self.shape)).with_kind(ErrorKind::Unsupported)
        };
        let [leading @ .., own_queries, own_keys] = self.shape.as_slice() else { return Err(wrong()) };
        let fits = |own: usize, size: usize| own == 1 || own == size;
        if leading.iter().any(|&size| size != 1) || !fits(*own_queries, queries) || !fits(*own_keys, keys) {
            return Err(wrong());
        }
        let at = |own: usize, index: usize| if own == 1 { 0 } else { index };
        let pairs = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
        Ok(pairs.map(|(query, key)| self.values[at(*own_queries, query) * own_keys + at(*own_keys, key)]).collect())
    }
}

impl Serialize for ConstantMask {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        self.object.serialize(s)
    }
}

impl<'de> Deserialize<'de> for ConstantMask {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let object = Value::deserialize(d)?;
        let is_array = object.get("class_name").is_some_and(|class| class == "__tensor__" || class == "__numpy__");
        let array = object.pointer("/config/value").filter(|_| is_array);
        let Some(array) = array else {
            return Err(de::Error::custom("expected an array that is the same in every call, received a tensor"));
        };
        let (mut shape, mut values) = (Vec::new(), Vec::new());
        let mut row = array;
        while let (Value::Array(list), true) = (row, shape.len() < MAX_RANK) {
            shape.push(list.len());
            match list.first() {
                Some(first) => row = first,
                None => break,
            }
        }
        if !collect(array, &shape, &mut values) {
            return Err(de::Error::custom("expected an array of booleans or numbers"));
        }
        Ok(Self { object, shape, values })
    }
}

/// Appends the values of nested lists of this shape; false if they have another shape, or hold something else. A number is true
/// if it isn't 0.
fn collect(array: &Value, shape: &[usize], values: &mut Vec<bool>) -> bool {
    match (array, shape) {
        (Value::Array(list), [size, inner @ ..]) => {
            list.len() == *size && list.iter().all(|array| collect(array, inner, values))
        }
        (Value::Bool(value), []) => push(*value, values),
        (Value::Number(number), []) => push(number.as_f64() != Some(0.0), values),
        _ => false,
    }
}

fn push(value: bool, values: &mut Vec<bool>) -> bool {
    values.push(value);
    values.len() <= MAX_VALUES
}

/// Query, value and key of a call; the key is the value if there is none.
pub(super) fn query_value_key<T>(inputs: &[T]) -> Result<[&T; 3]> {
    match inputs {
        [query, value] => Ok([query, value, value]),
        [query, value, key] => Ok([query, value, key]),
        other => Err(Error::new("inputs", "query and value, or query, value and key", other.len())),
    }
}

/// The keywords of a call with these options, as Keras writes them.
pub(super) fn keywords(causal: bool, mask: Option<&ConstantMask>) -> Map<String, Value> {
    let causal = causal.then(|| ("use_causal_mask".to_owned(), Value::Bool(true)));
    let mask = mask.map(|mask| ("attention_mask".to_owned(), mask.object.clone()));
    causal.into_iter().chain(mask).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mask(value: &Value) -> std::result::Result<ConstantMask, serde_json::Error> {
        serde_json::from_value(json!({"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}))
    }

    #[test]
    fn axes_of_size_1_are_broadcast() {
        let column = mask(&json!([[[1.0], [0.0]]])).unwrap();
        assert_eq!(column.pairs(2, 2).unwrap(), [true, true, false, false]);
        assert_eq!(mask(&json!([[1], [0]])).unwrap().pairs(2, 1).unwrap(), [true, false]);
        for shape in [json!([[[1], [0], [1]]]), json!([[[1, 1], [0, 1]], [[1, 1], [1, 1]]]), json!([1, 0]), json!([])] {
            let error = mask(&shape).unwrap().pairs(2, 2).unwrap_err().to_string();
            assert!(error.contains("the same for all samples and heads"), "{error}");
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for value in [json!([[1], [0, 1]]), json!([["yes"]]), json!(null)] {
            assert!(mask(&value).is_err(), "{value}");
        }
        let tensor = json!({"class_name": "__keras_tensor__", "config": {"value": [[1]]}});
        let error = serde_json::from_value::<ConstantMask>(tensor).unwrap_err().to_string();
        assert!(error.contains("the same in every call"), "{error}");
    }
}
