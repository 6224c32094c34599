//! A file open for reading: its header, and each tensor when it is asked for.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::io::{Read, Seek, SeekFrom};

use engraft_nn::{Error, ErrorKind, Result};
use safetensors::tensor::{Dtype, Metadata};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::numbers::Number;
use crate::pickle;

/// Some hundred bytes for each tensor; no model has so many.
const MAX_HEADER: u64 = 16 << 20;

/// The header's length stands before it.
const PREFIX: u64 = 8;

/// How errors name the header.
const HEADER: &str = "header";

/// A tensor in a file.
///
/// ```
/// use engraft_formats::safetensors::SafetensorsFile;
/// let header = br#"{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#;
/// let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &1.5f32.to_le_bytes()].concat();
/// let x = &SafetensorsFile::new(std::io::Cursor::new(bytes))?.tensors()[0];
/// assert_eq!((x.name.as_str(), &x.shape[..], x.dtype.as_str()), ("x", &[1][..], "F32"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// How its numbers are stored: `F32`, `BF16`, ….
    pub dtype: String,
    kind: Dtype,
}

impl Stored {
    pub(super) fn number(&self) -> Result<Number> {
        match self.kind {
            Dtype::F16 => Ok(Number::F16),
            Dtype::BF16 => Ok(Number::Bf16),
            Dtype::F32 => Ok(Number::F32),
            Dtype::F64 => Ok(Number::F64),
            Dtype::I8 => Ok(Number::I8),
            Dtype::I16 => Ok(Number::I16),
            Dtype::I32 => Ok(Number::I32),
            Dtype::I64 => Ok(Number::I64),
            Dtype::U8 => Ok(Number::U8),
            Dtype::U16 => Ok(Number::U16),
            Dtype::U32 => Ok(Number::U32),
            Dtype::U64 => Ok(Number::U64),
            other => Err(Error::new(
                format_args!("tensor `{}`", self.name),
                "integers, or floats of 16, 32 or 64 bits",
                other,
            )
            .with_kind(ErrorKind::Unsupported)),
        }
    }
}

/// A safetensors file open for reading. Its header was checked: offsets follow each other without a
/// gap, hold what the shapes say, and end where the file ends.
///
/// ```
/// use engraft_formats::safetensors::{self, SafetensorsFile, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// safetensors::save_weights(&path, &model.layers(), &SaveOptions::default())?;
/// let mut file = SafetensorsFile::new(std::fs::File::open(&path)?)?;
/// assert_eq!(file.tensors().len(), 2);
/// assert_eq!(file.read_f32("top/bias")?, [0.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsFile<R> {
    file: R,
    /// Where the values begin.
    start: u64,
    header: Metadata,
}

impl<R: Read + Seek> SafetensorsFile<R> {
    /// Reads and checks the header.
    ///
    /// ```
    /// use engraft_formats::safetensors::SafetensorsFile;
    /// let header = br#"{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#;
    /// let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &1.5f32.to_le_bytes()].concat();
    /// let mut file = SafetensorsFile::new(std::io::Cursor::new(bytes))?;
    /// assert_eq!(file.read_f32("x")?, [1.5]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The file can't be read, or isn't a safetensors file.
    pub fn new(mut file: R) -> Result<Self> {
        pickle::refuse(&mut file)?;
        let failed = |error| Error::from_io(HEADER, error);
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut prefix = [0; PREFIX as usize];
        if len < PREFIX {
            return Err(unfit(HEADER, "a safetensors file, of 8 bytes at least", len));
        }
        file.read_exact(&mut prefix).map_err(failed)?;
        let (size, room) = (u64::from_le_bytes(prefix), len - PREFIX);
        if size > room.min(MAX_HEADER) {
            let expected = format!("at most {} bytes, in a file of {len}", room.min(MAX_HEADER));
            return Err(unfit(HEADER, expected, size).hint("is this a safetensors file, and complete?"));
        }
        let mut text = Vec::new();
        file.by_ref().take(size).read_to_end(&mut text).map_err(failed)?;
        check_names(&text)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(not_tensors)?;
        let (declared, found) = (header.data_len() as u64, room - size);
        if declared != found {
            return Err(unfit("tensors", format_args!("{declared} bytes after the header"), found)
                .hint("is the file complete?"));
        }
        Ok(Self { file, start: PREFIX + size, header })
    }

    /// All tensors, in the order of their values.
    pub fn tensors(&self) -> Vec<Stored> {
        let stored = |name: String| {
            let info = self.header.info(&name)?;
            Some(Stored { shape: info.shape.clone(), dtype: info.dtype.to_string(), kind: info.dtype, name })
        };
        self.header.offset_keys().into_iter().filter_map(stored).collect()
    }

    /// The texts in `__metadata__`.
    pub fn metadata(&self) -> HashMap<String, String> {
        self.header.metadata().clone().unwrap_or_default()
    }

    /// The values of a tensor, row-major, as f32.
    ///
    /// # Errors
    /// There is none of this name, or not of numbers; the file can't be read.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>> {
        let place = || format!("tensor `{name}`");
        let Some(stored) = self.tensors().into_iter().find(|tensor| tensor.name == name) else {
            return Err(Error::because(place(), "there is none of this name").with_kind(ErrorKind::NotFound));
        };
        let number = stored.number()?;
        let (start, end) = self.header.info(name).map_or((0, 0), |info| info.data_offsets);
        let failed = |error| Error::from_io(place(), error);
        self.file.seek(SeekFrom::Start(self.start + start as u64)).map_err(failed)?;
        let mut bytes = Vec::new();
        self.file.by_ref().take((end - start) as u64).read_to_end(&mut bytes).map_err(failed)?;
        let values = number.to_f32(&bytes);
        if values.len() * number.size() != end - start {
            return Err(unfit(place(), format_args!("{} bytes", end - start), bytes.len()));
        }
        Ok(values)
    }
}

/// Refuses a header in which a name stands twice: which of the two counts differs from one reader to the next.
fn check_names(header: &[u8]) -> Result<()> {
    let names: Names = serde_json::from_slice(header).map_err(not_tensors)?;
    match names.twice {
        None => Ok(()),
        Some(name) => Err(Error::because(format_args!("tensor `{name}`"), "stands twice in the header")
            .with_kind(ErrorKind::InvalidData)),
    }
}

/// The error that a file isn't what it should be.
pub(super) fn unfit(place: impl Display, expected: impl Display, received: impl Display) -> Error {
    Error::new(place, expected, received).with_kind(ErrorKind::InvalidData)
}

fn not_tensors(error: serde_json::Error) -> Error {
    unfit(HEADER, "JSON of tensors", &error).caused_by(error)
}

/// The names in an object.
struct Names {
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(object: D) -> std::result::Result<Self, D::Error> {
        object.deserialize_map(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Names;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> std::result::Result<Names, A::Error> {
        let (mut seen, mut twice) = (HashSet::new(), None);
        while let Some((name, IgnoredAny)) = object.next_entry::<String, _>()? {
            if !seen.insert(name.clone()) {
                twice = Some(name);
            }
        }
        Ok(Names { twice })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), values].concat()
    }

    #[test]
    fn tensors_of_every_width_are_read() {
        let header = r#"{"__metadata__": {"format": "pt"},
            "b": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
            "a": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]}}"#;
        let values = [&2.5f64.to_le_bytes()[..], &[0x80, 0x3f, 0x00, 0xc0]].concat();
        let mut file = SafetensorsFile::new(Cursor::new(file(header, &values))).unwrap();
        assert_eq!(file.metadata()["format"], "pt");
        let listed: Vec<_> = file.tensors().into_iter().map(|t| (t.name, t.dtype, t.shape)).collect();
        assert_eq!(listed, [("a".into(), "F64".into(), vec![]), ("b".into(), "BF16".into(), vec![2])]);
        assert_eq!([file.read_f32("a").unwrap(), file.read_f32("b").unwrap()], [vec![2.5], vec![1.0, -2.0]]);
        assert!(file.read_f32("c").unwrap_err().to_string().contains("tensor `c`"));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let one = |info: &str| file(&format!("{{\"x\": {{{info}}}}}"), &[0; 8]);
        for (bytes, expected) in [
            (Vec::new(), "8 bytes at least"),
            (vec![0xff; 100], "expected at most 92 bytes"),
            (file("[]", &[]), "JSON of tensors"),
            (one(r#""dtype": "F32", "shape": [2], "data_offsets": [4, 8]"#), "offset"),
            (one(r#""dtype": "F32", "shape": [2], "data_offsets": [0, 16]"#), "invalid shape"),
            (
                one(r#""dtype": "F32", "shape": [4], "data_offsets": [0, 16]"#),
                "expected 16 bytes after the header, received 8",
            ),
            (
                one(r#""dtype": "F32", "shape": [1], "data_offsets": [0, 4]"#),
                "expected 4 bytes after the header, received 8",
            ),
            (one(r#""dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 8]"#), "overflow"),
            (one(r#""dtype": "F32", "shape": [-1], "data_offsets": [0, 8]"#), "JSON of tensors"),
            (one(r#""dtype": "Q8", "shape": [8], "data_offsets": [0, 8]"#), "Q8"),
        ] {
            let error = SafetensorsFile::new(Cursor::new(bytes)).unwrap_err().to_string();
            assert!(error.contains(expected), "expected `{expected}` in {error}");
        }
        let flags = one(r#""dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]"#);
        let error = SafetensorsFile::new(Cursor::new(flags)).unwrap().read_f32("x").unwrap_err().to_string();
        assert!(error.contains("tensor `x`: expected integers"), "{error}");
    }
}
