//! Class names in a file of their own: beside a model that has none, or given by the caller.

mod python;
mod table;
mod text;
mod yaml;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::formats::json;
use crate::{Error, ErrorKind, Result};

/// Limit on the bytes of a file of class names.
const MAX_BYTES: u64 = 4 << 20;

/// Limit on the number of names, so that a file of short lines takes little memory. ImageNet-21k has 21,843 classes.
const MAX_NAMES: usize = 1 << 17;

/// Names of files that hold class names, beside a model. `class_indices.json` is the dictionary of Keras' `flow_from_directory`.
const FILES: [&str; 5] = ["labels.txt", "class_names.txt", "class_names.json", "classes.txt", "class_indices.json"];

/// The hint for a JSON file of another form.
const FORMS: &str = r#"JSON of class names is ["cat", "dog"], {"class_names": ["cat", "dog"]}, {"cat": 0, "dog": 1} or {"0": "cat", "1": "dog"}"#;

/// Class names in the order of a model's outputs, and the file that they come from.
///
/// ```
/// use engraft::recipe::ClassNames;
/// let folder = tempfile::tempdir()?;
/// let model = folder.path().join("pets.keras");
/// assert!(ClassNames::beside(&model)?.is_none());
/// std::fs::write(folder.path().join("class_indices.json"), r#"{"dog": 1, "cat": 0}"#)?;
/// let found = ClassNames::beside(&model)?.expect("a file of class names");
/// assert_eq!(found.names, ["cat", "dog"]);
/// assert_eq!(found.file, folder.path().join("class_indices.json"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNames {
    /// The name of each class.
    pub names: Vec<String>,
    /// The file.
    pub file: PathBuf,
}

impl ClassNames {
    /// The class names beside a model file: in `MODEL.labels.txt` (`pets.labels.txt` for `pets.keras`), else in `labels.txt`,
    /// `class_names.txt`, `class_names.json`, `classes.txt` or `class_indices.json` of its folder. `None` without such a file.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn beside(model: &Path) -> Result<Option<Self>> {
        let own = model.with_extension("labels.txt");
        let others = FILES.into_iter().map(|name| model.with_file_name(name));
        std::iter::once(own).chain(others).find(|file| file.is_file()).map(|file| Self::read(&file)).transpose()
    }

    /// Reads class names: a `.json` file with a list of names, alone or as `class_names` or `classes` of an object, or a dictionary of
    /// names and indices in either direction; any other file is text.
    ///
    /// Text is a name a line. A line may begin with the index of its class: `0 cat`, as Teachable Machine writes it, `0: cat` or
    /// `0,cat`. A table of two columns, with or without a header, may have the index last. Names separated by commas, semicolons or tabs
    /// in a single line, a list or dictionary as Python prints it, and a list of YAML or its key `names` are read, too.
    ///
    /// Indices count from 0, or from 1 in tables, dictionaries and lines such as `1: cat`; each is there once, in any order. Lines such
    /// as `1 cat` in ascending order keep their number, as it may be part of the name. In another order they are refused.
    ///
    /// ```
    /// use engraft::recipe::ClassNames;
    /// let folder = tempfile::tempdir()?;
    /// let file = folder.path().join("labels.txt");
    /// std::fs::write(&file, "0 cat\n1 hot dog\n")?;
    /// assert_eq!(ClassNames::read(&file)?.names, ["cat", "hot dog"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file can't be read, is larger than 4 MiB, or isn't UTF-8; it has no names, more than 131,072, an empty one, or one twice; or
    /// indices other than 0, 1, … or 1, 2, …. A `.json` file isn't JSON, or has another form. A text could mean several things, such as a
    /// first row of a table that is a header or a class without its index.
    pub fn read(file: &Path) -> Result<Self> {
        let names = || {
            let text = content(file)?;
            let is = |name: &str| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(name));
            check(if is("json") { names_of_json(&text)? } else { text::names(&text, is("yaml") || is("yml"))? })
        };
        let names = names().map_err(|error| error.within(file.display()))?;
        Ok(Self { names, file: file.to_owned() })
    }
}

/// Checks that there are names, not too many, and that they differ.
pub(super) fn check(names: Vec<String>) -> Result<Vec<String>> {
    let refused = |received| {
        let error = Error::new("class names", "names that differ", received).with_kind(ErrorKind::InvalidData);
        error.hint("give each class a name of its own, in the order of the model's outputs")
    };
    if names.len() > MAX_NAMES {
        return Err(Error::new("class names", format_args!("at most {MAX_NAMES} names"), "more")
            .with_kind(ErrorKind::InvalidData)
            .hint("a file of class names has one name for each output of the model"));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        _ if names.is_empty() => Err(refused("none".to_owned())),
        _ if seen.contains("") => Err(refused("an empty one".to_owned())),
        Some(twice) => Err(refused(format!("`{}` twice", excerpt(twice)))),
        None => Ok(names),
    }
}

/// The start of a name, which may be as long as its file.
fn excerpt(name: &str) -> String {
    const LENGTH: usize = 80;
    match name.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn content(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::from_io("class names", error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::new("class names", format_args!("at most {MAX_BYTES} bytes"), "more")
            .with_kind(ErrorKind::InvalidData)
            .hint("a file of class names has one name a line, or is JSON"));
    }
    if let Some(error) = array_of_python(file, &bytes) {
        return Err(error);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).to_vec();
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::new("class names", "text in UTF-8", format_args!("other bytes from byte {at} on"))
            .with_kind(ErrorKind::InvalidData)
            .caused_by(error)
            .hint("save the file as UTF-8")
    })
}

/// The error for a file that Python wrote in a form of its own, with how to write JSON from it.
fn array_of_python(file: &Path, bytes: &[u8]) -> Option<Error> {
    let (kind, module) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ("a NumPy file", "numpy"),
        bytes if is_pickle(bytes) => ("a pickle of Python", "pickle"),
        _ => return None,
    };
    // The escapes of JSON are those of Python, too. Those of Rust are not: `\u{301}`.
    let name = serde_json::to_string(&file.file_name().unwrap_or_default().to_string_lossy()).ok()?;
    // A dictionary stays one, as its order may not be that of the indices.
    let (read, note) = match module {
        "numpy" => (format!("numpy.load({name}, allow_pickle=True).tolist()"), ""),
        _ => (
            format!("pickle.load(open({name}, \"rb\"))"),
            " (with .tolist() behind an array, .classes_.tolist() behind a LabelEncoder)",
        ),
    };
    let hint = format!(
        "write JSON from it in Python, if you trust the file: import json, {module}; json.dump({read}, open(\"class_names.json\", \"w\")){note}"
    );
    Some(refused("a text file or JSON", kind, hint))
}

/// Whether a file is a pickle: of protocol 2 or later, or a list, dictionary or NumPy array of protocol 0 or 1. Those have no signature,
/// but no name of a class begins like them.
fn is_pickle(bytes: &[u8]) -> bool {
    let is_recent = matches!(bytes, [0x80, 2..=5, ..]);
    let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_early = match first {
        [b'(', b'l' | b'd', b'p', number @ ..] => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        [b']' | b'}', b'q', 0, ..] | b"cnumpy.core.multiarray" | b"cnumpy._core.multiarray" => true,
        _ => false,
    };
    is_recent || is_early && bytes.trim_ascii_end().ends_with(b".")
}

/// The error for a file of another form.
fn refused(expected: impl fmt::Display, received: impl fmt::Display, hint: impl fmt::Display) -> Error {
    Error::new("class names", expected, received).with_kind(ErrorKind::InvalidData).hint(hint)
}

fn names_of_json(text: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of names, or a dictionary of names and indices")]
    enum Form {
        List(Vec<String>),
        Indices(Pairs<usize>),
        Names(Pairs<String>),
        Member(ListMember),
    }
    let form = json::parse("class names", text.as_bytes()).map_err(|error| error.hint(FORMS))?;
    match form {
        Form::List(names) | Form::Member(ListMember(names)) => Ok(names),
        Form::Indices(Pairs(of_name)) => in_order(of_name.into_iter().map(|(name, index)| (index, name)).collect()),
        Form::Names(Pairs(of_index)) => {
            let received =
                |other: &str| refused(expected_indices(of_index.len()), format!("`{}`", excerpt(other)), NUMBER);
            let pairs =
                of_index.iter().map(|(text, name)| Ok((index(text).ok_or_else(|| received(text))?, name.clone())));
            in_order(pairs.collect::<Result<_>>()?)
        }
    }
}

/// The hint for other indices than the expected ones.
const NUMBER: &str = "number the classes from 0 in the order of the model's outputs, or leave the numbers out; names that begin with a \
                      number go into JSON: [\"1 cent\", \"2 cent\"]";

/// The index that a text consists of.
fn index(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the indices of this many classes have to be.
fn expected_indices(count: usize) -> String {
    format!("the indices 0 to {} or 1 to {count}, each once", count.saturating_sub(1))
}

/// Whether ascending indices are 0, 1, … or 1, 2, ….
fn are_indices(ascending: &[usize]) -> bool {
    let first = ascending.first().map_or(0, |first| *first.min(&1));
    ascending.iter().copied().eq(first..first + ascending.len())
}

/// The names in the order of their indices, which have to be 0, 1, … or 1, 2, ….
fn in_order(mut pairs: Vec<(usize, String)>) -> Result<Vec<String>> {
    pairs.sort_by_key(|(index, _)| *index);
    let indices: Vec<usize> = pairs.iter().map(|(index, _)| *index).collect();
    if are_indices(&indices) {
        return Ok(pairs.into_iter().map(|(_, name)| name).collect());
    }
    let start = indices.iter().take(3).map(usize::to_string).collect::<Vec<_>>().join(", ");
    let more = if indices.len() > 3 { ", …" } else { "" };
    Err(refused(expected_indices(indices.len()), format_args!("{start}{more}"), NUMBER))
}

/// The list of names that is the member `class_names` or `classes` of a JSON object.
#[derive(Deserialize)]
#[serde(try_from = "Pairs<Value>")]
struct ListMember(Vec<String>);

impl TryFrom<Pairs<Value>> for ListMember {
    type Error = &'static str;

    fn try_from(Pairs(members): Pairs<Value>) -> std::result::Result<Self, Self::Error> {
        let mut lists = members.into_iter().filter(|(name, _)| matches!(name.as_str(), "class_names" | "classes"));
        match (lists.next(), lists.next()) {
            (Some((_, list)), None) => Vec::deserialize(list).map(Self).map_err(|_| "no list of names"),
            _ => Err("no list of names, or several"),
        }
    }
}

/// The members of a JSON object in their order. A map would drop one of two members of the same name.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> std::result::Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        ClassNames::read(&file).map(|found| found.names).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read() {
        for (name, text) in [
            ("labels.txt", "cat\r\nhot dog\r\n\r\n"),
            ("labels.txt", "\u{feff}cat\nhot dog"),
            ("labels.txt", "0 cat\n1 hot dog"),
            ("labels.txt", "0: cat\n1: hot dog"),
            ("labels.txt", "0:cat\n1:hot dog"),
            ("a.json", r#"["cat", "hot dog"]"#),
            ("a.json", r#"{"class_names": ["cat", "hot dog"]}"#),
            ("a.json", r#"{"version": 2, "classes": ["cat", "hot dog"]}"#),
            ("a.JSON", r#"{"hot dog": 1, "cat": 0}"#),
            ("a.json", r#"{"1": "hot dog", "0": "cat"}"#),
            ("a.json", r#"{"2": "hot dog", "1": "cat"}"#),
            ("a.json", r#"{"cat": 1, "hot dog": 2}"#),
        ] {
            assert_eq!(read(name, text).unwrap(), ["cat", "hot dog"], "{text}");
        }
        assert_eq!(read("labels.txt", "1 cat\n0 dog").unwrap(), ["dog", "cat"], "in the order of the indices");
        assert_eq!(read("labels.yaml", "names:\n  0: cat\n  1: dog\n").unwrap(), ["cat", "dog"]);
        assert_eq!(read("labels.txt", "ratio 1:2\n0: b").unwrap(), ["ratio 1:2", "0: b"], "no index in the first line");
        assert_eq!(read("a.json", r#"{"class_names": 0, "classes": 1}"#).unwrap(), ["class_names", "classes"]);
    }

    #[test]
    fn what_names_no_classes_is_refused() {
        for (name, text, expected) in [
            ("labels.txt", " \n", "expected names that differ, received none"),
            ("labels.txt", "cat\ncat\n", "received `cat` twice"),
            ("a.json", r#"{"cat": 0, "dog": 2}"#, "expected the indices 0 to 1 or 1 to 2, each once, received 0, 2\n"),
            ("a.json", r#"{"cat": 2, "dog": 3}"#, "expected the indices 0 to 1 or 1 to 2, each once, received 2, 3\n"),
            ("a.json", r#"{"a": 1, "b": 2, "c": 3, "d": 5}"#, "0 to 3 or 1 to 4, each once, received 1, 2, 3, …\n"),
            ("a.json", r#"{"cat": 0, "dog": 0}"#, "expected the indices 0 to 1"),
            ("a.json", r#"{"x": "cat", "0": "dog"}"#, "expected the indices 0 to 1 or 1 to 2, each once, received `x`"),
            ("a.json", r#"{"+1": "cat", "2": "dog"}"#, "received `+1`"),
            ("a.json", r#"{"cat": 0, "dog": 1, "cat": 0}"#, "expected the indices 0 to 2"),
            ("a.json", r#"{"cat": 0, "dog": 1, "cat": 2}"#, "received `cat` twice"),
            ("a.json", r#"{"0": "cat", "1": "cat"}"#, "received `cat` twice"),
            ("a.json", r#"["cat", ""]"#, "expected names that differ, received an empty one"),
            ("a.json", r#"["cat", 7]"#, "a list of names, or a dictionary"),
            ("a.json", "{}", "received none"),
            ("a.json", "7", "a list of names, or a dictionary"),
            ("a.json", r#"{"cat": 1e99, "dog": -1}"#, "a list of names, or a dictionary"),
            ("a.json", r#"{"cat": "dog", "n": 1}"#, "a list of names, or a dictionary"),
            ("a.json", "[", "class names"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(expected) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn json_of_another_form_is_refused_with_the_forms_that_are_read() {
        for text in [
            r#"[{"id": 0, "name": "cat"}]"#,
            r#"{"class_names": ["cat"], "classes": ["dog"]}"#,
            r#"{"class_names": ["cat", 7]}"#,
            r#"[["cat", "dog"]]"#,
            r#"["cat", "dog""#,
            "cat, dog",
            "7",
        ] {
            let error = read("a.json", text).unwrap_err();
            assert!(error.ends_with(&format!("\nhint: {FORMS}")), "{error}");
        }
    }

    #[test]
    fn hostile_files_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            let error = ClassNames::read(&file).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("class names") && error.len() < 1000, "{error}");
            error
        };
        let lines: String = (0..=MAX_NAMES).map(|name| format!("{name}\n")).collect();
        for (name, bytes, expected) in [
            ("labels.txt", b"cat\n\xff\xfe".to_vec(), "text in UTF-8, received other bytes from byte 4 on\nhint: save"),
            ("labels.txt", "cat\n".encode_utf16().flat_map(u16::to_le_bytes).chain([0xff]).collect(), "text in UTF-8"),
            ("labels.txt", vec![b'a'; MAX_BYTES as usize + 1], "expected at most 4194304 bytes, received more\nhint: "),
            ("labels.txt", lines.into_bytes(), "expected at most 131072 names, received more\nhint: "),
            ("labels.txt", ["a".repeat(100_000), "a".repeat(100_000)].join("\n").into_bytes(), "a…` twice"),
            ("labels.txt", ["[".repeat(1 << 20), "]".repeat(1 << 20)].concat().into_bytes(), "at most 262144 values"),
            ("labels.txt", vec![b','; MAX_BYTES as usize], "expected at most 131072 names, received more\nhint: "),
            ("n.npy", b"\x93NUMPY\x01\0".to_vec(), "received a NumPy file\nhint: write JSON"),
            ("n.pkl", b"\x80\x04\x95".to_vec(), "received a pickle of Python\nhint: write JSON"),
            ("n.pkl", b"(lp0\nVcat\np1\naVdog\np2\na.".to_vec(), "received a pickle of Python\nhint: write JSON"),
            ("n.pkl", b"]q\0(X\x03\0\0\0catq\x01e.".to_vec(), "received a pickle of Python\nhint: write JSON"),
            ("a.json", "[".repeat(1 << 17).into_bytes(), "recursion limit exceeded"),
            ("a.json", "[".repeat(1 << 20).into_bytes(), "at most 262144 values"),
            ("a.json", br#"["cat", "d"#.to_vec(), "EOF"),
        ] {
            let error = read(name, &bytes);
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(ClassNames::read(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn a_file_of_python_is_quoted_as_python_does() {
        let hint = |name: &str| array_of_python(Path::new(name), b"\x93NUMPY\x01\0").unwrap().to_string();
        assert!(hint("e\u{301}.npy").contains("import json, numpy; json.dump(numpy.load(\"e\u{301}.npy\", "));
        assert!(hint("a\"b\\.npy").contains(r#"numpy.load("a\"b\\.npy", "#));
        let pickle = array_of_python(Path::new("a.pkl"), b"(dp1\nS'cat'\np2\nI0\ns.").unwrap().to_string();
        assert!(pickle.contains(r#"import json, pickle; json.dump(pickle.load(open("a.pkl", "rb"))"#), "{pickle}");
        for text in ["(lp0", "(lp\ncat.", "(lp0 a)\ncat.", "]q", "cnumpy"] {
            assert_eq!(read("labels.txt", text).unwrap(), text.lines().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_file_of_the_model_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("pets.keras");
        for (file, names) in [("classes.txt", "a\nb"), ("labels.txt", "c\nd"), ("pets.labels.txt", "e\nf")] {
            std::fs::write(folder.path().join(file), names).unwrap();
            let found = ClassNames::beside(&model).unwrap().unwrap();
            assert_eq!((found.file, found.names.join("\n")), (folder.path().join(file), names.to_owned()));
        }
    }
}
