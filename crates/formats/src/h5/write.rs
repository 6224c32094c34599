//! Writing: a tree of borrowed values, laid down in one pass.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use hdf5_pure::{AttrValue, DatasetBuilder, FileBuilder, FinishedGroup, GroupBuilder};

use super::{ATTRIBUTE_LIMIT, H5Error, MAX_DEPTH};

/// An HDF5 file to be written: groups, datasets and attributes by path.
///
/// Paths are separated by `/`; the empty path is the root, and groups on the way to a dataset are
/// made as needed. Values are borrowed until [`H5Writer::write_to`] lays them down. h5py, and so
/// Keras, reads string attributes back as `str` and lists of names as fixed-length bytes.
#[derive(Debug, Default)]
pub struct H5Writer<'a> {
    root: Node<'a>,
}

#[derive(Debug, Default)]
struct Node<'a> {
    attributes: Vec<(String, AttrValue)>,
    groups: BTreeMap<String, Node<'a>>,
    datasets: BTreeMap<String, (Vec<u64>, Values<'a>)>,
}

#[derive(Debug)]
enum Values<'a> {
    F32(Cow<'a, [f32]>),
    I32(Cow<'a, [i32]>),
    I64(Cow<'a, [i64]>),
}

impl<'a> H5Writer<'a> {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a group, and those on the way to it. Keras expects some that hold nothing, such as
    /// `vars` of a layer without weights.
    ///
    /// # Errors
    /// [`H5Error::Name`] when a dataset stands on the way, [`H5Error::Depth`].
    pub fn group(&mut self, path: &str) -> Result<(), H5Error> {
        self.node(path).map(|_| ())
    }

    /// Adds a dataset of f32; an empty shape makes a scalar.
    ///
    /// # Errors
    /// [`H5Error::Shape`] when the values don't fill the shape, [`H5Error::Name`] when the path
    /// is taken, [`H5Error::Depth`].
    pub fn f32(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::F32(values.into()))
    }

    /// Adds a dataset of i32; an empty shape makes a scalar.
    ///
    /// # Errors
    /// As [`H5Writer::f32`].
    pub fn i32(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [i32]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::I32(values.into()))
    }

    /// Adds a dataset of i64; an empty shape makes a scalar, such as an optimizer's `iterations`.
    ///
    /// # Errors
    /// As [`H5Writer::f32`].
    pub fn i64(&mut self, path: &str, shape: &[usize], values: impl Into<Cow<'a, [i64]>>) -> Result<(), H5Error> {
        self.dataset(path, shape, Values::I64(values.into()))
    }

    /// Sets a string attribute of a group, which is made if need be.
    ///
    /// # Errors
    /// [`H5Error::Name`] when the attribute is set already, [`H5Error::Depth`].
    pub fn attr_string(&mut self, group: &str, name: &str, value: &str) -> Result<(), H5Error> {
        self.attribute(group, name, AttrValue::VarLenString(value.to_owned()))
    }

    /// Sets an attribute that lists strings, such as `layer_names`, as fixed-length bytes. A list
    /// too long for one attribute is split as Keras splits it, into `layer_names0`,
    /// `layer_names1`, ….
    ///
    /// # Errors
    /// As [`H5Writer::attr_string`].
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

    /// Lays the file down front to back.
    ///
    /// # Errors
    /// [`H5Error::Write`] when the output refuses the bytes.
    pub fn write_to(&self, output: impl Write) -> Result<(), H5Error> {
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
        file.finish_to(output).map_err(|error| H5Error::Write { reason: error.to_string() })
    }

    fn node(&mut self, path: &str) -> Result<&mut Node<'a>, H5Error> {
        let mut node = &mut self.root;
        for (depth, name) in path.split('/').filter(|name| !name.is_empty()).enumerate() {
            if depth == MAX_DEPTH {
                return Err(H5Error::Depth { path: path.to_owned() });
            }
            if name == "." || node.datasets.contains_key(name) {
                return Err(H5Error::Name {
                    path: path.to_owned(),
                    reason: "a dataset, not a group, stands on the way",
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

impl Node<'_> {
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
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    fn stage(&self, dataset: &mut DatasetBuilder, shape: &[u64]) {
        match self {
            Self::F32(values) => dataset.with_f32_data(values),
            Self::I32(values) => dataset.with_i32_data(values),
            Self::I64(values) => dataset.with_i64_data(values),
        }
        .with_shape(shape);
    }
}
