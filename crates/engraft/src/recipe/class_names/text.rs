//! Class names in a text file: a name a line, numbered lines, a table of names and indices, YAML, or a list or dictionary of Python.

use std::collections::HashSet;

use super::table::{self, DELIMITERS, fields};
use super::{MAX_NAMES, are_indices, in_order, index, names_of_json, python, refused, yaml};
use crate::Result;

/// The hint for a file of another form.
pub(super) const FORMS: &str =
    "write one name a line, in the order of the model's outputs, or JSON such as [\"cat\", \"dog\"]";

/// The class names of a text. A text that could mean several things is refused.
pub(super) fn names(text: &str, is_yaml: bool) -> Result<Vec<String>> {
    if let Some(names) = literal(text).or_else(|| yaml::names(text, is_yaml)) {
        return names;
    }
    // One name too many is refused; what follows it need not be in memory.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_NAMES + 2);
    let lines: Vec<&str> = lines.collect();
    let names = single_line(&lines).or_else(|| table::names(&lines)).or_else(|| numbered(&lines));
    names.unwrap_or_else(|| Ok(plain(&lines)))
}

/// A list or dictionary of Python or JSON, also as the value of a variable.
pub(super) fn literal(text: &str) -> Option<Result<Vec<String>>> {
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

/// Names separated by commas, semicolons or tabs, in a file of a single line.
fn single_line(lines: &[&str]) -> Option<Result<Vec<String>>> {
    let &[line] = lines else { return None };
    let names = DELIMITERS.into_iter().filter_map(|delimiter| fields(line, delimiter, MAX_NAMES + 1));
    let mut names = names.filter(|names| names.len() > 1);
    let (names, others) = (names.next()?, names.next());
    let indices = names.iter().filter(|name| index(name).is_some()).count();
    match others {
        Some(_) => Some(Err(refused("names separated by one character", "commas, semicolons or tabs at once", FORMS))),
        // `0,cat` is a row of a table.
        None => (indices == 0 || indices == names.len()).then_some(Ok(names)),
    }
}

/// Lines that begin with the index of the class, as in `0 cat` and `0: cat`, or end in it, as in `cat: 0`.
fn numbered(lines: &[&str]) -> Option<Result<Vec<String>>> {
    numbered_first(lines).or_else(|| numbered_last(lines))
}

fn numbered_first(lines: &[&str]) -> Option<Result<Vec<String>>> {
    let pairs = lines.iter().map(|line| {
        let (number, name) = line.split_at(line.find(|c: char| c == ':' || c.is_whitespace())?);
        let name = name.trim_start();
        Some((index(number)?, name.strip_prefix(':'), name))
    });
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    let has_colons = pairs.iter().all(|(_, behind_colon, _)| behind_colon.is_some());
    let pairs =
        pairs.into_iter().map(|(number, behind_colon, name)| (number, unquoted(behind_colon.unwrap_or(name).trim())));
    let pairs: Vec<(usize, String)> = pairs.map(|(number, name)| (number, name.to_owned())).collect();
    if pairs.is_empty() || pairs.iter().any(|(_, name)| name.is_empty()) {
        return None;
    }
    let mut numbers: Vec<usize> = pairs.iter().map(|(number, _)| *number).collect();
    let is_in_order = numbers.is_sorted();
    numbers.sort_unstable();
    if numbers[0] == 0 || has_colons {
        return Some(in_order(pairs));
    }
    // Numbers that don't begin at 0 or 1 are part of the names: `5 cent`, `10 cent`. `1 cat`, `2 dog` can be names or indices; in
    // ascending order both readings give the same classes.
    let refuse = || refused("lines in the order of their numbers, or numbers from 0", "numbers from 1", FORMS);
    (are_indices(&numbers) && !is_in_order).then(|| Err(refuse()))
}

fn numbered_last(lines: &[&str]) -> Option<Result<Vec<String>>> {
    let pairs = lines.iter().map(|line| {
        let (name, number) = line.split_at(line.rfind(|c: char| c == ':' || c.is_whitespace())?);
        let separator = number.chars().next()?;
        let index = index(&number[separator.len_utf8()..])?;
        let has_colon = separator == ':' || name.trim_end().ends_with(':');
        let name = name.trim_end();
        Some((index, has_colon, unquoted(name.strip_suffix(':').unwrap_or(name).trim_end())))
    });
    let pairs: Vec<_> = pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty())?;
    let names: HashSet<&str> = pairs.iter().map(|(_, _, name)| *name).collect();
    let has_colons = pairs.iter().all(|(_, has_colon, _)| *has_colon);
    let mut numbers: Vec<usize> = pairs.iter().map(|(number, ..)| *number).collect();
    numbers.sort_unstable();
    // The number is part of the name in `class 0`, `class 1`, and may be in `cat 1`, `dog 2`.
    if names.len() < pairs.len() || !are_indices(&numbers) || numbers[0] == 1 && !has_colons {
        return None;
    }
    Some(match has_colons {
        true => in_order(pairs.into_iter().map(|(number, _, name)| (number, name.to_owned())).collect()),
        false => {
            Err(refused("names without their indices, or `cat: 0`", "names that end in the numbers from 0", FORMS))
        }
    })
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
            "0 : cat\n1 : hot dog",
            "2: hot dog\n1: cat",
            "2 : hot dog\n1 : cat",
            "hot dog : 2\ncat : 1",
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
            "cat;hot dog",
            "cat\thot dog",
            "\"cat\", \"hot dog\"\n",
            "['cat', 'hot dog']",
            "class_names = [\n    'cat',\n    'hot dog',\n]",
            "('cat', 'hot dog')",
            "{'hot dog': 1, 'cat': 0}",
            "{1: 'hot dog', 0: 'cat'}",
            "{1: 'cat', 2: 'hot dog'}",
            "{'hot dog': 2, 'cat': 1}",
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
            &["1 ratio 1:2", "2 ratio 1:3"],
            &["cat 1", "dog 2"],
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
            ("2,cat\n3,dog", "expected the indices 0 to 1 or 1 to 2, each once, received 2, 3\n"),
            ("0 cat\n0 dog", "expected the indices 0 to 1 or 1 to 2, each once, received 0, 0\n"),
            ("0 cat\n1 dog\n3 bird", "expected the indices 0 to 2 or 1 to 3, each once, received 0, 1, 3\n"),
            ("a, b; c, d", "commas, semicolons or tabs at once"),
            ("cat,\ncow,1\ndog,2\nelk,3", "may be a class without its index"),
            ("- {id: 2, name: cat}\n- {id: 1, name: dog}", "received `{id: 2, name: cat}`"),
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
