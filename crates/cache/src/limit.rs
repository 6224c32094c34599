//! The limit on the cache's size, and its text form: `2GB`, `500MiB` or `off`.

use crate::size::parse_size;

/// The limit where none is set: 2 GiB, the features of 400,000 photos with 1280 values each.
const DEFAULT_BYTES: u64 = 2 << 30;

/// The environment variable that sets the limit.
pub(crate) const VARIABLE: &str = "ENGRAFT_FEATURE_CACHE";

/// A value of `ENGRAFT_FEATURE_CACHE` that is neither a size nor `off`.
///
/// ```
/// use engraft_cache::InvalidLimit;
/// let error = InvalidLimit { received: "much".to_owned() };
/// assert!(error.to_string().starts_with("expected a size such as 2GB or 500MiB, or `off`, received `much`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 2GB or 500MiB, or `off`, received `{received}`")]
pub struct InvalidLimit {
    /// The value.
    pub received: String,
}

/// Parses a limit in bytes; `None` for `off`. An empty text is the default.
pub(crate) fn parse(text: &str) -> Result<Option<u64>, InvalidLimit> {
    match text.trim() {
        "" => Ok(Some(DEFAULT_BYTES)),
        off if off.eq_ignore_ascii_case("off") => Ok(None),
        size => parse_size(size).map(Some).ok_or_else(|| InvalidLimit { received: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_or_off() {
        for (text, bytes) in [("2GB", 2_000_000_000), ("2G", 2_000_000_000), ("1.5 GiB", 3 << 29), ("", DEFAULT_BYTES)]
        {
            assert_eq!(parse(text), Ok(Some(bytes)), "{text}");
        }
        assert_eq!([parse("off"), parse(" OFF ")], [Ok(None), Ok(None)]);
        for text in ["2", "GB", "-1GB", "nanGB", "1e30GB", "2XB", "on", "0MB"] {
            assert_eq!(parse(text), Err(InvalidLimit { received: text.to_owned() }));
        }
    }
}
