//! Counts of steps, as Keras' configs hold them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use crate::{Error, Result};

/// Reads a count of steps. Python programs often compute one as a float, such as `100.0`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<u64, D::Error> {
    whole(&Number::deserialize(d)?).map_err(D::Error::custom)
}

/// Reads a list of such counts.
pub(super) fn deserialize_list<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Vec<u64>, D::Error> {
    Vec::<Number>::deserialize(d)?.iter().map(whole).collect::<std::result::Result<_, _>>().map_err(D::Error::custom)
}

fn whole(number: &Number) -> std::result::Result<u64, String> {
    let from_float = |float: &f64| float.fract() == 0.0 && (0.0..MAX_WHOLE).contains(float);
    let steps = number.as_u64().or_else(|| number.as_f64().filter(from_float).map(|float| float as u64));
    steps.ok_or_else(|| format!("expected a whole number of steps, received {number}"))
}

/// From here on, f64 doesn't hold every whole number.
const MAX_WHOLE: f64 = (1_u64 << 53) as f64;

/// Checks a number of steps that is divided by.
pub(super) fn check(option: &str, steps: u64) -> Result<()> {
    if steps == 0 { Err(Error::new(option, "1 or more", steps)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_floats_are_counts() {
        assert_eq!(deserialize(json!(100)).unwrap(), 100);
        assert_eq!(deserialize_list(json!([100.0, 7])).unwrap(), [100, 7]);
        for wrong in [json!(0.5), json!(-1), json!(1e300)] {
            let error = deserialize(wrong).unwrap_err().to_string();
            assert!(error.starts_with("expected a whole number of steps, received"), "{error}");
        }
    }
}
