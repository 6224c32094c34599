//! Class names in YAML: a list, or a dictionary of names and indices, alone or under a key.

use super::table::quoted_field;
use super::text::{FORMS, literal};
use super::{MAX_NAMES, excerpt, in_order, index, refused};
use crate::Result;

/// Keys under which class names are.
const KEYS: [&str; 4] = ["names:", "class_names:", "classes:", "labels:"];

/// Characters with a meaning of their own at the start of a text in YAML.
const INDICATORS: [char; 11] = ['{', '[', '}', ']', '&', '*', '!', '|', '>', '"', '\''];

/// The class names of a file of YAML. In a file of another kind, they are a list or begin with the key; otherwise `None`.
pub(super) fn names(text: &str, is_yaml: bool) -> Option<Result<Vec<String>>> {
    let is_content = |line: &&str| !matches!(line.trim(), "" | "---") && !line.trim_start().starts_with('#');
    // One name too many is refused; what follows it need not be in memory.
    let mut lines = text.lines().filter(is_content);
    let is_key = |line: &&str| KEYS.iter().any(|key| line.starts_with(key));
    let key = if is_yaml { lines.find(is_key) } else { lines.next().filter(is_key) };
    if let Some((_, value)) = key.and_then(|line| line.split_once(':')) {
        return under_key(value.trim(), lines, is_yaml);
    }
    let lines: Vec<&str> = text.lines().filter(is_content).map(str::trim).take(MAX_NAMES + 2).collect();
    if is_yaml {
        return Some(literal(&lines.join("\n")).unwrap_or_else(|| block(&lines)));
    }
    // `- name: cat` begins a dictionary, which other lines go on with.
    let is_list = match lines.first()?.strip_prefix("- ") {
        Some(item) => item.contains(": ") || lines.iter().all(|line| line.starts_with("- ")),
        None => false,
    };
    is_list.then(|| block(&lines))
}

/// The names under a key, with the text behind its colon and the lines below it.
fn under_key<'a>(value: &str, below: impl Iterator<Item = &'a str>, is_yaml: bool) -> Option<Result<Vec<String>>> {
    if value.is_empty() || value.starts_with('#') {
        let is_within = |line: &&str| line.starts_with([' ', '\t', '-']) || !is_yaml;
        let lines: Vec<&str> = below.take_while(is_within).map(str::trim).take(MAX_NAMES + 2).collect();
        return Some(block(&lines));
    }
    // `names: cat` is a name with a colon, unless the file is YAML.
    let of_literal = literal(value).or_else(|| literal(without_comment(value)));
    of_literal.or_else(|| is_yaml.then(|| Err(refused("a list of names", "a text", FORMS))))
}

/// The names of lines such as `- cat`, `0: cat` or `cat: 0`.
fn block(lines: &[&str]) -> Result<Vec<String>> {
    let items: Option<Vec<&str>> = lines.iter().map(|line| line.strip_prefix("- ")).collect();
    if let Some(items) = items.filter(|items| !items.is_empty()) {
        return items.into_iter().map(scalar).collect();
    }
    let expected = "lines such as `- cat` or `0: cat`, alone or under the key `names`";
    let refused = || refused(expected, "others", FORMS);
    let members: Option<Vec<_>> = lines.iter().map(|line| line.split_once(':')).collect();
    let members = members.filter(|members| !members.is_empty()).ok_or_else(refused)?;
    let number = |text: &str| index(without_comment(text.trim()));
    if let Some(indices) = members.iter().map(|(key, _)| number(key)).collect::<Option<Vec<_>>>() {
        let names: Vec<String> = members.iter().map(|(_, name)| scalar(name)).collect::<Result<_>>()?;
        return in_order(indices.into_iter().zip(names).collect());
    }
    let indices: Vec<usize> =
        members.iter().map(|(_, value)| number(value)).collect::<Option<_>>().ok_or_else(refused)?;
    let names: Vec<String> = members.iter().map(|(name, _)| scalar(name)).collect::<Result<_>>()?;
    in_order(indices.into_iter().zip(names).collect())
}

/// A text of YAML: what is in its quotes, or what is before a comment.
fn scalar(text: &str) -> Result<String> {
    let text = text.trim();
    if let Some((name, rest)) = quoted(text) {
        let rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(name);
        }
    }
    let name = without_comment(text);
    if name.starts_with(INDICATORS)
        || name.starts_with("- ")
        || name.starts_with("? ")
        || name.contains(": ")
        || name.ends_with(':')
    {
        let hint = "write one name an item, such as `- cat`, in the order of the model's outputs, and quote a name with a colon or \
                    bracket: `- \"a: b\"`";
        return Err(refused("a name in each item of YAML", format_args!("`{}`", excerpt(name)), hint));
    }
    Ok(name.to_owned())
}

/// A text in quotes, and what follows it. The escapes in double quotes are those of JSON.
fn quoted(text: &str) -> Option<(String, &str)> {
    if let Some(text) = text.strip_prefix('\'') {
        return quoted_field(text, '\'');
    }
    let mut json = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = json.next()?.ok()?;
    Some((name, &text[json.byte_offset()..]))
}

/// A text without the comment behind it, which begins with ` #`.
fn without_comment(text: &str) -> &str {
    let is_comment = |at: &usize| text[..*at].ends_with(char::is_whitespace);
    let end = text.match_indices('#').map(|(at, _)| at).find(is_comment).unwrap_or(text.len());
    text[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_yaml: bool) -> std::result::Result<Vec<String>, String> {
        names(text, is_yaml).unwrap().map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_marks_of_documents_are_no_names() {
        for text in [
            "- cat # tame\n- hot dog\t# wild",
            "---\n# pets\n- cat\n\n# more\n- 'hot dog' # food\n",
            "names:\n  - cat\n# more\n  - \"hot dog\" # \"food\"",
            "names: # pets\n- cat\n- hot dog",
            "names: ['cat', 'hot dog'] # pets",
        ] {
            for is_yaml in [true, false] {
                assert_eq!(read(text, is_yaml).unwrap(), ["cat", "hot dog"], "{text}");
            }
        }
        for text in [
            "0: cat # x\n1: hot dog",
            "---\nhot dog: 2 # two\ncat: 1",
            "nc: 2\nnames:\n  1: cat\n# x\n  2: 'hot dog'\ntrain: images # x",
            "# pets\n['cat',\n 'hot dog']",
        ] {
            assert_eq!(read(text, true).unwrap(), ["cat", "hot dog"], "{text}");
        }
        assert_eq!(
            read("- 'it''s'\n- \"a: \\\"b\\\"\"\n- C#\n- don't", true).unwrap(),
            ["it's", "a: \"b\"", "C#", "don't"]
        );
    }

    #[test]
    fn items_that_are_no_names_are_refused_with_what_to_write() {
        for (text, item) in [
            ("- name: cat\n- name: dog", "name: cat"),
            ("- {id: 2, name: cat}\n- {id: 1, name: dog}", "{id: 2, name: cat}"),
            ("- id: 2\n- id: 1", "id: 2"),
            ("- [cat, dog]\n- elk", "[cat, dog]"),
            ("- cat\n- name:", "name:"),
            ("- 'cat\n- dog", "'cat"),
            ("names:\n  0: {name: cat}\n  1: {name: dog}", "{name: cat}"),
        ] {
            for is_yaml in [true, false] {
                let error = read(text, is_yaml).unwrap_err();
                assert!(error.contains(&format!("received `{item}`\nhint: write one name an item")), "{text}: {error}");
            }
        }
        for text in ["path: data\ntrain: images", "- cat\ndog", "cat\ndog", "", "names:\nnc: 2"] {
            let error = read(text, true).unwrap_err();
            assert!(
                error.contains("lines such as `- cat` or `0: cat`, alone or under the key `names`"),
                "{text}: {error}"
            );
        }
        let dictionaries = "- name: cat\n  id: 0\n- name: dog\n  id: 1";
        assert!(read(dictionaries, false).unwrap_err().contains("lines such as `- cat`"));
        for text in ["- cat\ndog", "# cat\ndog", "---\ncat", "names: cat", ""] {
            assert!(names(text, false).is_none(), "{text}");
        }
    }
}
