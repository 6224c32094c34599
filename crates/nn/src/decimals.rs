//! [`shorten`]: numbers of f32 in JSON with the digits that they were given with.

use serde_json::{Number, Value};

/// Replaces the numbers of f32 in a value by the shortest decimals that stand for them: 0.1 for 0.10000000149011612, which 0.1 becomes as
/// f32. Other numbers of f64 stay.
pub(crate) fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(shorter) = number.as_f64().filter(|_| number.is_f64()).and_then(shortest) {
                *number = shorter;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// The shortest decimal of an f32; `None` for any other number.
fn shortest(number: f64) -> Option<Number> {
    let single = number as f32;
    let decimal: f64 = single.to_string().parse().ok()?;
    (f64::from(single) == number && decimal as f32 == single).then(|| Number::from_f64(decimal)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_of_f32_get_their_digits_back() {
        let numbers = [0.1f32, 1e-3, 0.5, 1.0, 1.0 / 255.0, 1e-12, -16_777_216.0, 3.4e38, f32::MIN_POSITIVE];
        let mut value =
            json!({"list": numbers, "number": 0.9f32, "f64": 0.123_456_789_012_345_68, "integer": 3, "text": "0.1"});
        shorten(&mut value);
        let list = serde_json::from_value::<Vec<f32>>(value["list"].clone()).unwrap();
        assert_eq!(list, numbers, "each stands for the same f32");
        let text = value.to_string();
        assert!(text.contains("[0.1,0.001,0.5,1.0,0.003921569,1e-12,"), "{text}");
        assert_eq!(value["number"], 0.9);
        assert_eq!((&value["f64"], &value["integer"]), (&json!(0.123_456_789_012_345_68), &json!(3)));
    }
}
