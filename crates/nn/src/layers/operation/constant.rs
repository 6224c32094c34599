//! Constants among an operation's arguments.

use serde_json::Value;

use super::super::rescaling::PerChannel;
use crate::{Error, Result};

/// Maximum number of axes of a constant array. It bounds the loop over nested lists.
const MAX_RANK: usize = 32;

/// Reads a number, or an array whose axes have size 1 except for the last: `[[[[-103.9, -116.8, -123.7]]]]`.
pub(super) fn per_channel(argument: &Value) -> Result<PerChannel> {
    let wrong = || Error::new("constant", "a number or an array with one value per channel", argument);
    if let Some(number) = argument.as_f64() {
        return Ok(PerChannel::One(number as f32));
    }
    let array = argument.get("class_name").is_some_and(|class| class == "__tensor__" || class == "__numpy__");
    let mut value = argument.pointer("/config/value").filter(|_| array).ok_or_else(wrong)?;
    for _ in 0..MAX_RANK {
        match value {
            Value::Array(list) => match list.as_slice() {
                [inner @ Value::Array(_)] => value = inner,
                numbers => {
                    let numbers = numbers.iter().map(|number| number.as_f64().map(|number| number as f32));
                    return numbers.collect::<Option<Vec<_>>>().map(PerChannel::Each).ok_or_else(wrong);
                }
            },
            number => return number.as_f64().map(|number| PerChannel::One(number as f32)).ok_or_else(wrong),
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn array(value: &Value) -> Value {
        json!({"class_name": "__tensor__", "config": {"value": value, "dtype": "float32"}})
    }

    #[test]
    fn numbers_and_arrays() {
        assert_eq!(per_channel(&json!(2)).unwrap(), PerChannel::One(2.0));
        assert_eq!(per_channel(&array(&json!(0.5))).unwrap(), PerChannel::One(0.5));
        let channels = per_channel(&array(&json!([[[[1.0, 2.0]]]]))).unwrap();
        assert_eq!(channels, PerChannel::Each(vec![1.0, 2.0]));
    }

    #[test]
    fn values_by_row_are_refused() {
        for value in [json!([[1.0], [2.0]]), json!([[1.0, "x"]]), json!(null), json!([[1.0, 2.0], [3.0, 4.0]])] {
            let error = per_channel(&array(&value)).unwrap_err().to_string();
            assert!(error.contains("one value per channel"), "{error}");
        }
    }
}
