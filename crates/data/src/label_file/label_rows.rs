//! [`LabelRows`]: the rows of a label file, collected by photo and checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use engraft_nn::{Error, ErrorKind, Result};

use super::photo_paths::PhotoPaths;
use crate::csv::{MAX_ROW, Row, RowError, Rows};
use crate::unicode::{escaped, normalized, twins};

/// The largest label file, 256 MiB: several million rows.
const MAX_FILE: u64 = 256 << 20;

/// The longest label, in bytes, and the largest number of different labels.
const MAX_LABEL: usize = 1000;
pub(super) const MAX_LABELS: usize = 1 << 16;

/// Names of the columns of a header, in lower case.
const PATH_NAMES: [&str; 7] = ["path", "file", "filename", "file_name", "filepath", "image", "photo"];
const LABEL_NAMES: [&str; 5] = ["label", "labels", "class", "tag", "category"];

/// The rows of a label file, by photo and by label.
pub(super) struct LabelRows<'a> {
    file: &'a Path,
    pub(super) photos: HashMap<PathBuf, LabelledPhoto>,
    pub(super) labels: BTreeMap<String, Label>,
}

/// The rows of a photo.
#[derive(Default)]
pub(super) struct LabelledPhoto {
    /// Numbers of its labels.
    pub(super) labels: BTreeSet<u32>,
    /// The line with an empty label.
    unlabelled: Option<u64>,
}

/// A label: its number in the order of first rows, and the line of its first row.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) number: u32,
    line: u64,
}

impl<'a> LabelRows<'a> {
    pub(super) fn read(dir: &Path, file: &'a Path) -> Result<Self> {
        let opened = File::open(file).map_err(|error| no_file(file, error))?;
        let mut rows = Rows::new(BufReader::new(opened.take(MAX_FILE)));
        let mut found = Self { file, photos: HashMap::new(), labels: BTreeMap::new() };
        let (paths, mut missing, mut is_first) = (PhotoPaths::new(dir), Missing::default(), true);
        while let Some(row) = rows.next().map_err(|(line, error)| found.unreadable(line, error))? {
            if is_blank(&row) {
                continue;
            }
            let (text, label) = found.columns(&row)?;
            match paths.find(text) {
                Some(path) => found.add(path, label, row.line)?,
                None if is_first && is_header(text, label) => {}
                None => missing.add(row.line, text),
            }
            is_first = false;
        }
        if rows.into_inner().into_inner().limit() == 0 {
            return Err(Error::new(file.display(), format_args!("at most {MAX_FILE} bytes"), "more")
                .with_kind(ErrorKind::InvalidData)
                .hint("split the file, or remove rows"));
        }
        missing.check(file, dir)?;
        match found.photos.is_empty() {
            true => Err(Error::new(file.display(), "rows of a path and a label, such as `cat/1.jpg,cat`", "none")
                .with_kind(ErrorKind::InvalidData)),
            false => found.check_contradictions().map(|()| found),
        }
    }

    /// The path and the label of a row.
    fn columns<'r>(&self, row: &Row<'r>) -> Result<(&'r str, &'r str)> {
        let columns = row.fields.len();
        let &[path, label] = row.fields.as_slice() else {
            let hint = match row.fields.as_slice() {
                [one] if one.contains([';', '\t']) => "separate the columns by a comma",
                [_] => {
                    "write a comma and a label after the path; nothing after the comma for a photo without any label"
                }
                _ => "write a row for each label of a photo; put a path or label with a comma in double quotes",
            };
            return Err(self.wrong(row.line, "two columns, path and label", columns).hint(hint));
        };
        let label = label.trim();
        if label.len() > MAX_LABEL {
            let expected = format_args!("a label of at most {MAX_LABEL} bytes");
            return Err(self.wrong(row.line, expected, format_args!("{} bytes", label.len())).hint(UNCLOSED));
        }
        if label.contains(char::is_control) {
            return Err(self
                .wrong(row.line, "a label in one line, without control characters", format_args!("{label:?}"))
                .hint(UNCLOSED));
        }
        Ok((path, label))
    }

    fn add(&mut self, path: PathBuf, label: &str, line: u64) -> Result<()> {
        let photo = self.photos.entry(path).or_default();
        if label.is_empty() {
            photo.unlabelled.get_or_insert(line);
            return Ok(());
        }
        let number = match (self.labels.get(label), self.labels.len()) {
            (Some(known), _) => known.number,
            (None, MAX_LABELS) => {
                return Err(self.wrong(line, format_args!("at most {MAX_LABELS} different labels"), "more"));
            }
            (None, labels) => {
                self.labels.insert(label.to_owned(), Label { number: labels as u32, line });
                labels as u32
            }
        };
        photo.labels.insert(number);
        Ok(())
    }

    /// A photo can't have a label and none.
    fn check_contradictions(&self) -> Result<()> {
        let contradictory = self.photos.values().filter(|photo| !photo.labels.is_empty());
        match contradictory.filter_map(|photo| photo.unlabelled).min() {
            Some(line) => Err(self
                .wrong(line, "a label", "none, though another row gives this photo a label")
                .hint("remove one of the rows")),
            None => Ok(()),
        }
    }

    /// Checks that all labels are among the classes of a model.
    pub(super) fn check_known(&self, classes: &[String]) -> Result<()> {
        let known: HashSet<_> = classes.iter().map(|class| normalized(class)).collect();
        let unknown = self.labels.iter().filter(|(name, _)| !known.contains(&normalized(name)));
        match unknown.min_by_key(|(_, label)| label.line) {
            Some((name, label)) => {
                let expected = format!("one of the classes {}", classes.join(", "));
                Err(self
                    .wrong(label.line, expected, format_args!("`{name}`"))
                    .hint("correct the label, or remove its rows"))
            }
            None => Ok(()),
        }
    }

    /// Checks labels that become the classes of a new model.
    pub(super) fn check_own_classes(&self) -> Result<()> {
        let has_several = self.photos.values().any(|photo| photo.labels.len() > 1);
        let unlabelled = self.photos.values().filter_map(|photo| photo.unlabelled).min();
        if let Some(line) = unlabelled.filter(|_| !has_several) {
            return Err(self.wrong(line, "a label", "none").hint(
                "give photos that belong to no class a class of their own, such as `other`; photos without any label are possible only where another photo has several",
            ));
        }
        if let Some((one, other)) = twins(self.labels.keys().map(String::as_str)) {
            let (line, other_line) = (self.labels[one].line, self.labels[other].line);
            let (first, later) = (line.min(other_line), line.max(other_line));
            let received =
                format!("`{one}` as \"{}\" and as \"{}\", first on line {first}", escaped(one), escaped(other));
            return Err(self
                .wrong(later, "labels that differ in more than their Unicode normalization", received)
                .hint("write the label in the same form in all rows"));
        }
        match self.labels.len() {
            0 | 1 => {
                let received = self.labels.keys().next().map_or("none".to_owned(), |only| format!("one, `{only}`"));
                Err(Error::new(self.file.display(), "two or more different labels", received)
                    .with_kind(ErrorKind::InvalidData)
                    .hint("add photos with another label"))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, line: u64, expected: impl Display, received: impl Display) -> Error {
        Error::new(at(self.file, line), expected, received).with_kind(ErrorKind::InvalidData)
    }

    fn unreadable(&self, line: u64, error: RowError) -> Error {
        match error {
            RowError::Io(error) => no_file(self.file, error),
            RowError::TooLong => {
                self.wrong(line, format_args!("a row of less than {MAX_ROW} bytes"), "more").hint(UNCLOSED)
            }
            RowError::TooManyColumns => self.wrong(line, "two columns, path and label", "many more"),
            RowError::Utf8(error) => self
                .wrong(line, "text in UTF-8", "another encoding")
                .caused_by(error)
                .hint("save the file as UTF-8; spreadsheet programs call it `CSV UTF-8`"),
        }
    }
}

const UNCLOSED: &str = "is a double quote missing at the end of a field?";

/// The error for a label file that can't be opened or read.
fn no_file(file: &Path, error: io::Error) -> Error {
    Error::from_io(file.display(), error).hint("give a CSV file with rows of a path and a label")
}

/// A place such as `labels.csv:17`.
fn at(file: &Path, line: u64) -> String {
    format!("{}:{line}", file.display())
}

/// Whether a row has nothing but spaces in it.
fn is_blank(row: &Row<'_>) -> bool {
    matches!(row.fields.as_slice(), [only] if only.trim().is_empty())
}

fn is_header(path: &str, label: &str) -> bool {
    let is_one_of = |text: &str, names: &[&str]| names.contains(&text.trim().to_lowercase().as_str());
    is_one_of(path, &PATH_NAMES) && is_one_of(label, &LABEL_NAMES)
}

/// The rows whose photo doesn't exist: how many, and the first of them.
#[derive(Default)]
struct Missing {
    rows: usize,
    first: Option<(u64, String)>,
}

impl Missing {
    fn add(&mut self, line: u64, path: &str) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (line, path.to_owned()));
    }

    fn check(self, file: &Path, dir: &Path) -> Result<()> {
        let Some((line, path)) = self.first else { return Ok(()) };
        let others = match self.rows - 1 {
            0 => String::new(),
            1 => ", as in another row".to_owned(),
            others => format!(", as in {others} other rows"),
        };
        let hint = format!("paths are absolute or start from {}; correct them, or remove the rows", dir.display());
        Err(Error::new(
            at(file, line),
            "the path of a photo in the first column",
            format_args!("`{path}`, where there is no file{others}"),
        )
        .with_kind(ErrorKind::NotFound)
        .hint(hint))
    }
}
