//! Keras' own files: `.keras` archives, `.weights.h5`, and the older `.h5` weights.
//!
//! A `.keras` file is a zip archive of `config.json` (the layers), `metadata.json` and
//! `model.weights.h5`. [`load`] makes a model of it, whoever wrote it; Keras' `load_model` opens
//! what [`save`] writes, in its default safe mode. Facts of our own stand in entries that Keras
//! ignores ([`SaveOptions::extras`], [`read_extra`]).
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

mod archive;
mod compile;
mod config;
mod functional;
pub mod legacy;
mod nodes;
mod open_size;
mod optimizer;
mod save;
mod serialize;
mod weights;

use std::path::Path;

use engraft_nn::{Error, Model, Result};
use serde_json::Value;

use self::archive::Zip;
use self::config::Reader;
use crate::h5::H5File;

pub use self::save::{SaveOptions, save, save_weights};

const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// The version of Keras whose files these are.
const KERAS_VERSION: &str = "3.15.1";

/// A config of a thousand layers takes about 1 MiB.
const MAX_CONFIG: u64 = 32 << 20;

/// Metadata and extra entries are small.
const MAX_EXTRA: u64 = 16 << 20;

/// What a `.keras` file holds.
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

/// Reads a `.keras` file.
///
/// No code in it is run, no other file is opened, and what it declares is checked before anything
/// of that size is allocated. Weights are matched strictly: each array must be there, of its
/// weight's shape, and no other.
///
/// # Errors
/// The file can't be read or isn't a `.keras` file; a class or option is not known, and named; a
/// weight is missing, left over or of another shape.
pub fn load(path: &Path) -> Result<Archive> {
    let mut zip = Zip::open(path)?;
    let config = parse(path, CONFIG, &zip.require(CONFIG, MAX_CONFIG)?)?;
    let metadata = zip.read(METADATA, MAX_EXTRA)?.map(|bytes| parse(path, METADATA, &bytes)).transpose()?;
    let (model, mut warnings) = Reader::default().model(&config).map_err(|error| within(path, error))?;
    let file = zip.into_h5(WEIGHTS)?;
    weights::read(&weights::saved(model.layer()), &file, weights::Names::Same).map_err(|error| within(path, error))?;
    if let Some(compiled) = config.get("compile_config").and_then(Value::as_object).filter(|c| !c.is_empty()) {
        match compile::read(compiled, &model) {
            Err(error) => warnings.push(format!("the model is not compiled: {error}")),
            Ok(()) => {
                if let Err(error) = optimizer::read(&model, &file) {
                    warnings.push(format!("the optimizer starts afresh: {error}"));
                }
            }
        }
    }
    let keras_version = metadata.and_then(|m| m.get("keras_version")?.as_str().map(str::to_owned));
    Ok(Archive { model, warnings, keras_version })
}

/// The model in a `.keras` file; see [`load`], which also gives warnings.
///
/// # Errors
/// Those of [`load`].
pub fn load_model(path: &Path) -> Result<Model> {
    load(path).map(|archive| archive.model)
}

/// An entry of a `.keras` file beside Keras' own, such as one of [`SaveOptions::extras`]; `None`
/// if there is none of this name.
///
/// # Errors
/// The file can't be read or isn't a zip archive, or the entry is damaged or larger than 16 MiB.
pub fn read_extra(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    Zip::open(path)?.read(name, MAX_EXTRA)
}

/// Loads a `.weights.h5` file of Keras 3, or the weights in a `.keras` file, into a model of the
/// same layers; their names may differ.
///
/// # Errors
/// The file can't be read or isn't one of these; a weight is missing, left over or of another
/// shape. Nothing is changed then.
pub fn load_weights(path: &Path, model: &Model) -> Result<()> {
    let file = if path.extension().is_some_and(|extension| extension == "keras") {
        Zip::open(path)?.into_h5(WEIGHTS)?
    } else {
        H5File::open(path).map_err(|error| within(path, Error::because("weights", error)))?
    };
    weights::read(&weights::saved(model.layer()), &file, weights::Names::Any).map_err(|error| within(path, error))
}

fn parse(path: &Path, entry: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| within(path, Error::because(entry, error)))
}

fn within(path: &Path, error: Error) -> Error {
    error.within(path.display())
}
