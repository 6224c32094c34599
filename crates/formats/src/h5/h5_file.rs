//! The HDF5 reader: an open file whose groups, datasets and attributes are read by path.

use std::collections::HashMap;
use std::io::{Cursor, Read, Seek};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use engraft_nn::io_reason;
use hdf5_pure::{
    AttrValue, ChunkCacheConfig, Dataset, Error, File, FileAccessProperties, Group, Layout, ReadSeekSource,
};

use super::block_cache::BlockCache;
use super::budget::Budget;
use super::convert_error::{cause, convert_error};
use super::counting_source::{ByteCount, CountingSource};
use super::members::{self, Listings, Members};
use super::parallel_reader::{MIN_VALUES, ParallelReader};
use super::{H5Error, MAX_DEPTH, datatype};
use crate::{expansion, pickle};

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

/// Whether a file begins with the HDF5 signature. Rewinds the file.
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
/// The components of a path are separated by `/`; the empty path is the root. All reads of a file
/// share a memory budget: 16 times the file's length, and at least 64 MiB, unless
/// [`H5File::with_budget`] sets another. The budget is checked before memory is allocated.
///
/// ```
/// use engraft_formats::h5::{H5File, H5Writer};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("top.weights.h5");
/// let mut writer = H5Writer::new();
/// writer.f32("layers/dense/vars/0", &[2, 3], vec![0.5_f32; 6])?;
/// writer.attr_string("layers/dense/vars", "name", "top")?;
/// writer.i64("optimizer/vars/0", &[], vec![7_i64])?;
/// writer.write_to(std::fs::File::create(&path)?)?;
///
/// let file = H5File::open(&path)?;
/// let layers: Vec<_> = file.children("layers")?.into_iter().map(|entry| entry.name).collect();
/// assert_eq!(layers, ["dense"]);
/// assert_eq!(file.attr_string("layers/dense/vars", "name")?.as_deref(), Some("top"));
/// let kernel = "layers/dense/vars/0";
/// assert_eq!((file.dataset_shape(kernel)?, file.dataset_kind(kernel)?), (vec![2, 3], "F32".to_owned()));
/// assert_eq!(file.read_f32(kernel)?, (vec![2, 3], vec![0.5; 6]));
/// assert_eq!(file.read_i64("optimizer/vars/0")?, (vec![], vec![7]));
/// assert!(!file.contains("layers/dense/vars/1")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct H5File {
    file: File,
    budget: Budget,
    /// A reader of the same bytes for parallel reads; `None` if the file isn't on disk or the system doesn't support them.
    parallel: Option<ParallelReader>,
    listings: Listings,
    /// The groups that were found without a listing, by path. Looking a group up from the root parses every group above it.
    unlisted: Mutex<HashMap<String, Group>>,
}

impl H5File {
    /// Opens a file on disk. Values are read on demand; the file is never loaded as a whole.
    ///
    /// # Errors
    /// [`H5Error::Open`] when it can't be read, isn't HDF5, or is truncated; [`H5Error::Pickle`].
    pub fn open(path: &Path) -> Result<Self, H5Error> {
        let file = std::fs::File::open(path).map_err(unopened)?;
        let parallel = ParallelReader::of(&file);
        Self::from_reader(file).map(|file| file.with_parallel_reader(parallel))
    }

    /// Opens a file in memory.
    ///
    /// ```
    /// use engraft_formats::h5::{H5File, H5Writer};
    /// let mut bytes = Vec::new();
    /// H5Writer::new().write_to(&mut bytes)?;
    /// assert!(H5File::from_bytes(bytes)?.children("")?.is_empty());
    /// # Ok::<(), engraft_formats::h5::H5Error>(())
    /// ```
    ///
    /// # Errors
    /// [`H5Error::Open`] when it isn't HDF5 or is truncated; [`H5Error::Pickle`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, H5Error> {
        Self::from_reader(Cursor::new(bytes))
    }

    /// Opens a file from any seekable reader, such as an uncompressed entry of a zip archive.
    ///
    /// ```
    /// use engraft_formats::h5::{H5File, H5Writer};
    /// let mut bytes = Vec::new();
    /// H5Writer::new().write_to(&mut bytes)?;
    /// let truncated = std::io::Cursor::new(bytes[..bytes.len() - 1].to_vec());
    /// let error = H5File::from_reader(truncated).unwrap_err();
    /// assert!(error.to_string().contains("is the file complete?"));
    /// # Ok::<(), engraft_formats::h5::H5Error>(())
    /// ```
    ///
    /// # Errors
    /// [`H5Error::Open`] when it can't be read, isn't HDF5, or is truncated; [`H5Error::Pickle`].
    pub fn from_reader(mut reader: impl Read + Seek + Send + 'static) -> Result<Self, H5Error> {
        if pickle::begins_as_pickle(&mut reader).map_err(|error| open_error(error.into()))? {
            return Err(H5Error::Pickle);
        }
        let reader = BlockCache::new(reader).map_err(unopened)?;
        let source = ReadSeekSource::new(reader).map_err(|error| open_error(error.into()))?;
        let bytes_read = ByteCount::default();
        let source = CountingSource::new(source, bytes_read.clone());
        // Datasets are kept, but each is read once: its chunks must not stay in memory with it.
        let properties = FileAccessProperties::new().with_chunk_cache(ChunkCacheConfig::disabled());
        let file = File::from_source_with_options(source, properties).map_err(open_error)?;
        let (declared, len) = (file.superblock().eof_address, file.file_size());
        if declared > len {
            let reason = format!("expected {declared} bytes, received {len}: is the file complete?");
            return Err(H5Error::Open { reason, source: None });
        }
        let budget = Budget::new(expansion::limit(len));
        let listings = Listings::new(bytes_read, members::limit(len));
        Ok(Self { file, budget, parallel: None, listings, unlisted: Mutex::default() })
    }

    /// Sets the second reader, for large datasets. It must read the same bytes as this file.
    pub(crate) fn with_parallel_reader(self, parallel: Option<ParallelReader>) -> Self {
        Self { parallel, ..self }
    }

    /// Sets the memory budget in bytes that all further reads share.
    ///
    /// ```
    /// use engraft_formats::h5::{H5Error, H5File, H5Writer};
    /// let mut writer = H5Writer::new();
    /// writer.f32("kernel", &[4], vec![0.0_f32; 4])?;
    /// let mut bytes = Vec::new();
    /// writer.write_to(&mut bytes)?;
    /// let file = H5File::from_bytes(bytes)?.with_budget(20);
    /// assert!(file.read_f32("kernel").is_ok());
    /// let error = file.read_f32("kernel").unwrap_err();
    /// assert!(matches!(error, H5Error::Budget { declared: 16, left: 4, .. }));
    /// # Ok::<(), engraft_formats::h5::H5Error>(())
    /// ```
    #[must_use]
    pub fn with_budget(self, bytes: u64) -> Self {
        Self { budget: Budget::new(bytes), ..self }
    }

    /// The members of a group, sorted by name (by bytes, as in h5py).
    ///
    /// # Errors
    /// [`H5Error::Missing`] when `group` isn't a group in this file, [`H5Error::Depth`],
    /// [`H5Error::Damaged`].
    pub fn children(&self, group: &str) -> Result<Vec<H5Entry>, H5Error> {
        let entries = match self.members(group)? {
            Some(members) => members.entries(),
            None => self.unlisted_children(group)?,
        };
        // A path with an empty name or `.` leads back to this group, so a walk over all groups would never end. A name
        // with a slash would be taken for several names.
        if let Some(entry) = entries.iter().find(|entry| matches!(&*entry.name, "" | ".") || entry.name.contains('/')) {
            let reason = format!("a member called `{}`, which no path can name", entry.name);
            return Err(H5Error::damaged(group, reason));
        }
        Ok(entries)
    }

    /// The members of a group that [`members`](Self::members) doesn't list, sorted by name.
    fn unlisted_children(&self, group: &str) -> Result<Vec<H5Entry>, H5Error> {
        let node = self.group(group)?;
        let damaged = |error| convert_error(group, "group", error);
        let groups = node.groups().map_err(damaged)?.into_iter().map(|name| H5Entry { name, is_group: true });
        let datasets = node.datasets().map_err(damaged)?.into_iter().map(|name| H5Entry { name, is_group: false });
        let mut entries: Vec<_> = groups.chain(datasets).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Whether there is a group or dataset at `path`.
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

    /// The element type of a dataset, by name: `F32`, `I64`, ….
    ///
    /// Signed and unsigned integers have the same name.
    ///
    /// # Errors
    /// Those of [`H5File::dataset_shape`].
    pub fn dataset_kind(&self, path: &str) -> Result<String, H5Error> {
        let datatype = self.dataset(path)?.datatype().map_err(|error| convert_error(path, "dataset", error))?;
        Ok(datatype::name(&datatype))
    }

    /// Reads the shape and values of a numeric dataset, row-major, converted to f32. 64-bit floats and
    /// integers are rounded to the nearest f32.
    ///
    /// # Errors
    /// [`H5Error::Missing`], [`H5Error::Depth`], [`H5Error::Type`] when its type isn't numeric,
    /// [`H5Error::Outside`] when its data isn't in this file, [`H5Error::Budget`],
    /// [`H5Error::Damaged`].
    pub fn read_f32(&self, path: &str) -> Result<(Vec<usize>, Vec<f32>), H5Error> {
        let dataset = self.dataset(path)?;
        let shape = self.admit(path, &dataset, size_of::<f32>())?;
        let values = match self.read_in_parallel(path, &dataset, shape.iter().product())? {
            Some(values) => values,
            None => datatype::read_f32(path, &dataset)?,
        };
        self.check_count(path, &shape, values.len())?;
        Ok((shape, values))
    }

    /// Reads a dataset of contiguous little-endian f32 without a conversion, in parallel if it is large; `None` if the ordinary reader must read the dataset.
    fn read_in_parallel(&self, path: &str, dataset: &Dataset, count: usize) -> Result<Option<Vec<f32>>, H5Error> {
        let damaged = |error| convert_error(path, "dataset", error);
        let Some(parallel) = self.parallel.as_ref().filter(|_| count >= MIN_VALUES) else { return Ok(None) };
        let Layout::Contiguous { address: Some(address), size } = dataset.layout().map_err(damaged)? else {
            return Ok(None);
        };
        let end = address.checked_add(size).filter(|&end| end <= self.file.file_size());
        if end.is_none() || size != (count * size_of::<f32>()) as u64 || !datatype::is_little_endian_f32(path, dataset)?
        {
            return Ok(None);
        }
        // Reading the first row with the HDF5 crate runs all its checks of the dataset. If that row differs from the parallel
        // read, the caller falls back to the ordinary reader.
        let row = dataset.read_f32_rows(0, 1).map_err(damaged)?;
        let mut values = vec![0.0; count];
        engraft_memory::prefer_huge_pages(&mut values);
        parallel.read_f32(address, &mut values).map_err(|error| H5Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
            source: Some(error.into()),
        })?;
        let same = values.iter().zip(&row).all(|(a, b)| a.to_bits() == b.to_bits());
        Ok(same.then_some(values))
    }

    /// Reads the shape and values of an integer dataset, such as an optimizer's `iterations`.
    ///
    /// # Errors
    /// Those of [`H5File::read_f32`]; [`H5Error::Type`] also for floats.
    pub fn read_i64(&self, path: &str) -> Result<(Vec<usize>, Vec<i64>), H5Error> {
        let dataset = self.dataset(path)?;
        let shape = self.admit(path, &dataset, size_of::<i64>())?;
        let values = datatype::read_i64(path, &dataset)?;
        self.check_count(path, &shape, values.len())?;
        Ok((shape, values))
    }

    /// Reads a string attribute of a group or dataset; `None` if there is no such attribute.
    ///
    /// # Errors
    /// [`H5Error::Missing`] when there is nothing at `path`, [`H5Error::Type`] when the attribute
    /// isn't a single string, [`H5Error::Depth`], [`H5Error::Damaged`].
    pub fn attr_string(&self, path: &str, name: &str) -> Result<Option<String>, H5Error> {
        let attributes = self.attributes(path)?;
        let Some(value) = attributes.get(name) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(wrong_attribute(path, name, "a string", value)),
        }
    }

    /// Reads an attribute that is a list of strings, such as `layer_names`; `None` if there is no
    /// such attribute.
    ///
    /// Keras splits a long list into attributes `layer_names0`, `layer_names1`, …; they are joined
    /// again.
    ///
    /// ```
    /// use engraft_formats::h5::{H5File, H5Writer};
    /// let mut writer = H5Writer::new();
    /// writer.attr_strings("", "layer_names0", &["base"])?;
    /// writer.attr_strings("", "layer_names1", &["top"])?;
    /// let mut bytes = Vec::new();
    /// writer.write_to(&mut bytes)?;
    /// let names = H5File::from_bytes(bytes)?.attr_strings("", "layer_names")?;
    /// assert_eq!(names.unwrap(), ["base", "top"]);
    /// # Ok::<(), engraft_formats::h5::H5Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`H5File::attr_string`]; [`H5Error::Type`] when the attribute isn't a list of strings.
    pub fn attr_strings(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, H5Error> {
        let attributes = self.attributes(path)?;
        let list = |name: &str| match attributes.get(name) {
            None => Ok(None),
            Some(value) => strings_of(value).ok_or_else(|| wrong_attribute(path, name, "strings", value)).map(Some),
        };
        if let Some(unsplit) = list(name)? {
            return Ok(Some(unsplit));
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

    /// The members of a group; `None` if they can't be listed, see [`Listings::of`].
    fn members(&self, group: &str) -> Result<Option<Arc<Members>>, H5Error> {
        self.listings.of(group, || self.group(group))
    }

    fn group(&self, path: &str) -> Result<Group, H5Error> {
        check_depth(path)?;
        if path.split('/').all(str::is_empty) {
            return Ok(self.file.root());
        }
        let Some((above, name)) = self.above(path)? else {
            return self.file.group(path).map_err(|error| convert_error(path, "group", error));
        };
        if let Some(members) = self.members(above)? {
            let missing = || H5Error::Missing { path: path.to_owned(), expected: "group" };
            return members.group(name).cloned().ok_or_else(missing);
        }
        let known = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(group) = known {
            return Ok(group);
        }
        let group = self.group(above)?.group(name).map_err(|error| convert_error(path, "group", error))?;
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), group.clone());
        Ok(group)
    }

    fn dataset(&self, path: &str) -> Result<Dataset, H5Error> {
        check_depth(path)?;
        let dataset = match self.above(path)? {
            None => self.file.dataset(path),
            Some((above, name)) => match self.members(above)? {
                Some(members) => {
                    let missing = || H5Error::Missing { path: path.to_owned(), expected: "dataset" };
                    return members.dataset(name).cloned().ok_or_else(missing);
                }
                None => self.group(above)?.dataset(name),
            },
        };
        dataset.map_err(|error| convert_error(path, "dataset", error))
    }

    /// The path of the group above a path, and the path's last name; `None` if there is no such group in this file, or the path
    /// has no such form.
    fn above<'p>(&self, path: &'p str) -> Result<Option<(&'p str, &'p str)>, H5Error> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | ".") {
            return Ok(None);
        }
        match self.members(above) {
            Ok(_) => Ok(Some((above, name))),
            Err(H5Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn attributes(&self, path: &str) -> Result<HashMap<String, AttrValue>, H5Error> {
        let attributes = match self.group(path) {
            Ok(group) => group.attrs(),
            Err(H5Error::Missing { .. }) => self.dataset(path)?.attrs(),
            Err(error) => return Err(error),
        };
        attributes.map_err(|error| convert_error(path, "group or dataset", error))
    }

    /// Subtracts the memory of a dataset, at `width` bytes per value, from the budget and returns the dataset's
    /// shape. Must be called before the values are read.
    fn admit(&self, path: &str, dataset: &Dataset, width: usize) -> Result<Vec<usize>, H5Error> {
        let shape = shape_of(path, dataset)?;
        self.budget.admit(path, dataset, width as u64, self.file.file_size())?;
        // The product of the non-zero axes must not overflow: the HDF5 crate may multiply them before it meets an axis of 0.
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
    let dims = dataset.shape().map_err(|error| convert_error(path, "dataset", error))?;
    let too_large = |_| H5Error::damaged(path, format!("shape {dims:?} is too large"));
    dims.iter().map(|&n| usize::try_from(n).map_err(too_large)).collect()
}

/// The strings of an attribute. An empty list may have any type: h5py, and so Keras, writes `[]` as
/// floats.
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

/// The [`H5Error::Open`] for an error of the HDF5 crate on opening a file.
fn open_error(error: Error) -> H5Error {
    H5Error::Open { reason: error.to_string(), source: Some(cause(error)) }
}

/// The [`H5Error::Open`] for a system's error on opening a file.
fn unopened(error: std::io::Error) -> H5Error {
    H5Error::Open { reason: io_reason(&error), source: Some(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::H5Writer;
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_of_listings_reads_the_same() {
        let mut writer = H5Writer::new();
        writer.f32("layers/dense/vars/0", &[2], vec![1.0_f32, 2.0]).unwrap();
        writer.attr_string("layers/dense/vars", "name", "top").unwrap();
        writer.group("layers/add").unwrap();
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).unwrap();
        let listed = H5File::from_bytes(bytes.clone()).unwrap();
        let unlisted = H5File::from_bytes(bytes).unwrap();
        let unlisted = H5File { listings: Listings::new(ByteCount::default(), 0), ..unlisted };
        assert!(listed.members("layers").unwrap().is_some() && unlisted.members("layers").unwrap().is_none());
        for file in [listed, unlisted] {
            let names: Vec<_> = file.children("layers").unwrap().into_iter().map(|entry| entry.name).collect();
            assert_eq!(names, ["add", "dense"]);
            assert_eq!(file.read_f32("layers/dense/vars/0").unwrap(), (vec![2], vec![1.0, 2.0]));
            assert_eq!(file.attr_string("/layers/dense/vars", "name").unwrap().as_deref(), Some("top"));
            for (path, expected) in
                [("layers/add/vars/0", false), ("layers/./dense", true), ("dense", false), ("", true)]
            {
                assert_eq!(file.contains(path).unwrap(), expected, "{path}");
            }
            let missing = file.children("layers/dense/vars/0").unwrap_err();
            assert!(matches!(missing, H5Error::Missing { expected: "group", .. }), "{missing}");
            let missing = file.dataset_shape("layers/dense").unwrap_err();
            assert!(matches!(missing, H5Error::Missing { expected: "dataset", .. }), "{missing}");
        }
    }
}
