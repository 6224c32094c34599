//! Names that differ only in their Unicode normalization: `é` as one character (NFC), or as `e` and an accent (NFD).
//!
//! Both look the same. macOS writes the names of files in NFD; other systems and most programs write NFC.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A name in Unicode Normalization Form C (Unicode Standard Annex 15): equal for names that look the same.
///
/// ```
/// use engraft_data::normalized;
/// assert_eq!(normalized("cafe\u{301}"), "caf\u{e9}");
/// assert_eq!(normalized("caf\u{e9}"), "caf\u{e9}");
/// assert_ne!(normalized("Cafe"), normalized("cafe"));
/// ```
pub fn normalized(name: &str) -> Cow<'_, str> {
    match is_nfc_quick(name.chars()) {
        IsNormalized::Yes => Cow::Borrowed(name),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(name.nfc().collect()),
    }
}

/// The position of `name` in `names`: that of the same name or, without one, of a name with another normalization.
pub(crate) fn position(names: &[String], name: &str) -> Option<usize> {
    let same = names.iter().position(|other| other == name);
    same.or_else(|| names.iter().position(|other| normalized(other) == normalized(name)))
}

/// The [`position`] of each of `others` in `names`, in time that grows with their number.
pub(crate) fn positions(names: &[String], others: &[String]) -> Vec<Option<usize>> {
    let index = |key: fn(&str) -> String| {
        let mut index = std::collections::HashMap::new();
        for (at, name) in names.iter().enumerate() {
            index.entry(key(name)).or_insert(at);
        }
        index
    };
    let (same, similar) = (index(str::to_owned), index(normalized_name));
    let find = |name: &String| same.get(name).or_else(|| similar.get(&normalized_name(name))).copied();
    others.iter().map(find).collect()
}

fn normalized_name(name: &str) -> String {
    normalized(name).into_owned()
}

/// Two names that differ only in their normalization, the earlier one first; `None` if all differ otherwise.
pub(crate) fn twins<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut seen = std::collections::HashMap::new();
    names.into_iter().find_map(|name| seen.insert(normalized(name), name).map(|other| (other, name)))
}

/// A name with its characters outside ASCII as escapes, to tell names apart that look the same.
pub(crate) fn escaped(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii() { letter.to_string() } else { letter.escape_unicode().to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_normalization_the_same_one_first() {
        let names = ["cafe\u{301}", "caf\u{e9}", "a\u{30a}ngstrom"].map(str::to_owned);
        assert_eq!(position(&names, "caf\u{e9}"), Some(1));
        assert_eq!(position(&names, "\u{e5}ngstrom"), Some(2));
        assert_eq!(position(&names, "cafe"), None);
        // Hangul: a syllable and its parts.
        assert_eq!(normalized("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}");
    }

    #[test]
    fn twins_look_the_same() {
        assert_eq!(twins(["a", "cafe\u{301}", "b", "caf\u{e9}"]), Some(("cafe\u{301}", "caf\u{e9}")));
        assert_eq!(twins(["cafe", "Cafe", "caf\u{e9}"]), None);
        assert_eq!(escaped("cafe\u{301}"), "cafe\\u{301}");
    }

    #[test]
    fn positions_are_those_of_each_name_alone() {
        let names = ["b", "caf\u{e9}", "cafe\u{301}", "a", "b"].map(str::to_owned);
        let others = ["a", "cafe\u{301}", "caf\u{e9}", "b", "c", "e\u{301}"].map(str::to_owned);
        let expected: Vec<Option<usize>> = others.iter().map(|other| position(&names, other)).collect();
        assert_eq!(positions(&names, &others), expected);
        assert_eq!(expected, [Some(3), Some(2), Some(1), Some(0), None, None]);
    }
}
