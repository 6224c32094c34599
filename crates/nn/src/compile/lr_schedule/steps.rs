//! Numbers of steps in Keras' configs of schedules: reading and checking them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use crate::{Error, Result};

/// Reads a number of steps: an integer, or a float without a fraction. Python programs often compute floats such as `100.0`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<u64, D::Error> {
    to_integer(&Number::deserialize(d)?).map_err(D::Error::custom)
}

/// Reads a list of numbers of steps, each like [`deserialize`] reads one.
pub(super) fn deserialize_list<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Vec<u64>, D::Error> {
    Vec::<Number>::deserialize(d)?
        .iter()
        .map(to_integer)
        .collect::<std::result::Result<_, _>>()
        .map_err(D::Error::custom)
}

fn to_integer(number: &Number) -> std::result::Result<u64, String> {
    let from_float = |float: &f64| float.fract() == 0.0 && (0.0..MAX_EXACT).contains(float);
    let steps = number.as_u64().or_else(|| number.as_f64().filter(from_float).map(|float| float as u64));
    steps.ok_or_else(|| format!("expected a whole number of steps, received {number}"))
}

/// 2^53: f64 represents every integer below it exactly, but not every integer above.
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

/// Checks that a number of steps isn't 0, as the schedule divides by it.
pub(super) fn check(option: &str, steps: u64) -> Result<()> {
    if steps == 0 { Err(Error::new(option, "1 or more", steps)) } else { Ok(()) }
}

/// Number of decays after `iteration` steps, `iteration / decay_steps`; rounded down if `staircase`.
pub(super) fn decays(iteration: u64, decay_steps: u64, staircase: bool) -> f64 {
    let decays = iteration as f64 / decay_steps as f64;
    if staircase { decays.floor() } else { decays }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_without_a_fraction_are_numbers_of_steps() {
        assert_eq!(deserialize(json!(100)).unwrap(), 100);
        assert_eq!(deserialize_list(json!([100.0, 7])).unwrap(), [100, 7]);
        for wrong in [json!(0.5), json!(-1), json!(1e300)] {
            let error = deserialize(wrong).unwrap_err().to_string();
            assert!(error.starts_with("expected a whole number of steps, received"), "{error}");
        }
    }
}
