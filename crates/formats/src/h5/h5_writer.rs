//! The HDF5 writer: a tree of borrowed values, written from front to back without a second copy of large values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use engraft_nn::io_reason;
use half::f16;
use hdf5_pure::{
    AttrValue, Dataset, DatasetBuilder, File, FileBuilder, FinishedGroup, Group, GroupBuilder, Layout, Source,
    make_f32_type, make_i32_type, make_i64_type,
};

use super::datatype::binary16;
use super::sparse_file::SparseFile;
use super::{ATTRIBUTE_LIMIT, H5Error, MAX_DEPTH};
use crate::FloatType;

/// Number of values that are converted and written at a time.
const WRITE_BLOCK: usize = 16384;

/// An HDF5 file to be written: groups, datasets and attributes by path.
///
/// The components of a path are separated by `/`; the empty path is the root. The groups above a
/// dataset are created as needed. Values are borrowed until [`H5Writer::write_to`] writes them.
/// String attributes have variable length, which h5py reads as `str`. Lists of names are fixed-length bytes, as in Keras.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::h5::{H5File, H5Writer};
/// let kernel = [0.5_f32, -0.5, 0.25, 1.0];
/// let mut writer = H5Writer::new();
/// writer.attr_strings("", "layer_names", &["base", "top"])?;
/// writer.attr_string("", "backend", "tensorflow")?;
/// writer.group("base")?;
/// writer.weight("top/kernel", &[2, 2], &kernel[..], FloatType::F16)?;
/// writer.f32("top/bias", &[2], vec![0.5_f32, -0.5])?;
/// writer.i32("top/classes", &[], vec![2])?;
/// writer.i64("iterations", &[], vec![7])?;
/// let mut bytes = Vec::new();
/// writer.write_to(&mut bytes)?;
///
/// let file = H5File::from_bytes(bytes)?;
/// assert_eq!(file.attr_strings("", "layer_names")?.unwrap(), ["base", "top"]);
/// assert_eq!(file.dataset_kind("top/kernel")?, "F16");
/// assert_eq!(file.read_f32("top/kernel")?, (vec![2, 2], kernel.to_vec()));
/// assert_eq!((file.read_i64("top/classes")?.1, file.read_i64("iterations")?.1), (vec![2], vec![7]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct H5Writer<'a> {
    root: GroupNode<'a>,
}

/// A group of the tree.
#[derive(Debug, Default)]
struct GroupNode<'a> {
    attributes: Vec<(String, AttrValue)>,
    groups: BTreeMap<String, GroupNode<'a>>,
    datasets: BTreeMap<String, (Vec<u64>, Values<'a>)>,
}

/// The values of a dataset. The variant is their type in the file.
#[derive(Debug)]
enum Values<'a> {
    F32(Cow<'a, [f32]>),
    /// f32 values that are rounded to f16 when they are written.
    F16(Cow<'a, [f32]>),
    I32(Cow<'a, [i32]>),
    I64(Cow<'a, [i64]>),
}

impl<'a> H5Writer<'a> {
    /// A writer of a file that has only the empty root group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a group and its missing parent groups. Keras expects some empty groups, such as `vars` of
    /// a layer without weights.
    ///
    /// # Errors
    /// [`H5Error::Name`] when a component of the path is a dataset, [`H5Error::Depth`].
    pub fn group(&mut self, path: &str) -> Result<(), H5Error> {
        self.node(path).map(|_| ())
    }

    /// Adds a dataset of f32. An empty shape makes a scalar.
    ///
    /// # Errors
    /// [`H5Error::Shape`] when the number of values doesn't match the shape, [`H5Error::Name`] when the name is empty
    /// or taken or a component before it is a dataset, [`H5Error::Depth`].
    pub fn f32(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::F32(values.into()))
    }

    /// Adds a weight as f32 or f16. Arrays of one axis are always f32: see [`FloatType::F16`].
    ///
    /// # Errors
    /// Those of [`H5Writer::f32`].
    pub fn weight(
        &mut self,
        path: &str,
        shape: &[usize],
        values: impl Into<Cow<'a, [f32]>>,
        float_type: FloatType,
    ) -> Result<(), H5Error> {
        let values = match float_type.of(shape) {
            FloatType::F32 => Values::F32(values.into()),
            FloatType::F16 => Values::F16(values.into()),
        };
        self.dataset(path, shape, values)
    }

    /// Adds a dataset of i32. An empty shape makes a scalar.
    ///
    /// # Errors
    /// Those of [`H5Writer::f32`].
    pub fn i32(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [i32]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::I32(values.into()))
    }

    /// Adds a dataset of i64. An empty shape makes a scalar, such as an optimizer's `iterations`.
    ///
    /// # Errors
    /// Those of [`H5Writer::f32`].
    pub fn i64(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [i64]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::I64(values.into()))
    }

    /// Sets a string attribute of a group. Creates the group if there is none.
    ///
    /// # Errors
    /// [`H5Error::Name`] when the attribute is set already or a component of the path is a dataset, [`H5Error::Depth`].
    pub fn attr_string(&mut self, group: &str, name: &str, value: &str) -> Result<(), H5Error> {
        self.attribute(group, name, AttrValue::VarLenString(value.to_owned()))
    }

    /// Sets an attribute that is a list of strings, such as `layer_names`, as fixed-length bytes.
    ///
    /// A list too long for one attribute is split into `layer_names0`, `layer_names1`, …, as in Keras.
    ///
    /// # Errors
    /// Those of [`H5Writer::attr_string`].
    pub fn attr_strings<S: AsRef<str>>(&mut self, group: &str, name: &str, values: &[S]) -> Result<(), H5Error> {
        let width = values.iter().map(|value| value.as_ref().len()).max().unwrap_or(0).max(1);
        let part_len = (ATTRIBUTE_LIMIT / width).max(1);
        let list = |part: &[S]| AttrValue::AsciiStringArray(part.iter().map(|s| s.as_ref().to_owned()).collect());
        if values.len() <= part_len {
            return self.attribute(group, name, list(values));
        }
        for (index, part) in values.chunks(part_len).enumerate() {
            self.attribute(group, &format!("{name}{index}"), list(part))?;
        }
        Ok(())
    }

    /// Writes the file from front to back, without a second copy of large values in memory.
    ///
    /// # Errors
    /// [`H5Error::Write`] when the output refuses the bytes or the HDF5 crate can't lay out the file.
    pub fn write_to(&self, mut output: impl Write) -> Result<(), H5Error> {
        let write_error =
            |error: std::io::Error| H5Error::Write { reason: io_reason(&error), source: Some(error.into()) };
        let sparse = self.lay_out()?;
        let mut position = 0;
        for (address, values) in self.large_offsets(sparse.clone())? {
            sparse.copy(position..address, &mut output).map_err(write_error)?;
            values.write_to(&mut output).map_err(write_error)?;
            position = address + values.byte_len() as u64;
        }
        sparse.copy(position..sparse.len(), &mut output).map_err(write_error)?;
        output.flush().map_err(write_error)
    }

    /// Lays out the file, with zeros in the place of [large](Values::is_large) values.
    fn lay_out(&self) -> Result<SparseFile, H5Error> {
        let mut file = FileBuilder::new();
        for (name, value) in &self.root.attributes {
            file.set_attr(name, value.clone());
        }
        for (name, (shape, values)) in &self.root.datasets {
            values.stage(file.create_dataset(name), shape);
        }
        for (name, node) in &self.root.groups {
            let group = file.create_group(name);
            file.add_group(node.stage(group));
        }
        let mut sparse = SparseFile::default();
        file.finish_to(&mut sparse).map_err(layout_error)?;
        Ok(sparse)
    }

    /// The [large](Values::is_large) values, each with the offset of its bytes in the laid-out file, in file order.
    ///
    /// The laid-out file holds zeros in the place of these values.
    fn large_offsets(&self, laid_out: impl Source + Send + Sync + 'static) -> Result<Vec<(u64, &Values<'a>)>, H5Error> {
        let file = File::from_source(laid_out).map_err(layout_error)?;
        let mut offsets = Vec::new();
        self.root.large_offsets(&file.root(), &mut offsets)?;
        offsets.sort_by_key(|&(address, _)| address);
        Ok(offsets)
    }

    fn node(&mut self, path: &str) -> Result<&mut GroupNode<'a>, H5Error> {
        let mut node = &mut self.root;
        for (depth, name) in path.split('/').filter(|name| !name.is_empty()).enumerate() {
            if depth == MAX_DEPTH {
                return Err(H5Error::Depth { path: path.to_owned() });
            }
            if name == "." || node.datasets.contains_key(name) {
                return Err(H5Error::Name {
                    path: path.to_owned(),
                    reason: "a component of this path is a dataset, not a group",
                });
            }
            node = node.groups.entry(name.to_owned()).or_default();
        }
        Ok(node)
    }

    fn dataset(&mut self, path: &str, shape: &[usize], values: Values<'a>) -> Result<(), H5Error> {
        if shape.iter().product::<usize>() != values.len() {
            return Err(H5Error::Shape { path: path.to_owned(), shape: shape.to_vec(), received: values.len() });
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let node = self.node(parent)?;
        if name.is_empty() || name == "." || node.groups.contains_key(name) || node.datasets.contains_key(name) {
            return Err(H5Error::Name { path: path.to_owned(), reason: "the name is empty or taken" });
        }
        let shape = shape.iter().map(|&n| n as u64).collect();
        node.datasets.insert(name.to_owned(), (shape, values));
        Ok(())
    }

    fn attribute(&mut self, group: &str, name: &str, value: AttrValue) -> Result<(), H5Error> {
        let node = self.node(group)?;
        if node.attributes.iter().any(|(taken, _)| taken == name) {
            return Err(H5Error::Name { path: format!("{group}@{name}"), reason: "the attribute is set already" });
        }
        node.attributes.push((name.to_owned(), value));
        Ok(())
    }
}

impl<'a> GroupNode<'a> {
    fn stage(&self, mut group: GroupBuilder) -> FinishedGroup {
        for (name, value) in &self.attributes {
            group.set_attr(name, value.clone());
        }
        for (name, (shape, values)) in &self.datasets {
            values.stage(group.create_dataset(name), shape);
        }
        for (name, node) in &self.groups {
            let child = group.create_group(name);
            group.add_group(node.stage(child));
        }
        group.finish()
    }

    /// Adds the large values of this group and the groups in it, each with its offset in the file of which `laid_out` is this group.
    ///
    /// Each group is listed once: looking its members up one at a time would parse the group for each of them.
    fn large_offsets<'n>(&'n self, laid_out: &Group, found: &mut Vec<(u64, &'n Values<'a>)>) -> Result<(), H5Error> {
        if self.datasets.values().any(|(_, values)| values.is_large()) {
            for (name, dataset) in laid_out.iter_datasets().map_err(layout_error)? {
                let values = self.datasets.get(&name).map(|(_, values)| values);
                if let Some(values) = values.filter(|values| values.is_large()) {
                    found.push((values.offset(&name, &dataset)?, values));
                }
            }
        }
        if !self.groups.is_empty() {
            for (name, group) in laid_out.iter_groups().map_err(layout_error)? {
                self.groups.get(&name).map_or(Ok(()), |node| node.large_offsets(&group, found))?;
            }
        }
        Ok(())
    }
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) | Self::F16(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    fn byte_len(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(values.as_ref()),
            Self::F16(values) => 2 * values.len(),
            Self::I32(values) => size_of_val(values.as_ref()),
            Self::I64(values) => size_of_val(values.as_ref()),
        }
    }

    /// Whether the values take 64 KiB or more in the file. Such values are streamed to the output instead of copied.
    fn is_large(&self) -> bool {
        self.byte_len() >= 1 << 16
    }

    /// The offset of these values in the laid-out file.
    fn offset(&self, name: &str, dataset: &Dataset) -> Result<u64, H5Error> {
        match dataset.layout().map_err(layout_error)? {
            Layout::Contiguous { address: Some(address), size } if size == self.byte_len() as u64 => Ok(address),
            other => Err(H5Error::Write { reason: format!("`{name}` was laid out as {other:?}"), source: None }),
        }
    }

    fn stage(&self, dataset: &mut DatasetBuilder, shape: &[u64]) {
        let datatype = match self {
            Self::F32(_) => make_f32_type(),
            Self::F16(_) => binary16(),
            Self::I32(_) => make_i32_type(),
            Self::I64(_) => make_i64_type(),
        };
        let mut bytes = Vec::new();
        if self.is_large() {
            // Zeroed memory that is never touched takes address space but no physical memory.
            bytes = vec![0; self.byte_len()];
        } else {
            self.write_to(&mut bytes).expect("a Vec takes every byte");
        }
        dataset.with_raw_data(datatype, bytes, self.len() as u64).with_shape(shape);
    }

    fn write_to(&self, output: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::F32(values) => write_values(values, f32::to_le_bytes, output),
            Self::F16(values) => write_values(values, |value| f16::from_f32(value).to_le_bytes(), output),
            Self::I32(values) => write_values(values, i32::to_le_bytes, output),
            Self::I64(values) => write_values(values, i64::to_le_bytes, output),
        }
    }
}

/// Writes values as little-endian bytes, a block at a time.
fn write_values<T: Copy, const N: usize>(
    values: &[T],
    to_bytes: fn(T) -> [u8; N],
    output: &mut impl Write,
) -> std::io::Result<()> {
    let mut block = Vec::with_capacity(WRITE_BLOCK * N);
    for part in values.chunks(WRITE_BLOCK) {
        block.clear();
        block.extend(part.iter().flat_map(|&value| to_bytes(value)));
        output.write_all(&block)?;
    }
    Ok(())
}

fn layout_error(error: hdf5_pure::Error) -> H5Error {
    H5Error::Write { reason: error.to_string(), source: Some(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::H5File;
    use super::super::counting_source::{ByteCount, CountingSource};
    use super::*;

    /// Large values, shared by all arrays.
    static VALUES: [f32; 1 << 14] = [0.5; 1 << 14];

    /// Bytes read to find the values of as many layers of a large and a small array each.
    fn bytes_to_find(layers: usize) -> u64 {
        let mut writer = H5Writer::new();
        for layer in 0..layers {
            writer.f32(&format!("layers/dense_{layer}/vars/0"), &[VALUES.len()], &VALUES[..]).unwrap();
            writer.f32(&format!("layers/dense_{layer}/vars/1"), &[1], vec![1.0]).unwrap();
        }
        let (laid_out, count) = (writer.lay_out().unwrap(), ByteCount::default());
        let find = || writer.large_offsets(CountingSource::new(laid_out, count.clone())).unwrap().len();
        let (found, bytes) = count.during(find);
        assert_eq!(found, layers);
        bytes
    }

    #[test]
    fn the_bytes_read_to_place_large_values_grow_with_the_number_of_layers() {
        let (few, many) = (bytes_to_find(20), bytes_to_find(200));
        assert!(many < 12 * few, "{few} bytes for 20 layers, {many} for 200");
    }

    #[test]
    fn large_and_small_values_stand_where_their_names_say() {
        let large = |first: f32| -> Vec<f32> { (0..1 << 14).map(|index| first + index as f32).collect() };
        let mut writer = H5Writer::new();
        for (path, first) in [("b/x", 1.0), ("a", 2.0), ("b/c/x", 3.0), ("b/c/y", 4.0)] {
            writer.f32(path, &[1 << 14], large(first)).unwrap();
        }
        writer.f32("b/small", &[1], vec![5.0]).unwrap();
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).unwrap();
        let file = H5File::from_bytes(bytes).unwrap();
        for (path, first) in [("b/x", 1.0), ("a", 2.0), ("b/c/x", 3.0), ("b/c/y", 4.0)] {
            assert_eq!(file.read_f32(path).unwrap().1, large(first), "{path}");
        }
        assert_eq!(file.read_f32("b/small").unwrap().1, [5.0]);
    }
}
