//! Reading: one open file, asked by path.

use std::collections::HashMap;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use hdf5_pure::{AttrValue, Dataset, Error, File, Group, Layout, ReadSeekSource};

use super::budget::Budget;
use super::direct::{self, Direct};
use super::translate::{cause, translate};
use super::{H5Error, MAX_DEPTH, number};
use crate::budget::of_file;
use crate::pickle;

/// A member of a group.
///
/// ```
/// use engraft_formats::h5::{H5File, H5Writer};
/// let mut writer = H5Writer::new();
/// writer.f32("dense/kernel", &[2], vec![1.0_f32, 2.0])?;
/// let mut bytes = Vec::new();
/// writer.write_to(&mut bytes)?;
/// let file = H5File::from_bytes(bytes)?;
/// let dense = &file.children("")?[0];
/// assert_eq!((dense.name.as_str(), dense.is_group), ("dense", true));
/// assert!(!file.children("dense")?[0].is_group);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H5Entry {
    /// Its name in the group.
    pub name: String,
    /// Whether it is a group; otherwise it is a dataset.
    pub is_group: bool,
}

/// The first bytes of every HDF5 file that Keras writes.
const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// Whether a file begins as HDF5 does; it is left at its beginning.
///
/// ```
/// use engraft_formats::h5::{H5Writer, is_hdf5};
/// use std::io::Cursor;
/// let mut bytes = Vec::new();
/// H5Writer::new().write_to(&mut bytes)?;
/// assert!(is_hdf5(&mut Cursor::new(bytes))?);
/// assert!(!is_hdf5(&mut Cursor::new(b"a zip archive"))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read.
pub fn is_hdf5(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let mut start = Vec::new();
    file.by_ref().take(SIGNATURE.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == SIGNATURE)
}

/// An HDF5 file open for reading.
///
/// Paths are separated by `/`; the empty path is the root. Before a dataset is read, the bytes
/// its values take are counted against one budget that all reads of the file share: 16 times the
/// file's length and at least 64 MiB, unless [`H5File::with_budget`] sets another.
///
/// ```
/// use engraft_formats::h5::{H5File, H5Writer};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("steps.h5");
/// let mut writer = H5Writer::new();
/// writer.i64("optimizer/vars/0", &[], vec![7_i64])?;
/// writer.write_to(std::fs::File::create(&path)?)?;
/// let file = H5File::open(&path)?;
/// assert!(file.contains("optimizer/vars/0")?);
/// assert_eq!(file.read_i64("optimizer/vars/0")?, (vec![], vec![7]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct H5File {
    file: File,
    budget: Budget,
    /// The same bytes, where they can be read from several threads.
    direct: Option<Direct>,
}

impl H5File {
    /// Opens a file on disk. Values are read as they are asked for; the file is never held in
    /// memory as a whole.
    ///
    /// # Errors
    /// [`H5Error::Open`] when it can't be read or isn't HDF5.
    pub fn open(path: &Path) -> Result<Self, H5Error> {
        let file = std::fs::File::open(path).map_err(unopened)?;
        let direct = Direct::of(&file);
        Self::from_reader(file).map(|file| file.with_direct(direct))
    }

    /// Opens a file held in memory.
    ///
    /// # Errors
    /// [`H5Error::Open`] when it isn't HDF5.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, H5Error> {
        Self::from_reader(Cursor::new(bytes))
    }

    /// Opens anything that can be read at any place, such as a stored entry of an archive.
    ///
    /// # Errors
    /// [`H5Error::Open`] when it can't be read, isn't HDF5, or is cut short.
    pub fn from_reader(mut reader: impl Read + Seek + Send + 'static) -> Result<Self, H5Error> {
        if pickle::begins_as_pickle(&mut reader).map_err(|error| open_error(error.into()))? {
            return Err(H5Error::Pickle);
        }
        let source = ReadSeekSource::new(reader).map_err(|error| open_error(error.into()))?;
        let file = File::from_source(source).map_err(open_error)?;
        let (declared, len) = (file.superblock().eof_address, file.file_size());
        if declared > len {
            let reason = format!("expected {declared} bytes, received {len}: is the file complete?");
            return Err(H5Error::Open { reason, source: None });
        }
        let budget = Budget::new(of_file(len));
        Ok(Self { file, budget, direct: None })
    }

    /// Says where the same bytes can be read from several threads.
    pub(crate) fn with_direct(self, direct: Option<Direct>) -> Self {
        Self { direct, ..self }
    }

    /// Sets how many bytes all further reads may take together.
    #[must_use]
    pub fn with_budget(self, bytes: u64) -> Self {
        Self { budget: Budget::new(bytes), ..self }
    }

    /// The members of a group, by name in byte order, as h5py lists them.
    ///
    /// # Errors
    /// [`H5Error::Missing`] when `group` isn't a group in this file, [`H5Error::Depth`] when it
    /// stands too deep, [`H5Error::Damaged`].
    pub fn children(&self, group: &str) -> Result<Vec<H5Entry>, H5Error> {
        let node = self.group(group)?;
        let damaged = |error| translate(group, "group", error);
        let groups = node.groups().map_err(damaged)?.into_iter().map(|name| H5Entry { name, is_group: true });
        let datasets = node.datasets().map_err(damaged)?.into_iter().map(|name| H5Entry { name, is_group: false });
        let mut entries: Vec<_> = groups.chain(datasets).collect();
        // A path would pass over such a name, and a walk never get on.
        if let Some(entry) = entries.iter().find(|entry| matches!(&*entry.name, "" | ".") || entry.name.contains('/')) {
            let reason = format!("a member called `{}`, which no path can name", entry.name);
            return Err(H5Error::damaged(group, reason));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Whether a group or dataset stands at `path`.
    ///
    /// # Errors
    /// [`H5Error::Depth`], [`H5Error::Damaged`].
    pub fn contains(&self, path: &str) -> Result<bool, H5Error> {
        match self.attributes(path) {
            Ok(_) => Ok(true),
            Err(H5Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The shape of a dataset; empty for a scalar.
    ///
    /// # Errors
    /// [`H5Error::Missing`], [`H5Error::Depth`], [`H5Error::Damaged`].
    pub fn dataset_shape(&self, path: &str) -> Result<Vec<usize>, H5Error> {
        shape_of(path, &self.dataset(path)?)
    }

    /// How a dataset's values are stored, in words: `F32`, ….
    ///
    /// # Errors
    /// As [`H5File::dataset_shape`].
    pub fn dataset_kind(&self, path: &str) -> Result<String, H5Error> {
        let kind = self.dataset(path)?.datatype().map_err(|error| translate(path, "dataset", error))?;
        Ok(number::kind(&kind))
    }

    /// Shape and values of a numeric dataset, row-major. 16- and 64-bit floats and all integers
    /// are converted to the nearest f32.
    ///
    /// # Errors
    /// [`H5Error::Missing`], [`H5Error::Depth`], [`H5Error::Type`] when it holds no numbers,
    /// [`H5Error::Outside`] when its data isn't in this file, [`H5Error::Budget`],
    /// [`H5Error::Damaged`].
    pub fn read_f32(&self, path: &str) -> Result<(Vec<usize>, Vec<f32>), H5Error> {
        let dataset = self.dataset(path)?;
        let shape = self.admit(path, &dataset, size_of::<f32>())?;
        let values = match self.read_directly(path, &dataset, shape.iter().product())? {
            Some(values) => values,
            None => number::read_f32(path, &dataset)?,
        };
        self.check_count(path, &shape, values.len())?;
        Ok((shape, values))
    }

    /// The values of a dataset that lies in the file as it will in memory, and is large; `None` for any other.
    fn read_directly(&self, path: &str, dataset: &Dataset, count: usize) -> Result<Option<Vec<f32>>, H5Error> {
        let damaged = |error| translate(path, "dataset", error);
        let Some(direct) = self.direct.as_ref().filter(|_| count >= direct::WORTHWHILE) else { return Ok(None) };
        let Layout::Contiguous { address: Some(at), size } = dataset.layout().map_err(damaged)? else {
            return Ok(None);
        };
        let end = at.checked_add(size).filter(|&end| end <= self.file.file_size());
        if end.is_none() || size != (count * size_of::<f32>()) as u64 || !number::is_little_endian_f32(path, dataset)? {
            return Ok(None);
        }
        // The first row as anyone reads it: whatever speaks against reading the dataset speaks against reading that.
        let row = dataset.read_f32_rows(0, 1).map_err(damaged)?;
        let mut values = vec![0.0; count];
        engraft_memory::prefer_huge_pages(&mut values);
        direct.read_f32(at, &mut values).map_err(|error| H5Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
            source: Some(error.into()),
        })?;
        let same = values.iter().zip(&row).all(|(a, b)| a.to_bits() == b.to_bits());
        Ok(same.then_some(values))
    }

    /// Shape and values of an integer dataset, such as an optimizer's `iterations`.
    ///
    /// # Errors
    /// As [`H5File::read_f32`]; [`H5Error::Type`] also for floats.
    pub fn read_i64(&self, path: &str) -> Result<(Vec<usize>, Vec<i64>), H5Error> {
        let dataset = self.dataset(path)?;
        let shape = self.admit(path, &dataset, size_of::<i64>())?;
        let values = number::read_i64(path, &dataset)?;
        self.check_count(path, &shape, values.len())?;
        Ok((shape, values))
    }

    /// A string attribute of a group or dataset, or `None` when there is no attribute of this
    /// name.
    ///
    /// # Errors
    /// [`H5Error::Missing`] when nothing stands at `path`, [`H5Error::Type`] when the attribute
    /// isn't one string, [`H5Error::Depth`], [`H5Error::Damaged`].
    pub fn attr_string(&self, path: &str, name: &str) -> Result<Option<String>, H5Error> {
        let attributes = self.attributes(path)?;
        let Some(value) = attributes.get(name) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(wrong_attribute(path, name, "a string", value)),
        }
    }

    /// An attribute that lists strings, such as `layer_names`, or `None` when there is none of
    /// this name. A list that Keras split into `layer_names0`, `layer_names1`, … comes back
    /// whole.
    ///
    /// # Errors
    /// As [`H5File::attr_string`].
    pub fn attr_strings(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, H5Error> {
        let attributes = self.attributes(path)?;
        let list = |name: &str| match attributes.get(name) {
            None => Ok(None),
            Some(value) => strings_of(value).ok_or_else(|| wrong_attribute(path, name, "strings", value)).map(Some),
        };
        if let Some(whole) = list(name)? {
            return Ok(Some(whole));
        }
        let Some(mut joined) = list(&format!("{name}0"))? else { return Ok(None) };
        for part in 1.. {
            match list(&format!("{name}{part}"))? {
                Some(more) => joined.extend(more),
                None => break,
            }
        }
        Ok(Some(joined))
    }

    fn group(&self, path: &str) -> Result<Group, H5Error> {
        check_depth(path)?;
        if path.split('/').all(str::is_empty) {
            return Ok(self.file.root());
        }
        self.file.group(path).map_err(|error| translate(path, "group", error))
    }

    fn dataset(&self, path: &str) -> Result<Dataset, H5Error> {
        check_depth(path)?;
        self.file.dataset(path).map_err(|error| translate(path, "dataset", error))
    }

    fn attributes(&self, path: &str) -> Result<HashMap<String, AttrValue>, H5Error> {
        let attributes = match self.group(path) {
            Ok(group) => group.attrs(),
            Err(H5Error::Missing { .. }) => self.dataset(path)?.attrs(),
            Err(error) => return Err(error),
        };
        attributes.map_err(|error| translate(path, "group or dataset", error))
    }

    /// Counts a dataset's values, of at least `width` bytes each, against the budget before they
    /// are read, and returns its shape.
    fn admit(&self, path: &str, dataset: &Dataset, width: usize) -> Result<Vec<usize>, H5Error> {
        let shape = shape_of(path, dataset)?;
        self.budget.admit(path, dataset, width as u64, self.file.file_size())?;
        // An axis of 0 makes nothing of the others, but they may have been multiplied by then.
        let bytes = shape.iter().try_fold(width, |bytes, &n| bytes.checked_mul(n.max(1)));
        let too_large = || H5Error::damaged(path, format!("shape {shape:?} is too large"));
        bytes.ok_or_else(too_large)?;
        Ok(shape)
    }

    fn check_count(&self, path: &str, shape: &[usize], received: usize) -> Result<(), H5Error> {
        let expected: usize = shape.iter().product();
        if expected == received {
            return Ok(());
        }
        Err(H5Error::damaged(path, format!("{received} values for shape {shape:?}")))
    }
}

fn shape_of(path: &str, dataset: &Dataset) -> Result<Vec<usize>, H5Error> {
    let dims = dataset.shape().map_err(|error| translate(path, "dataset", error))?;
    let too_large = |_| H5Error::damaged(path, format!("shape {dims:?} is too large"));
    dims.iter().map(|&n| usize::try_from(n).map_err(too_large)).collect()
}

/// The strings of an attribute. An empty list may carry any type: h5py writes `[]` as floats,
/// and so do Keras' files for layers without weights.
fn strings_of(value: &AttrValue) -> Option<Vec<String>> {
    match value.as_strings() {
        Some(strings) => Some(strings.to_vec()),
        None => value.to_f64s().filter(Vec::is_empty).map(|_| Vec::new()),
    }
}

fn check_depth(path: &str) -> Result<(), H5Error> {
    if path.split('/').filter(|part| !part.is_empty()).count() > MAX_DEPTH {
        return Err(H5Error::Depth { path: path.to_owned() });
    }
    Ok(())
}

fn wrong_attribute(path: &str, name: &str, expected: &'static str, value: &AttrValue) -> H5Error {
    H5Error::Type { path: format!("{path}@{name}"), expected, received: value.type_name().to_owned() }
}

/// The reader's error where there is no path yet.
fn open_error(error: Error) -> H5Error {
    H5Error::Open { reason: error.to_string(), source: Some(cause(error)) }
}

/// The system's error where the reader hasn't begun.
fn unopened(error: std::io::Error) -> H5Error {
    H5Error::Open { reason: error.to_string(), source: Some(error.into()) }
}
