//! Class names in a table of two columns, names and indices, as CSV or tab-separated; and the fields of a line.

use super::text::FORMS;
use super::{in_order, index, refused};
use crate::Result;

/// What may separate the fields of a line.
pub(super) const DELIMITERS: [char; 3] = [',', ';', '\t'];

/// Most columns that are parsed in a row. This bounds the memory for a row of millions of commas.
const MAX_COLUMNS: usize = 4;

/// Names of the column of names, in lowercase. pandas calls a column without a name `0`.
const HEADERS: [&str; 19] = [
    "name",
    "names",
    "class",
    "classes",
    "class_name",
    "class_names",
    "class name",
    "classname",
    "label",
    "labels",
    "label_name",
    "label name",
    "category",
    "categories",
    "species",
    "title",
    "description",
    "breed",
    "0",
];

/// The class names of a table, with or without a header; `None` for lines of another form.
pub(super) fn names(lines: &[&str]) -> Option<Result<Vec<String>>> {
    DELIMITERS.into_iter().find_map(|delimiter| Table::of(lines, delimiter)?.names())
}

/// Rows of the same number of fields, at least two.
struct Table {
    rows: Vec<Vec<String>>,
    width: usize,
    /// The columns that have an index in each row but the first, which may be a header.
    of_indices: Vec<usize>,
    /// Whether any delimiter is followed by a space. Such a comma is part of a name: `tench, Tinca tinca`.
    has_spaces: bool,
}

impl Table {
    fn of(lines: &[&str], delimiter: char) -> Option<Self> {
        let rows: Option<Vec<_>> = lines.iter().map(|line| fields(line, delimiter, MAX_COLUMNS)).collect();
        let rows = rows?;
        let width = rows.first()?.len();
        // A comma behind each name is that of a list in a program.
        let is_list = rows.iter().all(|row| row[1..].iter().all(String::is_empty));
        if width < 2 || is_list || rows.iter().any(|row| row.len() != width) {
            return None;
        }
        let body = if rows.len() > 1 { &rows[1..] } else { &rows[..] };
        let of_indices = (0..width).filter(|&column| body.iter().all(|row| index(&row[column]).is_some())).collect();
        let has_spaces = lines.iter().any(|line| line.contains(&format!("{delimiter} ")));
        Some(Self { rows, width, of_indices, has_spaces })
    }

    /// The names; `None` where the delimiter may be a part of them.
    fn names(&self) -> Option<Result<Vec<String>>> {
        match (self.width, &self.of_indices[..]) {
            (2, &[column]) => Some(self.names_beside(column)),
            (2, [_, _]) => Some(match self.rows.iter().all(|row| row[0] == row[1]) {
                true => self.names_beside(0),
                false => Err(refused("a table of names and indices", "two columns of numbers", FORMS)),
            }),
            (_, []) if self.rows.len() == 1 || self.has_spaces => None,
            (width, of_indices) => {
                let more = if width == MAX_COLUMNS { " or more" } else { "" };
                let without = if of_indices.is_empty() { " without indices" } else { "" };
                let received = format!("{width}{more} columns{without}");
                Some(Err(refused("a table of two columns, names and indices", received, FORMS)))
            }
        }
    }

    /// The names of a table whose other column has the indices.
    fn names_beside(&self, of_indices: usize) -> Result<Vec<String>> {
        let pair = |row: &Vec<String>| Some((index(&row[of_indices])?, row[1 - of_indices].clone()));
        let pairs: Vec<_> = self.rows.iter().filter_map(pair).collect();
        let first = &self.rows[0];
        if pairs.len() < self.rows.len() && !is_header(&first[1 - of_indices], &first[of_indices], &pairs) {
            return Err(refused(
                "a header such as `index,name`, or an index in each row",
                "a first row that may be a class without its index",
                "write a header with the column `name`, or give the first class its index",
            ));
        }
        in_order(pairs)
    }
}

/// Whether a first row without an index is a header. A class without its index is missed by the indices of the others: they begin at 1.
fn is_header(name: &str, index: &str, others: &[(usize, String)]) -> bool {
    let starts_at_1 = others.iter().map(|(index, _)| *index).min() == Some(1);
    HEADERS.contains(&&*name.to_lowercase()) || !index.is_empty() && !starts_at_1
}

/// The fields of a row of CSV, no more than `limit`; `None` where a quote isn't closed.
pub(super) fn fields(line: &str, delimiter: char, limit: usize) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, end) = match rest.trim_start_matches(' ').strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, '"')?,
            None => {
                let (field, end) = rest.split_at(rest.find(delimiter).unwrap_or(rest.len()));
                (field.to_owned(), end)
            }
        };
        fields.push(field.trim().to_owned());
        match end.trim_start_matches(' ').strip_prefix(delimiter) {
            Some(_) if fields.len() == limit => return Some(fields),
            Some(next) => rest = next,
            None => return end.trim().is_empty().then_some(fields),
        }
    }
}

/// A field behind its first quote, and what follows its last one. Two quotes within it stand for one.
pub(super) fn quoted_field(text: &str, quote: char) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote)?;
        field.push_str(before);
        match after.strip_prefix(quote) {
            Some(next) => rest = next,
            None => return Some((field, after)),
        }
        field.push(quote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Vec<String>, String> {
        names(&text.lines().collect::<Vec<_>>()).unwrap().map_err(|error| error.to_string())
    }

    #[test]
    fn a_header_is_no_class_and_a_class_no_header() {
        for text in [
            "index,name\n0,cat\n1,dog",
            "nummer,tier\n0,cat\n1,dog",
            "id;Class Name\n1;cat\n2;dog",
            "species,id\ncat,1\ndog,2",
            ",class\n0,cat\n1,dog",
            ",0\n0,cat\n1,dog",
            "name\t\ncat\t1\ndog\t2",
            "2,dog\n1,cat",
        ] {
            assert_eq!(read(text).unwrap(), ["cat", "dog"], "{text}");
        }
        for text in ["cat,\ncow,1\ndog,2\nelk,3", "cat,x\ncow,1\ndog,2", "cat,\ncow,0\ndog,1", ",cat\n0,cow\n1,dog"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("may be a class without its index\nhint: write a header with"), "{text}: {error}");
        }
        let error = read("index,tier\n2,cat\n3,dog").unwrap_err();
        assert!(error.contains("expected the indices 0 to 1 or 1 to 2, each once, received 2, 3\n"), "{error}");
    }

    #[test]
    fn a_long_line_is_split_in_linear_time() {
        let names: Vec<String> = (0..500_000).map(|number| format!("n{number}")).collect();
        assert_eq!(fields(&names.join(","), ',', usize::MAX).unwrap(), names);
        assert_eq!(fields(&",".repeat(4_000_000), ',', 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn quotes_hold_delimiters_and_quotes() {
        assert_eq!(fields("\"a;b\"; \"c \"\"d\"\"\" ;e", ';', 9).unwrap(), ["a;b", "c \"d\"", "e"]);
        assert_eq!(fields("a,\"b", ',', 9), None);
    }
}
