//! What output files hold: the extension that fits, and whether engraft wrote an existing file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use engraft::formats::h5::H5File;
use engraft::formats::inspect::inspect;
use engraft::formats::keras;
use engraft::recipe::Metadata;
use serde_json::{Map, Value};

/// What a command writes into an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A model that `train` saves.
    Keras,
    H5,
    WeightsH5,
    Safetensors,
    Onnx,
    /// Loss and accuracy of each epoch.
    History,
    /// An array of NumPy.
    Npy,
    /// Answers as a table.
    Csv,
    /// Wrong answers of an evaluation as a table.
    Mistakes,
    /// Answers as a table of typed columns.
    Parquet,
    /// Answers as one JSON object a line.
    JsonLines,
    /// Answers for people.
    Text,
}

impl Content {
    /// The mark in exported files of the version that wrote them: an attribute of HDF5, and an entry in the metadata of safetensors.
    pub(crate) const MARK: &str = "engraft_version";

    /// All formats of `engraft export`.
    const EXPORTED: [Self; 4] = [Self::WeightsH5, Self::H5, Self::Safetensors, Self::Onnx];

    /// The extension, without the dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Keras => "keras",
            Self::H5 => "h5",
            Self::WeightsH5 => "weights.h5",
            Self::Safetensors => "safetensors",
            Self::Onnx => "onnx",
            Self::History => "json",
            Self::Npy => "npy",
            Self::Csv | Self::Mistakes => "csv",
            Self::Parquet => "parquet",
            Self::JsonLines => "jsonl",
            Self::Text => "txt",
        }
    }

    /// The content in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Keras | Self::H5 | Self::Onnx => "a model",
            Self::WeightsH5 | Self::Safetensors => "weights",
            Self::History => "the history of training",
            Self::Npy => "a NumPy array",
            Self::Csv | Self::Mistakes => "a table (CSV)",
            Self::Parquet => "a table (Parquet)",
            Self::JsonLines => "JSON lines",
            Self::Text => "text",
        }
    }

    /// Whether a file of this name can hold this content. A name without an extension can hold any.
    pub(crate) fn fits(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_weights_h5 = name.ends_with(".weights.h5");
        match self {
            _ if path.extension().is_none() => true,
            Self::WeightsH5 => is_weights_h5,
            Self::H5 => !is_weights_h5 && (name.ends_with(".h5") || name.ends_with(".hdf5")),
            Self::JsonLines => [".json", ".jsonl", ".ndjson"].iter().any(|extension| name.ends_with(extension)),
            _ => name.ends_with(&format!(".{}", self.extension())),
        }
    }

    /// The format of `engraft export` whose extension `path` has.
    pub(crate) fn exported(path: &Path) -> Option<Self> {
        Self::EXPORTED.into_iter().find(|format| path.extension().is_some() && format.fits(path))
    }

    /// The form of answers, other than text, whose extension `path` has.
    pub(crate) fn answers(path: &Path) -> Option<Self> {
        [Self::Csv, Self::JsonLines, Self::Parquet]
            .into_iter()
            .find(|form| path.extension().is_some() && form.fits(path))
    }

    /// Whether engraft wrote the file at `path`, with this content. Arrays of NumPy have no mark of the program that wrote them, so
    /// they count as files of others, and so does a model without class names, which the program never trains.
    pub(crate) fn is_ours(self, path: &Path) -> bool {
        let has = |entry| matches!(keras::read_extra(path, entry), Ok(Some(_)));
        match self {
            Self::Keras => has(Metadata::ENTRY),
            Self::H5 => has(Self::MARK) || has(Metadata::ENTRY),
            Self::WeightsH5 => {
                let mark = H5File::open(path).and_then(|file| file.attr_strings("", Self::MARK));
                matches!(mark, Ok(Some(_)))
            }
            Self::Safetensors => inspect(path).is_ok_and(|contents| contents.texts.contains_key(Self::MARK)),
            Self::Onnx => {
                inspect(path).is_ok_and(|file| file.written_by.is_some_and(|program| program.starts_with("engraft")))
            }
            Self::History => is_history(path),
            Self::Csv => has_columns(
                path,
                &[&["image", "class", "probability", "unknown", "error"], &["image", "labels", "error"]],
            ),
            Self::Mistakes => {
                has_columns(path, &[&["image", "class", "answer", "probability", "probability_of_class"]])
            }
            Self::Parquet => is_our_parquet(path),
            Self::JsonLines => is_answers(path),
            Self::Npy | Self::Text => false,
        }
    }
}

/// Whether a file is JSON like that of `--history`: an object of arrays of numbers, of which one is the loss; empty if training
/// stopped in the first epoch.
fn is_history(path: &Path) -> bool {
    /// Histories take about 100 bytes an epoch.
    const MAX_BYTES: u64 = 16 << 20;
    if path.metadata().is_ok_and(|metadata| metadata.len() > MAX_BYTES) {
        return false;
    }
    let parsed = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Map<String, Value>>(&text).ok());
    let is_series = |value: &Value| value.as_array().is_some_and(|values| values.iter().all(Value::is_number));
    parsed.is_some_and(|object| object.is_empty() || object.contains_key("loss") && object.values().all(is_series))
}

/// The first line of a text file, of at most a megabyte; `None` if it can't be read.
pub(crate) fn first_line(path: &Path) -> Option<String> {
    let mut line = Vec::new();
    BufReader::new(File::open(path).ok()?).take(1 << 20).read_until(b'\n', &mut line).ok()?;
    Some(String::from_utf8(line).ok()?.trim_end().to_owned())
}

/// Whether the first line of a table starts with one of these lists of columns.
fn has_columns(path: &Path, lists: &[&[&str]]) -> bool {
    let Some(line) = first_line(path) else { return false };
    lists.iter().any(|columns| line.split(',').take(columns.len()).eq(columns.iter().copied()))
}

/// Whether the first line of a file is an answer in JSON, as `engraft predict --json` writes it.
fn is_answers(path: &Path) -> bool {
    const KEYS: [&str; 8] = ["image", "class", "probability", "probabilities", "unknown", "labels", "outputs", "error"];
    let line = first_line(path).and_then(|line| serde_json::from_str::<Map<String, Value>>(&line).ok());
    line.is_some_and(|answer| {
        answer.get("image").is_some_and(Value::is_string)
            && (answer.contains_key("probabilities") || answer.contains_key("error"))
            && answer.keys().all(|key| KEYS.contains(&key.as_str()))
    })
}

/// Whether a file starts with these bytes, as the tables that engraft writes do.
fn starts_with(path: &Path, start: &[u8]) -> bool {
    let mut first = vec![0; start.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == start
}

/// Whether a Parquet file names engraft as the program that wrote it, near the end of its index.
fn is_our_parquet(path: &Path) -> bool {
    /// The program's name is followed by a few bytes for each column.
    const MAX_BYTES: u64 = 64 << 10;
    let end = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))?;
        let mut end = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut end).map(|_| end)
    };
    let has = |end: Vec<u8>| end.ends_with(b"PAR1") && end.windows(16).any(|bytes| bytes == b"engraft version ");
    starts_with(path, b"PAR1") && end().is_ok_and(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_by_their_extension() {
        let fits = |content: Content, name: &str| content.fits(Path::new(name));
        for name in ["m.keras", "m.KERAS", "m", "v1.2.keras"] {
            assert!(fits(Content::Keras, name), "{name}");
        }
        for name in ["m.onnx", "m.h5", "m.jpg", "m.txt", "m.csv", "m.keras.zip", "v1.2"] {
            assert!(!fits(Content::Keras, name), "{name}");
        }
        assert!(fits(Content::WeightsH5, "m.weights.h5") && !fits(Content::WeightsH5, "m.h5"));
        assert!(fits(Content::H5, "m.h5") && fits(Content::H5, "m.hdf5") && !fits(Content::H5, "m.weights.h5"));
        let exported = |name: &str| Content::exported(Path::new(name));
        assert_eq!(exported("m.onnx"), Some(Content::Onnx));
        assert_eq!(exported("m.weights.h5"), Some(Content::WeightsH5));
        assert_eq!([exported("m.txt"), exported("m")], [None, None]);
    }

    #[test]
    fn answers_are_known_by_their_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let is_ours = |text: &str| {
            std::fs::write(&path, text).unwrap();
            [Content::Csv, Content::Mistakes, Content::JsonLines].map(|content| content.is_ours(&path))
        };
        assert_eq!(is_ours("image,class,probability,unknown,error,cat\n"), [true, false, false]);
        assert_eq!(is_ours("image,labels,error,cat\n"), [true, false, false]);
        assert_eq!(is_ours("image,class,answer,probability,probability_of_class\n"), [false, true, false]);
        let answer = r#"{"image":"a","class":"b","probability":1.0,"probabilities":{"b":1.0}}"#;
        assert_eq!(is_ours(&format!("{answer}\n{answer}\n")), [false, false, true]);
        assert_eq!(is_ours(r#"{"image":"a","error":"damaged"}"#), [false, false, true]);
        for text in ["image,label\n", "image\n", "image,class\n", r#"{"image":"a","mine":1}"#, r#"{"image":"a"}"#, ""] {
            assert_eq!(is_ours(text), [false; 3], "{text}");
        }
    }

    #[test]
    fn a_history_is_known_by_its_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.json");
        for (text, expected) in [
            (r#"{"loss": [0.5, 0.25], "accuracy": [0.5, 1]}"#, true),
            ("{}", true),
            (r#"{"loss": "much"}"#, false),
            (r#"{"accuracy": [1]}"#, false),
            (r#"{"loss": [0.5], "name": "settings"}"#, false),
            ("[1]", false),
            ("no JSON", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Content::History.is_ours(&path), expected, "{text}");
        }
    }
}
