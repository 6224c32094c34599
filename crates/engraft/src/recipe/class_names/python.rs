//! Lists and dictionaries as Python prints them: translated to JSON.

use std::iter::Peekable;
use std::str::Chars;

/// A literal of Python as JSON, such as `{'cat': 0}` and `('cat', 'dog')`; `None` for another text. What is between the texts and
/// numbers isn't checked, as the parser of the JSON does it.
pub(super) fn to_json(text: &str) -> Option<String> {
    let mut json = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => json.push_str(&serde_json::to_string(&string(&mut rest, c)?).ok()?),
            '0'..='9' => number(&mut rest, c, &mut json),
            '[' | '(' => json.push('['),
            // The comma after the last element is no part of JSON.
            ']' | ')' | '}' => {
                let end = json.strip_suffix(',').map(str::len);
                json.truncate(end.unwrap_or(json.len()));
                json.push(if c == '}' { '}' } else { ']' });
            }
            '{' | ',' | ':' => json.push(c),
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    Some(json)
}

/// The rest of a text in these quotes.
fn string(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut string = String::new();
    loop {
        match rest.next()? {
            c if c == quote => return Some(string),
            '\\' => string.push(rest.next().filter(|c| matches!(c, '\\' | '\'' | '"'))?),
            '\n' => return None,
            c => string.push(c),
        }
    }
}

/// A number that begins with this digit. JSON has only texts as keys of an object.
fn number(rest: &mut Peekable<Chars<'_>>, first: char, json: &mut String) {
    let mut digits = String::from(first);
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    match rest.peek() {
        Some(':') => json.extend(["\"", &digits, "\""]),
        _ => json.push_str(&digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_json() {
        for (python, json) in [
            ("['cat', \"dog's\", ]", r#"["cat","dog's"]"#),
            ("('it\\'s',)", r#"["it's"]"#),
            ("{'cat': 0,\n 'dog': 10}", r#"{"cat":0,"dog":10}"#),
            ("{0 : 'a \"b\"'}", r#"{"0":"a \"b\""}"#),
        ] {
            assert_eq!(to_json(python).as_deref(), Some(json));
        }
        for other in ["[cat, dog]", "['cat", "['a\\x41']", "[array(['a'])]", "[-1]"] {
            assert_eq!(to_json(other), None, "{other}");
        }
    }
}
