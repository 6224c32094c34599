//! Weights in `.safetensors` files: a JSON header of names, types, shapes and offsets, then the values.
//!
//! Keras doesn't define names for this format. Weights are named by their paths (`block1_conv1/kernel`)
//! in Keras' layout, or as in torchvision with its layout ([`Naming`]).
//!
//! ```
//! use engraft_formats::safetensors::{self, Naming, SaveOptions};
//! use engraft_nn::prelude::*;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.safetensors");
//! let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build();
//! let (saved, read) = (model()?, model()?);
//! safetensors::save_weights(&path, &saved.layers(), &SaveOptions::default())?;
//! assert!(safetensors::load_weights(&path, &read.layers(), Naming::Keras)?.is_empty());
//! assert_eq!(*read.weights()[0].values(), *saved.weights()[0].values());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrays;
mod naming;
mod safetensors_file;
mod torch_modules;
mod weight_layout;

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata};
use engraft_nn::{Error, Layer, Result};

use self::naming::NamedWeight;
use self::safetensors_file::invalid_data;
use crate::error::at;
use crate::{FloatType, atomic};

pub use self::arrays::{from_bytes, to_bytes};
pub use self::naming::Naming;
pub use self::safetensors_file::{SafetensorsFile, TensorInfo};
pub use self::torch_modules::load_torch_weights;

/// Options of [`save_weights`].
///
/// ```
/// use engraft_formats::inspect::inspect;
/// use engraft_formats::safetensors::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let metadata = [("licence".to_owned(), "MIT".to_owned())].into();
/// let options = SaveOptions { metadata, ..SaveOptions::default() };
/// safetensors::save_weights(&path, &model.layers(), &options)?;
/// assert_eq!(inspect(&path)?.texts["licence"], "MIT");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    /// The names of tensors and the layout of their axes.
    pub naming: Naming,
    /// The float type in which weights are stored.
    pub float_type: FloatType,
    /// Entries of `__metadata__` in the header: any texts, by name.
    pub metadata: HashMap<String, String>,
}

/// Loads the weights of `layers` from a file; returns the names of tensors in the file that weren't used.
///
/// Pass `&model.layers()` for a model, or a part of that list. Values of any numeric type are converted
/// to f32. If a weight has no tensor of its shape, nothing is changed.
///
/// ```
/// use engraft_formats::safetensors::{self, Naming, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = |classes| {
///     let base = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("base"));
///     base.add(Dense::new(classes).named("top")).build()
/// };
/// let (trained, fresh) = (model(2)?, model(5)?);
/// safetensors::save_weights(&path, &trained.layers(), &SaveOptions::default())?;
/// let left = safetensors::load_weights(&path, &fresh.layers()[..1], Naming::Keras)?;
/// assert_eq!(left, ["top/bias", "top/kernel"]);
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or isn't a safetensors file; a weight has no tensor, or one of another shape or
/// of a type that isn't numeric; `naming` has no name for a layer.
pub fn load_weights(path: &Path, layers: &[Layer], naming: Naming) -> Result<Vec<String>> {
    let read = || {
        let file = std::fs::File::open(path).map_err(|error| Error::from_io("file", error))?;
        read_weights(BufReader::new(file), layers, naming)
    };
    read().map_err(|error| error.within(path.display()))
}

/// Like [`load_weights`], from any seekable reader.
///
/// ```
/// use engraft_formats::safetensors::{self, Naming, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// safetensors::save_weights(&path, &model.layers(), &SaveOptions::default())?;
/// let bytes = std::io::Cursor::new(std::fs::read(&path)?);
/// assert!(safetensors::read_weights(bytes, &model.layers(), Naming::Keras)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load_weights`].
pub fn read_weights(file: impl Read + Seek, layers: &[Layer], naming: Naming) -> Result<Vec<String>> {
    let hint = match naming {
        Naming::Keras => "does the file have the same layers, and names of Keras?",
        Naming::Torchvision => "does the file have the same layers, and names of torchvision?",
    };
    read_named(SafetensorsFile::new(file)?, &naming.of(layers)?, hint)
}

/// Sets weights from the tensors of their names; returns the names of tensors that weren't used. `hint` is for a missing tensor.
fn read_named<R: Read + Seek>(
    mut file: SafetensorsFile<R>,
    named: &[NamedWeight],
    hint: &'static str,
) -> Result<Vec<String>> {
    let mut unused: HashMap<String, TensorInfo> = file.tensors().into_iter().map(|t| (t.name.clone(), t)).collect();
    for NamedWeight { name, weight, layout } in named {
        let Some(tensor) = unused.remove(name) else {
            return Err(invalid_data(place(weight), format_args!("a tensor `{name}`"), "none").hint(hint));
        };
        if !layout.takes(&tensor.shape) {
            let received = format!("{:?} in `{name}`", tensor.shape);
            return Err(invalid_data(place(weight), format_args!("{:?}", layout.file_shape()), received));
        }
        tensor.element_type().map_err(|error| error.within(place(weight)))?;
    }
    for NamedWeight { name, weight, layout } in named {
        weight.set(layout.decode(file.read_f32(name)?))?;
    }
    let mut unused: Vec<String> = unused.into_keys().collect();
    unused.sort();
    Ok(unused)
}

/// Writes the weights of `layers`, one tensor at a time, without a second copy of all of them in memory.
///
/// ```
/// use engraft_formats::safetensors::{self, SafetensorsFile, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// safetensors::save_weights(&path, &model.layers(), &SaveOptions::default())?;
/// let mut file = SafetensorsFile::new(std::fs::File::open(&path)?)?;
/// assert_eq!(file.read_f32("top/kernel")?, *model.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written (then the old one is unchanged); the naming has no name for a layer; a
/// weight doesn't fit the float type.
pub fn save_weights(path: &Path, layers: &[Layer], options: &SaveOptions) -> Result<()> {
    let mut named = options.naming.of(layers)?;
    let weights: Vec<_> = named.iter().map(|named| named.weight.clone()).collect();
    options.float_type.check(&weights)?;
    // The f32 tensors come before the f16 tensors, so that every tensor is aligned to its element size.
    named.sort_by_key(|named| options.float_type.of(named.weight.shape()) == FloatType::F16);
    let header = header(&named, options).map_err(|error| Error::from_source(path.display(), error))?;
    atomic::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        named.iter().try_for_each(|NamedWeight { weight, layout, .. }| {
            file.write_all(&options.float_type.of(weight.shape()).bytes(&layout.encode(&weight.values())))
        })
    })
    .map_err(|error| at("weights", error))
}

/// The header, padded with spaces so that the values start at a multiple of 8 bytes.
fn header(
    named: &[NamedWeight],
    options: &SaveOptions,
) -> std::result::Result<Vec<u8>, ::safetensors::SafeTensorError> {
    let mut end = 0;
    let tensors = named.iter().map(|NamedWeight { name, weight, layout }| {
        let (dtype, size) = match options.float_type.of(weight.shape()) {
            FloatType::F32 => (Dtype::F32, 4),
            FloatType::F16 => (Dtype::F16, 2),
        };
        let start = end;
        end += weight.count() * size;
        (
            name.clone(),
            ::safetensors::tensor::TensorInfo {
                dtype,
                shape: layout.file_shape().to_vec(),
                data_offsets: (start, end),
            },
        )
    });
    let tensors = tensors.collect();
    let mut header = serde_json::to_vec(&Metadata::new(Some(options.metadata.clone()), tensors)?)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn place(weight: &engraft_nn::Weight) -> String {
    format!("weight `{}`", weight.path())
}
