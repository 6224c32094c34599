//! JSON parsing with a limit on the number of values, against files that would exhaust memory.

use engraft_nn::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

/// Limit on the number of values in a text; the config of a model of 1,000 layers has about 55,000.
///
/// A value may take only two bytes of text, and almost none when compressed, but takes 100 bytes or more in memory. So a limit
/// on the file's length would not limit the memory.
const MAX_VALUES: usize = 1 << 18;

/// Parses JSON text from a file into a value. `place` is the name of the text in errors.
///
/// ```
/// let classes: Vec<String> = engraft_formats::json::parse("class_names", br#"["cat", "dog"]"#)?;
/// assert_eq!(classes, ["cat", "dog"]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// The text isn't JSON, doesn't match `T`, or has more than 262,144 values.
pub fn parse<T: DeserializeOwned>(place: &str, text: &[u8]) -> Result<T> {
    let values = count(text);
    if values > MAX_VALUES {
        return Err(Error::new(place, format_args!("at most {MAX_VALUES} values"), values)
            .with_kind(ErrorKind::InvalidData)
            .hint("no model has so many; do you trust the source of this file?"));
    }
    serde_json::from_slice(text).map_err(|error| Error::from_source(place, error).with_kind(ErrorKind::InvalidData))
}

/// An upper bound on the number of JSON values in a text, valid or not.
///
/// Each value is the document itself, the first of an array or object, or follows a comma.
fn count(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' | b',' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_counted_and_texts_are_not_looked_into() {
        for (text, expected) in
            [("0", 1), ("[0, [1], {\"a\": 2, \"b\": [3, 4]}]", 9), (r#"["[,{", "\"[,", "\\", 0]"#, 5), ("", 1)]
        {
            assert_eq!(count(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn too_many_are_refused_by_name() {
        let text = |values: usize| format!("[{}]", vec!["0"; values - 1].join(","));
        assert!(parse::<Value>("config.json", text(MAX_VALUES).as_bytes()).is_ok());
        let error = parse::<Value>("config.json", text(MAX_VALUES + 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("config.json: expected at most 262144 values, received 262145\nhint: "), "{error}");
    }
}
