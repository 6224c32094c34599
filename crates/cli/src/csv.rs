//! Writes records of CSV files.

/// A record of a CSV file (RFC 4180), without its line end.
pub(crate) fn record<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let field = |field: &str| match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    };
    fields.into_iter().map(field).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(
            record(["a", "b, c", "say \"no\"", "", "two\nlines"]),
            "a,\"b, c\",\"say \"\"no\"\"\",,\"two\nlines\""
        );
    }
}
