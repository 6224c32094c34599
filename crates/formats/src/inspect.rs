//! What a file holds, whichever of the formats it is in: layers, arrays, who wrote it.
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

mod model;
mod onnx;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use engraft_nn::{Error, Result};

use crate::archive::Zip;
use crate::error::{at, within_file};
use crate::h5::{H5Error, H5File, is_hdf5};
use crate::npy;
use crate::safetensors::SafetensorsFile;

/// Entries of a file that are looked at, those of some thousand layers and their optimizer; groups that hold each other
/// would never end.
const MAX_ENTRIES: usize = 1 << 15;

/// What a file holds.
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
    /// What kind of file it is.
    pub format: String,
    /// The program that wrote it and its version, as far as the file says so.
    pub written_by: Option<String>,
    /// The version of ONNX' operators that an ONNX file is made of.
    pub opset: Option<i64>,
    /// The layers of a whole model, those of nested models after the model they are in.
    pub layers: Vec<LayerInfo>,
    /// All arrays.
    pub arrays: Vec<ArrayInfo>,
    /// The optimizer and how far it has come.
    pub optimizer: Option<String>,
    /// Further texts by name, such as metadata.
    pub texts: BTreeMap<String, String>,
    /// Why a whole model can't be used here, or what of it can't.
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
/// assert_eq!((top.output_shape.as_deref(), top.parameters), (Some(&[2][..]), Some(10)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// Its name, after the names of the models that it is in: `vgg16/block1_conv1`.
    pub name: String,
    /// Keras' class name.
    pub class: String,
    /// The shape of what it gives for one sample, where the model can be used here.
    pub output_shape: Option<Vec<usize>>,
    /// How many numbers its weights hold, those of layers inside included, where the model can be used here.
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
    /// Its name or path.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// How its numbers are stored, in the format's own word.
    pub kind: String,
}

impl ArrayInfo {
    /// How many numbers it holds; at most `usize::MAX`, whatever its shape claims.
    pub fn count(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().copied().fold(1, usize::saturating_mul) }
    }
}

impl Contents {
    /// The arrays but for an optimizer's.
    pub fn weights(&self) -> impl Iterator<Item = &ArrayInfo> {
        self.arrays.iter().filter(|array| !array.name.starts_with("optimizer"))
    }

    /// How many numbers the weights hold.
    pub fn parameters(&self) -> usize {
        self.weights().map(ArrayInfo::count).fold(0, usize::saturating_add)
    }
}

/// What a `.keras`, `.h5`, `.weights.h5`, `.safetensors`, `.onnx`, `.npy` or `.npz` file holds; which it is,
/// its first bytes tell.
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
/// The file can't be read, or is none of these, or damaged.
pub fn inspect(path: &Path) -> Result<Contents> {
    let within = |error: Error| within_file(path, error);
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
        // A protobuf message has no beginning of its own.
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
    ArrayInfo { name, shape: header.shape, kind: header.number.to_string() }
}

/// A `.keras` or `.npz` file, both zip archives.
fn archive(path: &Path, file: BufReader<File>) -> Result<Contents> {
    let zip = Zip::new(file, "a .keras or .npz file (a zip archive)")?;
    if zip.names().iter().any(|name| name == "config.json") {
        return model::of_archive(path, zip);
    }
    let file = File::open(path).map_err(|error| Error::from_io("file", error))?;
    let arrays = npy::each(BufReader::new(file), npy::header)?;
    Ok(Contents {
        format: "NumPy arrays (.npz)".into(),
        arrays: arrays.into_iter().map(|(name, header)| numpy_array(name, header)).collect(),
        ..Contents::default()
    })
}

/// A whole model, weights of Keras 3, or weights of Keras 2: all HDF5.
fn hdf5(path: &Path, file: BufReader<File>) -> Result<Contents> {
    let file = H5File::from_reader(file).map_err(in_h5)?;
    let text = |name| file.attr_string("", name).map_err(in_h5);
    if let Some(config) = text("model_config")? {
        return model::of_hdf5(path, &file, &config);
    }
    let (arrays, keras_version) = (arrays(&file)?, text("keras_version")?);
    let listed = file.attr_strings("", "layer_names").map_err(in_h5)?;
    let numbered = arrays.iter().any(|array| array.name.rsplit('/').nth(1) == Some("vars"));
    Ok(Contents {
        format: match (listed, numbered) {
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

/// All arrays of an HDF5 file, group by group.
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

/// How far an optimizer has come whose variables Keras 3 numbered.
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
