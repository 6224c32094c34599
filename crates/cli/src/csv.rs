//! Writes records of CSV files.

/// A record of a CSV file (RFC 4180), without its line end.
pub(crate) fn record<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let field = |field: &str| match field.contains(['"', ',', '\n', '\r']) {
        true => quoted(field),
        false => field.to_owned(),
    };
    fields.into_iter().map(field).collect::<Vec<_>>().join(",")
}

/// The record of a photo: its path, always in quotes, and the other fields.
///
/// DuckDB looks for quotes in the first rows. Without any there, it takes those in a later row for text.
///
/// The path stays as it is, even where it starts with `=`, which a spreadsheet takes for a formula: the row must lead to its photo.
pub(crate) fn photo_record<'a>(path: &str, fields: impl IntoIterator<Item = &'a str>) -> String {
    format!("{},{}", quoted(path), record(fields))
}

/// A number with a decimal point: readers take a column that starts with whole numbers for one of integers.
pub(crate) fn number(number: f32) -> String {
    let text = number.to_string();
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text + ".0",
        false => text,
    }
}

fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
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
        assert_eq!(photo_record("a.jpg", ["b", "c, d"]), "\"a.jpg\",b,\"c, d\"");
    }

    #[test]
    fn numbers_have_a_point() {
        assert_eq!([1.0, 0.0, 0.25, 1.5e-7].map(number), ["1.0", "0.0", "0.25", "0.00000015"]);
    }
}
