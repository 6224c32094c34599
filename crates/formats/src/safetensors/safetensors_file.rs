//! The safetensors reader: checks the header on opening, and reads tensors on demand.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::io::{Read, Seek, SeekFrom};

use engraft_nn::{Error, ErrorKind, Result};
use safetensors::tensor::{Dtype, Metadata};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::element_type::ElementType;
use crate::pickle;

/// Limit on the bytes of the header. A tensor takes about 100 bytes, so this is far more than any model needs.
const MAX_HEADER: u64 = 16 << 20;

/// Size in bytes of the integer at the start of the file, which holds the header's length.
const PREFIX: u64 = 8;

/// The place named in errors about the header.
const HEADER: &str = "header";

/// Name, shape and type of a tensor in a safetensors file.
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
pub struct TensorInfo {
    /// The name of the tensor.
    pub name: String,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The element type: `F32`, `BF16`, ….
    pub dtype: String,
    kind: Dtype,
}

impl TensorInfo {
    pub(super) fn element_type(&self) -> Result<ElementType> {
        match self.kind {
            Dtype::F16 => Ok(ElementType::F16),
            Dtype::BF16 => Ok(ElementType::Bf16),
            Dtype::F32 => Ok(ElementType::F32),
            Dtype::F64 => Ok(ElementType::F64),
            Dtype::I8 => Ok(ElementType::I8),
            Dtype::I16 => Ok(ElementType::I16),
            Dtype::I32 => Ok(ElementType::I32),
            Dtype::I64 => Ok(ElementType::I64),
            Dtype::U8 => Ok(ElementType::U8),
            Dtype::U16 => Ok(ElementType::U16),
            Dtype::U32 => Ok(ElementType::U32),
            Dtype::U64 => Ok(ElementType::U64),
            other => Err(Error::new(
                format_args!("tensor `{}`", self.name),
                "integers, or floats of 16, 32 or 64 bits",
                other,
            )
            .with_kind(ErrorKind::Unsupported)),
        }
    }
}

/// A safetensors file open for reading.
///
/// Opening checks the header: the tensors cover the rest of the file without gaps, and each has as many
/// bytes as its shape and type need.
///
/// ```
/// use engraft_formats::safetensors::{self, SafetensorsFile, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let metadata = [("licence".to_owned(), "MIT".to_owned())].into();
/// safetensors::save_weights(&path, &model.layers(), &SaveOptions { metadata, ..SaveOptions::default() })?;
/// let mut file = SafetensorsFile::new(std::fs::File::open(&path)?)?;
/// assert_eq!(file.metadata()["licence"], "MIT");
/// assert_eq!(file.tensors().len(), 2);
/// assert_eq!(file.read_f32("top/bias")?, [0.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsFile<R> {
    file: R,
    /// Offset of the values in the file.
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
            return Err(invalid_data(HEADER, "a safetensors file, of at least 8 bytes", len));
        }
        file.read_exact(&mut prefix).map_err(failed)?;
        let (size, rest) = (u64::from_le_bytes(prefix), len - PREFIX);
        if size > rest.min(MAX_HEADER) {
            let expected = format!("at most {} bytes, in a file of {len}", rest.min(MAX_HEADER));
            return Err(invalid_data(HEADER, expected, size).hint("is this a complete safetensors file?"));
        }
        let mut text = Vec::new();
        file.by_ref().take(size).read_to_end(&mut text).map_err(failed)?;
        check_names(&text)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(not_tensors)?;
        let (declared, found) = (header.data_len() as u64, rest - size);
        if declared != found {
            return Err(invalid_data("tensors", format_args!("{declared} bytes after the header"), found)
                .hint("is the file complete?"));
        }
        Ok(Self { file, start: PREFIX + size, header })
    }

    /// All tensors, in the order of their values in the file.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let tensor = |name: String| {
            let info = self.header.info(&name)?;
            Some(TensorInfo { shape: info.shape.clone(), dtype: info.dtype.to_string(), kind: info.dtype, name })
        };
        self.header.offset_keys().into_iter().filter_map(tensor).collect()
    }

    /// The entries of `__metadata__` in the header.
    pub fn metadata(&self) -> HashMap<String, String> {
        self.header.metadata().clone().unwrap_or_default()
    }

    /// Reads the values of a tensor, row-major, converted to f32.
    ///
    /// # Errors
    /// There is no tensor of this name; its type isn't numeric; the file can't be read.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>> {
        let place = || format!("tensor `{name}`");
        let Some(tensor) = self.tensors().into_iter().find(|tensor| tensor.name == name) else {
            return Err(Error::because(place(), "there is no tensor of this name").with_kind(ErrorKind::NotFound));
        };
        let element_type = tensor.element_type()?;
        let (start, end) = self.header.info(name).map_or((0, 0), |info| info.data_offsets);
        let failed = |error| Error::from_io(place(), error);
        self.file.seek(SeekFrom::Start(self.start + start as u64)).map_err(failed)?;
        let mut bytes = Vec::new();
        self.file.by_ref().take((end - start) as u64).read_to_end(&mut bytes).map_err(failed)?;
        let values = element_type.to_f32(&bytes);
        if values.len() * element_type.size() != end - start {
            return Err(invalid_data(place(), format_args!("{} bytes", end - start), bytes.len()));
        }
        Ok(values)
    }
}

/// Refuses a header with a duplicate name, since readers differ in which of the two tensors they take.
fn check_names(header: &[u8]) -> Result<()> {
    let duplicate: DuplicateName = serde_json::from_slice(header).map_err(not_tensors)?;
    match duplicate.0 {
        None => Ok(()),
        Some(name) => Err(Error::because(format_args!("tensor `{name}`"), "occurs twice in the header")
            .with_kind(ErrorKind::InvalidData)),
    }
}

/// An error of the kind [`ErrorKind::InvalidData`].
pub(super) fn invalid_data(place: impl Display, expected: impl Display, received: impl Display) -> Error {
    Error::new(place, expected, received).with_kind(ErrorKind::InvalidData)
}

fn not_tensors(error: serde_json::Error) -> Error {
    invalid_data(HEADER, "JSON of tensors", &error).caused_by(error)
}

/// A name that occurs twice in a JSON object, if there is one. `serde_json` itself takes the last value of a name.
struct DuplicateName(Option<String>);

impl<'de> Deserialize<'de> for DuplicateName {
    fn deserialize<D: Deserializer<'de>>(object: D) -> std::result::Result<Self, D::Error> {
        object.deserialize_map(DuplicateNameVisitor)
    }
}

struct DuplicateNameVisitor;

impl<'de> Visitor<'de> for DuplicateNameVisitor {
    type Value = DuplicateName;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> std::result::Result<DuplicateName, A::Error> {
        let (mut seen, mut duplicate) = (HashSet::new(), None);
        while let Some((name, IgnoredAny)) = object.next_entry::<String, _>()? {
            if !seen.insert(name.clone()) {
                duplicate = Some(name);
            }
        }
        Ok(DuplicateName(duplicate))
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
        let tensors: Vec<_> = file.tensors().into_iter().map(|t| (t.name, t.dtype, t.shape)).collect();
        assert_eq!(tensors, [("a".into(), "F64".into(), vec![]), ("b".into(), "BF16".into(), vec![2])]);
        assert_eq!([file.read_f32("a").unwrap(), file.read_f32("b").unwrap()], [vec![2.5], vec![1.0, -2.0]]);
        assert!(file.read_f32("c").unwrap_err().to_string().contains("tensor `c`"));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let one = |info: &str| file(&format!("{{\"x\": {{{info}}}}}"), &[0; 8]);
        for (bytes, expected) in [
            (Vec::new(), "at least 8 bytes"),
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
