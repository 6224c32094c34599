//! Keras' own files: `.keras` archives, `.weights.h5`, and the older `.h5` of whole models and of weights.
//!
//! A `.keras` file is a zip archive of `config.json` (the layers), `metadata.json` and
//! `model.weights.h5`; a whole-model `.h5` holds the same in attributes and groups ([`legacy`]).
//! [`load`] makes a model of either, whoever wrote it; Keras' `load_model` opens what [`save`]
//! writes, in its default safe mode. Facts of our own stand in entries that Keras ignores
//! ([`SaveOptions::extras`], [`read_extra`]).
//!
//! ```
//! use engraft_formats::keras::{self, SaveOptions};
//! use engraft_nn::prelude::*;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.keras");
//! let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
//! let names = [("engraft.json".to_owned(), br#"["daisy", "tulip"]"#.to_vec())];
//! keras::save(&model, &path, &SaveOptions { extras: &names, ..SaveOptions::default() })?;
//!
//! let again = keras::load_model(&path)?;
//! assert_eq!(*again.weights()[0].values(), *model.weights()[0].values());
//! assert_eq!(keras::read_extra(&path, "engraft.json")?.as_deref(), Some(&names[0].1[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod by_name;
mod compile;
mod config;
mod functional;
mod keras2;
pub mod legacy;
mod nodes;
mod open_size;
mod optimizer;
mod save;
mod serialize;
mod version;
mod weights;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use engraft_nn::{Error, Model, Result};
use serde_json::{Map, Value};

use self::config::Reader;
use crate::archive::Zip;
use crate::error::{Kinded, at, within_file};
use crate::h5::{self, Direct, H5File};
use crate::json::parse;

pub use self::by_name::load_weights_by_name;
pub use self::save::{SaveOptions, save, save_model, save_weights};

const ARCHIVE: &str = "a .keras file (a zip archive) or an .h5 (HDF5)";
const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// A config of a thousand layers takes about 1 MiB.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// Metadata and extra entries are small.
pub(crate) const MAX_EXTRA: u64 = 4 << 20;

/// What a file of a whole model holds.
///
/// ```
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save_model(&model, &path)?;
/// let archive = keras::load(&path)?;
/// assert_eq!(archive.model.count_params(), 10);
/// assert!(archive.warnings.is_empty() && archive.keras_version.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Archive {
    /// The model, with its weights, and compiled if it was and all parts of that are supported.
    pub model: Model,
    /// What could not be taken over and does not matter for predictions, such as an optimizer that
    /// is not known.
    pub warnings: Vec<String>,
    /// The version of Keras that wrote the file, as far as it says so.
    pub keras_version: Option<String>,
}

/// Reads a `.keras` file or a whole-model `.h5`; which it is, its first bytes tell.
///
/// No code in it is run, no other file is opened, and what it declares is checked before anything
/// of that size is allocated. Weights are matched strictly: each array must be there, of its
/// weight's shape, and no other.
///
/// ```
/// use engraft_formats::keras::{self, SaveOptions, legacy};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save_model(&model, &folder.path().join("flowers.keras"))?;
/// legacy::save(&model, &folder.path().join("flowers.h5"), &SaveOptions::default())?;
/// for name in ["flowers.keras", "flowers.h5"] {
///     assert_eq!(keras::load(&folder.path().join(name))?.model.count_params(), 10);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or holds no model; a class or option is not known, and named; a weight is
/// missing, left over or of another shape; a later generation of Keras wrote it.
pub fn load(path: &Path) -> Result<Archive> {
    let (file, direct) = open_directly(path)?;
    read_from(file, direct).map_err(|error| within_file(path, error))
}

/// Like [`load`], from anything that can be read at any place.
///
/// ```
/// let archive = std::io::Cursor::new(b"no archive".to_vec());
/// let error = engraft_formats::keras::read(archive).unwrap_err();
/// assert!(error.to_string().contains("expected a .keras file"));
/// ```
///
/// # Errors
/// Those of [`load`].
pub fn read(file: impl Read + Seek + Send + 'static) -> Result<Archive> {
    read_from(file, None).map_err(Error::into_invalid_data)
}

/// `direct` is the same file, if it is one.
fn read_from(mut file: impl Read + Seek + Send + 'static, direct: Option<Direct>) -> Result<Archive> {
    if h5::is_hdf5(&mut file).map_err(in_file)? {
        return legacy::read(&H5File::from_reader(file).map_err(in_file)?.with_direct(direct));
    }
    let mut zip = Zip::new(file, ARCHIVE)?;
    let metadata: Option<Value> = zip.read(METADATA, MAX_EXTRA)?.map(|bytes| parse(METADATA, &bytes)).transpose()?;
    let keras_version = metadata.and_then(|m| m.get("keras_version")?.as_str().map(str::to_owned));
    version::check(keras_version.as_deref())?;
    let config = parse(CONFIG, &zip.require(CONFIG, MAX_CONFIG)?)?;
    let model = Reader::of_version(keras_version.as_deref()).model(&config);
    let (model, mut warnings) = model.map_err(|error| version::hint(error, keras_version.as_deref()))?;
    let file = zip.into_h5(WEIGHTS, direct)?;
    weights::read(&weights::saved(model.layer()), &file, weights::Names::Same)?;
    if let Some(compiled) = config.get("compile_config").and_then(Value::as_object).filter(|c| !c.is_empty()) {
        warnings.extend(recompile(&model, compiled, || optimizer::Saved::of_keras_3(&file)));
    }
    Ok(Archive { model, warnings, keras_version })
}

/// Compiles a model as its file says, and lets the optimizer go on where it was; gives a warning
/// where that isn't possible.
fn recompile<'a>(
    model: &Model,
    compiled: &Map<String, Value>,
    state: impl FnOnce() -> Result<optimizer::Saved<'a>>,
) -> Option<String> {
    if let Err(error) = compile::read(compiled, model) {
        return Some(format!("the model is not compiled: {error}"));
    }
    let error = state().and_then(|state| state.read(model)).err()?;
    Some(format!("the optimizer starts afresh: {error}"))
}

/// The model in a file; see [`load`], which also gives warnings.
///
/// ```
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save_model(&model, &path)?;
/// let loaded = keras::load_model(&path)?;
/// assert_eq!(loaded.layers()[0].name(), "top");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load`].
pub fn load_model(path: &Path) -> Result<Model> {
    load(path).map(|archive| archive.model)
}

/// An entry of a `.keras` file beside Keras' own, such as one of [`SaveOptions::extras`], or the
/// attribute of this name in a whole-model `.h5`; `None` if there is none.
///
/// ```
/// use engraft_formats::keras::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let extras = [("licence.txt".to_owned(), b"MIT".to_vec())];
/// keras::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() })?;
/// assert_eq!(keras::read_extra(&path, "licence.txt")?.as_deref(), Some(&b"MIT"[..]));
/// assert_eq!(keras::read_extra(&path, "absent.txt")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or is neither, or the entry is damaged or larger than 4 MiB.
pub fn read_extra(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let mut file = open(path)?;
    let extra = match h5::is_hdf5(&mut file).map_err(in_file) {
        Ok(true) => H5File::from_reader(file)
            .and_then(|file| file.attr_string("", name))
            .map(|text| text.map(String::into_bytes))
            .map_err(in_file),
        Ok(false) => Zip::new(file, ARCHIVE).and_then(|mut zip| zip.read(name, MAX_EXTRA)),
        Err(error) => Err(error),
    };
    extra.map_err(|error| within_file(path, error))
}

/// Loads a `.weights.h5` file of Keras 3, or the weights in a `.keras` file, into a model of the
/// same layers; their names may differ.
///
/// ```
/// use engraft_formats::{Precision, keras};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.weights.h5");
/// let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build();
/// let (trained, fresh) = (model()?, model()?);
/// keras::save_weights(&trained, &path, Precision::F32)?;
/// keras::load_weights(&path, &fresh)?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or isn't one of these; a weight is missing, left over or of another
/// shape. Nothing is changed then.
pub fn load_weights(path: &Path, model: &Model) -> Result<()> {
    let (file, direct) = open_directly(path)?;
    read_weights_from(file, direct, model).map_err(|error| within_file(path, error))
}

/// Like [`load_weights`], from anything that can be read at any place.
///
/// ```
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build();
/// let (trained, fresh) = (model()?, model()?);
/// keras::save_model(&trained, &path)?;
/// let bytes = std::fs::read(&path)?;
/// keras::read_weights(std::io::Cursor::new(bytes), &fresh)?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load_weights`].
pub fn read_weights(file: impl Read + Seek + Send + 'static, model: &Model) -> Result<()> {
    read_weights_from(file, None, model).map_err(Error::into_invalid_data)
}

fn read_weights_from(mut file: impl Read + Seek + Send + 'static, direct: Option<Direct>, model: &Model) -> Result<()> {
    let file = match h5::is_hdf5(&mut file).map_err(in_file)? {
        true => H5File::from_reader(file).map_err(in_file)?.with_direct(direct),
        false => Zip::new(file, ARCHIVE)?.into_h5(WEIGHTS, direct)?,
    };
    weights::read(&weights::saved(model.layer()), &file, weights::Names::Any)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|error| at(path.display(), error))
}

/// A file, and the same to be read from several threads.
fn open_directly(path: &Path) -> Result<(BufReader<File>, Option<Direct>)> {
    open(path).map(|file| {
        let direct = Direct::of(file.get_ref());
        (file, direct)
    })
}

fn in_file(error: impl Kinded) -> Error {
    at("weights", error)
}
