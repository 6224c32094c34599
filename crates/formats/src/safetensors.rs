//! Weights in `.safetensors`: a JSON header of names, types, shapes and offsets, then the values.
//!
//! Keras has no names of its own for this format, so that a model's weights go by their paths
//! (`block1_conv1/kernel`), laid out as here; or by torchvision's names and layouts ([`Naming`]).
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

mod layout;
mod naming;
mod read;

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use engraft_nn::{Error, Layer, Result};

use self::naming::Named;
use self::read::unfit;
use crate::atomic;
use crate::error::at;
use crate::numbers::Precision;

pub use self::naming::Naming;
pub use self::read::{SafetensorsFile, Stored};

/// How [`save_weights`] writes.
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
    /// What the weights are called, and how they are laid out.
    pub naming: Naming,
    /// How exactly they are written.
    pub precision: Precision,
    /// Texts by name, for the header's `__metadata__`.
    pub metadata: HashMap<String, String>,
}

/// Sets the weights of `layers` from a file, and gives the names of tensors that none of them took.
///
/// For a whole model pass `&model.layers()`, for a part of one that part. Numbers of any width become
/// f32. Nothing is changed unless every weight has a tensor of its shape.
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
/// The file can't be read or isn't a safetensors file; a weight has no tensor of its name, or one of
/// another shape or of no numbers; a layer has no name in this naming.
pub fn load_weights(path: &Path, layers: &[Layer], naming: Naming) -> Result<Vec<String>> {
    let read = || {
        let file = std::fs::File::open(path).map_err(|error| Error::from_io("file", error))?;
        read_weights(BufReader::new(file), layers, naming)
    };
    read().map_err(|error| error.within(path.display()))
}

/// Like [`load_weights`], from anything that can be read at any place.
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
    let mut file = SafetensorsFile::new(file)?;
    let mut left: HashMap<String, Stored> = file.tensors().into_iter().map(|t| (t.name.clone(), t)).collect();
    let named = naming.of(layers)?;
    for Named { name, weight, layout } in &named {
        let Some(stored) = left.remove(name) else {
            return Err(unfit(place(weight), format_args!("a tensor `{name}`"), "none").hint(match naming {
                Naming::Keras => "is this file of the same layers, and named as Keras names them?",
                Naming::Torchvision => "is this file of the same layers, and named as torchvision names them?",
            }));
        };
        if stored.shape != layout.stored_shape() {
            let received = format!("{:?} in `{name}`", stored.shape);
            return Err(unfit(place(weight), format_args!("{:?}", layout.stored_shape()), received));
        }
        stored.number().map_err(|error| error.within(place(weight)))?;
    }
    for Named { name, weight, layout } in &named {
        weight.set(layout.restore(file.read_f32(name)?))?;
    }
    let mut left: Vec<String> = left.into_keys().collect();
    left.sort();
    Ok(left)
}

/// Writes the weights of `layers`, one tensor at a time: no second copy of them all is made.
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
/// The file can't be written (the old one, if any, is as it was); a layer has no name in this naming; a
/// weight can't be written in this precision.
pub fn save_weights(path: &Path, layers: &[Layer], options: &SaveOptions) -> Result<()> {
    let mut named = options.naming.of(layers)?;
    let weights: Vec<_> = named.iter().map(|named| named.weight.clone()).collect();
    options.precision.check(&weights)?;
    // Wider numbers first, so that each stands at a multiple of its size.
    named.sort_by_key(|named| options.precision.of(named.weight.shape()) == Precision::F16);
    let header = header(&named, options).map_err(|error| Error::from_source(path.display(), error))?;
    atomic::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        named.iter().try_for_each(|Named { weight, layout, .. }| {
            file.write_all(&options.precision.of(weight.shape()).bytes(&layout.store(&weight.values())))
        })
    })
    .map_err(|error| at("weights", error))
}

/// The header, with spaces at its end so that the values stand at a multiple of 8 bytes.
fn header(named: &[Named], options: &SaveOptions) -> std::result::Result<Vec<u8>, ::safetensors::SafeTensorError> {
    let mut end = 0;
    let tensors = named.iter().map(|Named { name, weight, layout }| {
        let (dtype, size) = match options.precision.of(weight.shape()) {
            Precision::F32 => (Dtype::F32, 4),
            Precision::F16 => (Dtype::F16, 2),
        };
        let start = end;
        end += weight.count() * size;
        (name.clone(), TensorInfo { dtype, shape: layout.stored_shape().to_vec(), data_offsets: (start, end) })
    });
    let tensors = tensors.collect();
    let mut header = serde_json::to_vec(&Metadata::new(Some(options.metadata.clone()), tensors)?)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn place(weight: &engraft_nn::Weight) -> String {
    format!("weight `{}`", weight.path())
}
