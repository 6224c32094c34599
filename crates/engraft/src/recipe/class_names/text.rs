//! Class names in a text file: a name a line, numbered lines, a table of names and indices, YAML, or a list or dictionary of Python.

use std::collections::HashSet;

use super::python;
use super::{MAX_NAMES, names_of_json, refused};
use crate::Result;

/// The hint for a file of another form.
const FORMS: &str = "write one name a line, in the order of the model's outputs, or JSON such as [\"cat\", \"dog\"]";

/// Columns of a table that are told apart: a file may have millions, each of which takes far more memory than its comma.
const MAX_COLUMNS: usize = 4;

/// Keys of YAML under which class names are.
const KEYS: [&str; 4] = ["names:", "class_names:", "classes:", "labels:"];

/// The class names of a text. A text that could mean several things is refused.
pub(super) fn names(text: &str, is_yaml: bool) -> Result<Vec<String>> {
    if let Some(names) = literal(text).or_else(|| under_key(text, is_yaml)) {
        return names;
    }
    // One name too many is refused; what follows it need not be in memory.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_NAMES + 2);
    let lines: Vec<&str> = lines.collect();
    if let Some(names) = items(&lines) {
        return Ok(names);
    }
    if let Some(names) = single_line(&lines).or_else(|| table(&lines)).or_else(|| numbered(&lines)) {
        return names;
    }
    match is_yaml {
        true => {
            Err(refused("YAML with a list of names, such as `- cat` a line, or the key `names`", "another text", FORMS))
        }
        false => Ok(plain(&lines)),
    }
}

/// A list or dictionary of Python or JSON, also as the value of a variable.
fn literal(text: &str) -> Option<Result<Vec<String>>> {
    let text = text.trim();
    let value = match text.split_once('=') {
        Some((name, value)) if name.trim().chars().all(|c| c.is_alphanumeric() || c == '_') => value.trim_start(),
        _ => text,
    };
    let is_literal = [('[', ']'), ('(', ')'), ('{', '}')]
        .into_iter()
        .any(|(first, last)| value.starts_with(first) && value.ends_with(last));
    let refuse = || refused("a list or dictionary of names", "brackets around other text", FORMS);
    is_literal.then(|| python::to_json(value).map_or_else(|| Err(refuse()), |json| names_of_json(&json)))
}

/// The names under a key of YAML, which has to be the first line in other files.
fn under_key(text: &str, is_yaml: bool) -> Option<Result<Vec<String>>> {
    let mut lines = text.lines().filter(|line| !matches!(line.trim(), "" | "---"));
    let is_key = |line: &str| KEYS.iter().any(|key| line.starts_with(key));
    let first = if is_yaml { lines.find(|line| is_key(line)) } else { lines.next().filter(|line| is_key(line)) }?;
    let (_, value) = first.split_once(':')?;
    if !value.trim().is_empty() {
        // `names: cat` is a name with a colon, unless the file is YAML.
        return literal(value).or_else(|| is_yaml.then(|| Err(refused("a list of names", "a text", FORMS))));
    }
    let block = lines.take_while(|line| line.starts_with([' ', '\t', '-']) || !is_yaml).map(str::trim);
    let block: Vec<&str> = block.filter(|line| !line.starts_with('#')).take(MAX_NAMES + 1).collect();
    let names = items(&block).map(Ok).or_else(|| numbered(&block));
    Some(names.unwrap_or_else(|| Err(refused("lines such as `- cat` or `0: cat` under the key", "others", FORMS))))
}

/// The items of a list in YAML.
fn items(lines: &[&str]) -> Option<Vec<String>> {
    let items = lines.iter().map(|line| line.strip_prefix("- ").map(|item| unquoted(item.trim()).to_owned()));
    items.collect::<Option<Vec<_>>>().filter(|items| !items.is_empty())
}

/// Names separated by commas, in a file of a single line.
fn single_line(lines: &[&str]) -> Option<Result<Vec<String>>> {
    let &[line] = lines else { return None };
    let names = fields(line, ',', MAX_NAMES + 1).filter(|names| names.len() > 1)?;
    let indices = names.iter().filter(|name| index(name).is_some()).count();
    // `0,cat` is a row of a table.
    (indices == 0 || indices == names.len()).then_some(Ok(names))
}

/// A table of two columns, names and indices in either order, with or without a header.
fn table(lines: &[&str]) -> Option<Result<Vec<String>>> {
    [',', ';', '\t'].into_iter().find_map(|delimiter| {
        let rows = lines.iter().map(|line| fields(line, delimiter, MAX_COLUMNS).filter(|fields| fields.len() > 1));
        let rows: Vec<Vec<String>> = rows.collect::<Option<_>>().filter(|rows: &Vec<_>| !rows.is_empty())?;
        // A comma behind each name, as in a list of a program.
        if rows.iter().all(|row| row[1..].iter().all(String::is_empty)) {
            return None;
        }
        let width = rows[0].len();
        let is_uniform = rows.iter().all(|row| row.len() == width);
        let is_index = |row: &[String], column: usize| index(&row[column]).is_some();
        let body = if rows.len() > 1 { &rows[1..] } else { &rows[..] };
        let of_indices: Vec<usize> = match is_uniform {
            true => (0..width).filter(|&column| body.iter().all(|row| is_index(row, column))).collect(),
            false => Vec::new(),
        };
        match (width, &of_indices[..]) {
            (2, &[column]) => Some(column_of_names(&rows, column)),
            (2, [_, _]) => Some(match rows.iter().all(|row| row[0] == row[1]) {
                true => column_of_names(&rows, 0),
                false => Err(refused("a table of names and indices", "two columns of numbers", FORMS)),
            }),
            // A comma is part of a name such as `tench, Tinca tinca`.
            (_, [])
                if !is_uniform
                    || rows.len() == 1
                    || lines.iter().any(|line| line.contains(&format!("{delimiter} "))) =>
            {
                None
            }
            (width, _) => {
                let more = if width == MAX_COLUMNS { " or more" } else { "" };
                let without = if of_indices.is_empty() { " without indices" } else { "" };
                let received = format!("{width}{more} columns{without}");
                Some(Err(refused("a table of two columns, names and indices", received, FORMS)))
            }
        }
    })
}

/// The names of a table whose other column has the indices.
fn column_of_names(rows: &[Vec<String>], of_indices: usize) -> Result<Vec<String>> {
    let is_header = |row: &[String]| index(&row[of_indices]).is_none();
    let body = if rows.first().is_some_and(|row| is_header(row)) { &rows[1..] } else { rows };
    let pairs = body.iter().filter_map(|row| Some((index(&row[of_indices])?, row[1 - of_indices].clone())));
    in_order(pairs.collect())
}

/// Lines that begin with the index of the class, as in `0 cat` and `0: cat`, or end in it, as in `cat: 0`.
fn numbered(lines: &[&str]) -> Option<Result<Vec<String>>> {
    let first = lines.iter().map(|line| {
        let (number, name) = line.split_once(|c: char| c == ':' || c.is_whitespace())?;
        Some((index(number)?, unquoted(name.trim()).to_owned())).filter(|(_, name)| !name.is_empty())
    });
    if let Some(pairs) = first.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty()) {
        let mut numbers: Vec<usize> = pairs.iter().map(|(number, _)| *number).collect();
        let is_in_order = numbers.is_sorted();
        numbers.sort_unstable();
        if numbers[0] == 0 || lines.iter().all(|line| line.contains(':')) {
            return Some(in_order(pairs));
        }
        // Numbers that begin elsewhere may belong to the names: `5 cent`, `10 cent`. From 1 on they may be both, in the same order.
        return match numbers.iter().copied().eq(1..=numbers.len()) && !is_in_order {
            true => {
                Some(Err(refused("lines in the order of their numbers, or numbers from 0", "numbers from 1", FORMS)))
            }
            false => None,
        };
    }
    let last = lines.iter().map(|line| {
        let (name, number) = line.rsplit_once(|c: char| c == ':' || c.is_whitespace())?;
        Some((index(number)?, unquoted(name.trim_end_matches(':').trim()).to_owned()))
    });
    let pairs = last.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty())?;
    let (names, mut numbers): (HashSet<&str>, Vec<usize>) =
        (pairs.iter().map(|(_, name)| name.as_str()).collect(), pairs.iter().map(|(number, _)| *number).collect());
    numbers.sort_unstable();
    // The number is part of the name in `class 0`, `class 1`.
    if names.len() < pairs.len() || !numbers.into_iter().eq(0..pairs.len()) {
        return None;
    }
    Some(match lines.iter().all(|line| line.contains(':')) {
        true => in_order(pairs),
        false => {
            Err(refused("names without their indices, or `cat: 0`", "names that end in the numbers from 0", FORMS))
        }
    })
}

/// The names in the order of their indices, which have to be 0, 1, … or 1, 2, ….
fn in_order(mut pairs: Vec<(usize, String)>) -> Result<Vec<String>> {
    pairs.sort_by_key(|(number, _)| *number);
    let expected = format!("the indices 0 to {}, each once", pairs.len().saturating_sub(1));
    let numbers = || pairs.iter().map(|(number, _)| *number);
    match numbers().eq(0..pairs.len()) || numbers().eq(1..=pairs.len()) {
        true => Ok(pairs.into_iter().map(|(_, name)| name).collect()),
        false => {
            let numbers = numbers().take(3).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
            Err(refused(
                expected,
                format!("{numbers}, …"),
                "number the classes from 0 in the order of the model's outputs, or leave the numbers out; names that begin with a \
                 number go into JSON: [\"1 cent\", \"2 cent\"]",
            ))
        }
    }
}

/// Names as they are, but for quotes around each of them and a comma behind each.
fn plain(lines: &[&str]) -> Vec<String> {
    let (last, others) = lines.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
    let has_commas = !others.is_empty() && others.iter().all(|line| line.ends_with(','));
    let names = others.iter().chain([&last]).map(|line| if has_commas { line.trim_end_matches(',') } else { line });
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let are_quoted = names.iter().all(|name| unquoted(name).len() < name.len());
    names.into_iter().map(|name| if are_quoted { unquoted(name) } else { name }.to_owned()).collect()
}

/// A text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).filter(|within| !within.contains(quote));
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

fn index(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The fields of a row of CSV, no more than `limit`; `None` where a quote isn't closed.
fn fields(line: &str, delimiter: char, limit: usize) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, end) = match rest.trim_start_matches(' ').strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => rest.find(delimiter).map_or((rest.to_owned(), ""), |at| (rest[..at].to_owned(), &rest[at..])),
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
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => rest = next,
            None => return Some((field, after)),
        }
        field.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Vec<String>, String> {
        names(text, false).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_that_means_one_thing_is_read() {
        for text in [
            "cat\nhot dog\n",
            "0 cat\n1 hot dog",
            "1 hot dog\n0 cat",
            "0: cat\n1: hot dog",
            "2: hot dog\n1: cat",
            "1,cat\n2,hot dog",
            "0\tcat\n1\thot dog",
            "0,cat\n1,hot dog",
            "0;cat\n1;hot dog",
            "0, \"cat\"\n1, \"hot dog\"",
            "1,hot dog\n0,cat",
            "cat,0\nhot dog,1",
            "hot dog\t1\ncat\t0",
            "cat: 0\nhot dog: 1",
            "index,name\n0,cat\n1,hot dog",
            "class,idx\ncat,0\nhot dog,1",
            ",class\n0,cat\n1,hot dog",
            "cat,hot dog",
            "\"cat\", \"hot dog\"\n",
            "['cat', 'hot dog']",
            "class_names = [\n    'cat',\n    'hot dog',\n]",
            "('cat', 'hot dog')",
            "{'hot dog': 1, 'cat': 0}",
            "{1: 'hot dog', 0: 'cat'}",
            "[\"cat\", \"hot dog\"]",
            "- cat\n- hot dog",
            "- 'cat'\n- \"hot dog\"",
            "names:\n- cat\n- hot dog",
            "names:\n  0: cat\n  1: hot dog\n",
            "names: ['cat', 'hot dog']",
            "'cat',\n'hot dog',\n",
            "\"cat\"\n\"hot dog\"",
            "cat,\nhot dog",
        ] {
            assert_eq!(read(text).unwrap(), ["cat", "hot dog"], "{text}");
        }
        let yolo = "path: data\nnc: 2\nnames:\n  0: cat\n  1: hot dog\ntrain: images\n";
        assert_eq!(names(yolo, true).unwrap(), ["cat", "hot dog"]);
        assert_eq!(read("0,\"a, b\"\n1,\"c \"\"d\"\"\"").unwrap(), ["a, b", "c \"d\""]);
    }

    #[test]
    fn numbers_and_commas_of_names_stay() {
        for names in [
            &["tench, Tinca tinca", "goldfish, Carassius auratus"][..],
            &["tench, Tinca tinca", "cock", "great white shark, white shark, man-eater"],
            &["1 cent", "2 cent", "5 cent"],
            &["1 cent", "2 cents"],
            &["class 0", "class 1"],
            &["0", "1", "2"],
            &["n01440764 tench", "n01443537 goldfish"],
            &["ratio 1:2", "0: b"],
            &["it's", "'80s"],
            &["- ", "cat"],
        ] {
            let trimmed: Vec<&str> = names.iter().map(|name| name.trim()).collect();
            assert_eq!(read(&names.join("\n")).unwrap(), trimmed);
        }
    }

    #[test]
    fn what_means_several_things_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("2 dog\n1 cat", "expected lines in the order of their numbers"),
            ("2,cat\n3,dog", "expected the indices 0 to 1, each once, received 2, 3, …"),
            ("0 cat\n0 dog", "expected the indices 0 to 1, each once, received 0, 0, …"),
            ("0 cat\n1 dog\n3 bird", "expected the indices 0 to 2, each once"),
            ("0,1\n1,0", "two columns of numbers"),
            ("0,cat,animal\n1,car,thing", "received 3 columns"),
            ("cat,animal\ncar,thing", "received 2 columns without indices"),
            ("0,a,b,c,d\n1,a,b,c,d", "received 4 or more columns"),
            ("id,name,group\n0,cat,a\n1,dog,b", "received 3 columns"),
            ("cat 0\ndog 1", "names that end in the numbers from 0"),
            ("['cat' 'dog']", "class names"),
            ("[cat, dog]", "brackets around other text"),
            ("{'cat', 'dog'}", "class names"),
            ("names:\ncat\ndog", "lines such as `- cat`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("\nhint: "), "{text}: {error}");
        }
        let error = names("path: data\ntrain: images\n", true).unwrap_err().to_string();
        assert!(error.contains("the key `names`"), "{error}");
    }
}
