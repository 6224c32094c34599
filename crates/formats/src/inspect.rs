//! Inspection of a model or array file of any supported format: layers, arrays, and the program that wrote it.
//!
//! ```
//! use engraft_formats::inspect::inspect;
//! use engraft_formats::keras::{self, SaveOptions};
//! use engraft_nn::prelude::*;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.keras");
//! let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
//! keras::save(&model, &path, &SaveOptions::default())?;
//!
//! let contents = inspect(&path)?;
//! assert!(contents.written_by.is_some_and(|program| program.ends_with("as Keras 3.15.1")));
//! assert_eq!((contents.layers[0].name.as_str(), contents.layers[0].class.as_str()), ("top", "Dense"));
//! assert_eq!(contents.arrays[0].shape, [4, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod keras_model;
mod onnx;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use engraft_nn::{Error, OpenShape, Result};

use crate::archive::Zip;
use crate::error::{at, within_file};
use crate::foreign::Foreign;
use crate::h5::{H5Error, H5File, is_hdf5};
use crate::safetensors::SafetensorsFile;
use crate::{keras, npy};

/// The formats that are read, for errors.
const FORMATS: &str = "a .keras, .h5, .weights.h5, .safetensors, .onnx, .npy or .npz file";

/// Limit on the members of all groups of an HDF5 file together, enough for thousands of layers and their optimizer.
///
/// Without this limit, the walk through groups that contain each other would never end.
const MAX_ENTRIES: usize = 1 << 15;

/// The contents of a file: format, layers, arrays and metadata.
///
/// ```
/// use engraft_formats::{inspect::inspect, npy};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.npy");
/// npy::save(&path, &engraft_nn::Tensor::zeros([4, 2]))?;
/// let contents = inspect(&path)?;
/// assert_eq!(contents.format, "NumPy array (.npy)");
/// assert_eq!(contents.parameters(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Contents {
    /// The format in words, such as `Keras model (.keras)`.
    pub format: String,
    /// The program that wrote the file and its version, if the file records them.
    pub written_by: Option<String>,
    /// The opset version of an ONNX file.
    pub opset: Option<i64>,
    /// The layers of a Keras model. A nested model is followed by its own layers.
    pub layers: Vec<LayerInfo>,
    /// All arrays, including those of an optimizer. For an ONNX file: the initializers except 64-bit integers.
    pub arrays: Vec<ArrayInfo>,
    /// The optimizer and its number of steps, such as `Adam after 120 steps`. For weights without a model, only the steps.
    pub optimizer: Option<String>,
    /// Further texts by name: the metadata of a safetensors or ONNX file.
    pub texts: BTreeMap<String, String>,
    /// Reasons why the model, or a part of it, can't be loaded, and the warnings of loading it.
    pub problems: Vec<String>,
}

/// A layer of a model.
///
/// ```
/// use engraft_formats::{inspect::inspect, keras};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save_model(&model, &path)?;
/// let top = &inspect(&path)?.layers[0];
/// assert_eq!((top.name.as_str(), top.class.as_str()), ("top", "Dense"));
/// assert_eq!((top.output_shape.as_deref(), top.parameters), (Some(&[Some(2)][..]), Some(10)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The name, prefixed by the names of the nested models around it: `vgg16/block1_conv1`.
    pub name: String,
    /// The class name in Keras, such as `Dense`.
    pub class: String,
    /// The shape of its output for one sample, if the model can be loaded; `None` for a size that changes with the image size.
    pub output_shape: Option<OpenShape>,
    /// The number of parameters, including those of nested layers, if the model can be loaded.
    pub parameters: Option<usize>,
}

/// An array in a file.
///
/// ```
/// use engraft_formats::{inspect::inspect, npy};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("all.npz");
/// npy::save_npz(&path, &[("x", &engraft_nn::Tensor::zeros([4, 2]))])?;
/// let array = &inspect(&path)?.arrays[0];
/// assert_eq!((array.name.as_str(), &array.shape[..], array.kind.as_str()), ("x", &[4, 2][..], "F32"));
/// assert_eq!(array.count(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ArrayInfo {
    /// The name; in an HDF5 file, the path; empty for the array of a `.npy`.
    pub name: String,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The element type, such as `F32` or `I64`; for ONNX, its own name of the type, such as `FLOAT`.
    pub kind: String,
}

impl ArrayInfo {
    /// The number of elements by the shape, at most `usize::MAX`.
    pub fn count(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().copied().fold(1, usize::saturating_mul) }
    }
}

impl Contents {
    /// The arrays that aren't part of an optimizer.
    ///
    /// ```
    /// use engraft_formats::{inspect::inspect, keras};
    /// use engraft_nn::prelude::*;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("flowers.keras");
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
    /// keras::save_model(&model, &path)?;
    /// let contents = inspect(&path)?;
    /// let names: Vec<&str> = contents.weights().map(|array| array.name.as_str()).collect();
    /// assert_eq!(names, ["layers/dense/vars/0", "layers/dense/vars/1"]);
    /// assert!(contents.arrays.len() > names.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn weights(&self) -> impl Iterator<Item = &ArrayInfo> {
        self.arrays.iter().filter(|array| !array.name.starts_with("optimizer"))
    }

    /// The number of elements of all [weights](Self::weights).
    pub fn parameters(&self) -> usize {
        self.weights().map(ArrayInfo::count).fold(0, usize::saturating_add)
    }
}

/// Inspects a `.keras`, `.h5`, `.weights.h5`, `.safetensors`, `.onnx`, `.npy` or `.npz` file.
///
/// The format follows from the first bytes, not from the file name.
///
/// ```
/// use engraft_formats::inspect::inspect;
/// use engraft_formats::safetensors::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// safetensors::save_weights(&path, &model.layers(), &SaveOptions::default())?;
/// let contents = inspect(&path)?;
/// assert_eq!(contents.format, "safetensors");
/// assert_eq!(contents.arrays.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read, is damaged, or has another format.
pub fn inspect(path: &Path) -> Result<Contents> {
    let within = |error: Error| within_file(path, error);
    if keras::is_unzipped(path) {
        return keras_model::of_folder(path).map_err(within);
    }
    if let Some(foreign) = Foreign::of(path).filter(|kind| !matches!(kind, Foreign::Onnx | Foreign::Safetensors)) {
        return Err(foreign.error(path, FORMATS));
    }
    let unread = |error| within(Error::from_io("file", error));
    let mut file = File::open(path).map(BufReader::new).map_err(unread)?;
    let mut start = Vec::new();
    let read = file.by_ref().take(9).read_to_end(&mut start).and_then(|_| file.rewind());
    read.map_err(unread)?;
    let contents = if is_hdf5(&mut file).map_err(unread)? {
        hdf5(path, file)
    } else if start.starts_with(b"PK") {
        archive(path, file)
    } else if start.starts_with(b"\x93NUMPY") {
        npy(path)
    } else if start.get(8) == Some(&b'{') {
        safetensors(file)
    } else {
        // ONNX (protobuf) has no signature, so it is tried last.
        return onnx::contents(path);
    };
    contents.map_err(within)
}

fn safetensors(file: impl Read + Seek) -> Result<Contents> {
    let file = SafetensorsFile::new(file)?;
    let tensors = file.tensors().into_iter();
    let arrays = tensors.map(|tensor| ArrayInfo { name: tensor.name, shape: tensor.shape, kind: tensor.dtype });
    Ok(Contents {
        format: "safetensors".into(),
        arrays: arrays.collect(),
        texts: file.metadata().into_iter().collect(),
        ..Contents::default()
    })
}

fn npy(path: &Path) -> Result<Contents> {
    let bytes = std::fs::read(path).map_err(|error| Error::from_io("file", error))?;
    Ok(Contents {
        format: "NumPy array (.npy)".into(),
        arrays: vec![numpy_array(String::new(), npy::header(&bytes)?)],
        ..Contents::default()
    })
}

fn numpy_array(name: String, header: npy::Header) -> ArrayInfo {
    ArrayInfo { name, shape: header.shape, kind: header.element_type.to_string() }
}

/// A `.keras` or `.npz` file, both zip archives.
fn archive(path: &Path, file: BufReader<File>) -> Result<Contents> {
    let zip = Zip::new(file, "a .keras or .npz file (a zip archive)")?;
    if zip.names().iter().any(|name| name == "config.json") {
        return keras_model::of_archive(path, zip);
    }
    let file = File::open(path).map_err(|error| Error::from_io("file", error))?;
    let arrays = npy::each(BufReader::new(file), npy::header)?;
    Ok(Contents {
        format: "NumPy arrays (.npz)".into(),
        arrays: arrays.into_iter().map(|(name, header)| numpy_array(name, header)).collect(),
        ..Contents::default()
    })
}

/// An HDF5 file: a model, weights of Keras 3, or weights of Keras 2.
fn hdf5(path: &Path, file: BufReader<File>) -> Result<Contents> {
    let file = H5File::from_reader(file).map_err(in_h5)?;
    let text = |name| file.attr_string("", name).map_err(in_h5);
    if let Some(config) = text("model_config")? {
        return keras_model::of_hdf5(path, &file, &config);
    }
    let (arrays, keras_version) = (arrays(&file)?, text("keras_version")?);
    let layer_names = file.attr_strings("", "layer_names").map_err(in_h5)?;
    let has_vars = arrays.iter().any(|array| array.name.rsplit('/').nth(1) == Some("vars"));
    Ok(Contents {
        format: match (layer_names, has_vars) {
            (Some(_), _) => "weights by layer names (.h5)",
            (None, true) => "weights of Keras 3 (.weights.h5)",
            (None, false) => "HDF5",
        }
        .into(),
        written_by: keras_version.map(|version| format!("Keras {version}")),
        optimizer: steps(&arrays, &file),
        arrays,
        ..Contents::default()
    })
}

/// All arrays of an HDF5 file, by a walk over its groups.
fn arrays(file: &H5File) -> Result<Vec<ArrayInfo>> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut pending = vec![String::new()];
    while let Some(group) = pending.pop() {
        let mut groups = Vec::new();
        for entry in file.children(&group).map_err(in_h5)? {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(Error::new("groups", format_args!("at most {MAX_ENTRIES} entries"), "more"));
            }
            let path = if group.is_empty() { entry.name } else { format!("{group}/{}", entry.name) };
            if entry.is_group {
                groups.push(path);
                continue;
            }
            let shape = file.dataset_shape(&path).map_err(in_h5)?;
            let kind = file.dataset_kind(&path).map_err(in_h5)?;
            found.push(ArrayInfo { name: path, shape, kind });
        }
        pending.extend(groups.into_iter().rev());
    }
    Ok(found)
}

/// The number of steps of the optimizer in a `.weights.h5` of Keras 3, as in `after 120 steps`; `None` if it can't be read.
fn steps(arrays: &[ArrayInfo], file: &H5File) -> Option<String> {
    arrays.iter().find(|array| array.name == "optimizer/vars/0")?;
    let (_, steps) = file.read_i64("optimizer/vars/0").ok()?;
    Some(after(u64::try_from(*steps.first()?).ok()?))
}

fn after(steps: u64) -> String {
    format!("after {steps} step{}", if steps == 1 { "" } else { "s" })
}

fn in_h5(error: H5Error) -> Error {
    at("HDF5", error)
}
