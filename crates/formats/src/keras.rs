//! Files of Keras: `.keras` archives, `.weights.h5`, and the older `.h5` of models or weights.
//!
//! A `.keras` file is a zip archive of `config.json` (the layers), `metadata.json` and
//! `model.weights.h5`. An `.h5` of a model has the same content in attributes and groups ([`legacy`]).
//! [`load`] reads both, and the content of a `.keras` file in a folder, whether Keras or this crate wrote them. Keras' `load_model` opens the files
//! that [`save`] writes, with its default `safe_mode=True`. A program may add entries of its own,
//! which Keras ignores ([`SaveOptions::extras`], [`read_extra`]).
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

mod architecture;
mod base_record;
mod batch_axis;
mod compile_config;
mod config_reader;
mod config_writer;
mod functional;
mod int8;
mod keras1;
mod keras2;
mod keras2_calls;
pub mod legacy;
mod load_options;
mod merged_kernel;
mod named_arguments;
mod nodes;
mod open_input;
mod optimizer_state;
mod output_names;
mod save;
mod serialized_object;
mod tf_operations;
pub(crate) mod unzipped;
mod version;
mod weights;
mod weights_by_name;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use engraft_nn::{Error, Layer, Model, Result};
use serde_json::{Map, Value};

use self::config_reader::ConfigReader;
use self::open_input::OpenInputs;
use self::optimizer_state::SavedOptimizer;
use crate::archive::Zip;
use crate::error::{HasErrorKind, at, within_file};
use crate::foreign::Foreign;
use crate::h5::{self, H5File, ParallelReader};
use crate::json::parse;

pub use self::architecture::load_architecture;
pub use self::compile_config::compiled_of_output;
pub use self::load_options::LoadOptions;
pub use self::open_input::usual_image_size;
pub use self::output_names::output_names;
pub use self::save::{SaveOptions, save, save_model, save_weights};
pub use self::unzipped::is_unzipped;
pub use self::weights_by_name::{layer_names, load_weights_by_name};

const ARCHIVE: &str = "a .keras file (a zip archive) or an .h5 (HDF5)";
const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// Limit on the bytes of `config.json`; 1,000 layers take about 1 MiB.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// Limit on the bytes of `metadata.json` and of each extra entry.
pub(crate) const MAX_EXTRA: u64 = 4 << 20;

/// A model read from a file, with the warnings of reading it.
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
    /// The model with its weights. It is compiled if the file has settings of `compile` (optimizer, loss, metrics). Those that
    /// aren't known are left out, each with a warning.
    pub model: Model,
    /// What the reader left out or changed, such as an unknown optimizer, or an input of dynamic size that got a fixed
    /// size. None of it changes a prediction.
    pub warnings: Vec<String>,
    /// The version of Keras that wrote the file, if the file records it.
    pub keras_version: Option<String>,
}

/// Reads a model from a `.keras` file, the same [in a folder](is_unzipped), or an `.h5`. The format follows from the content.
///
/// Reading runs no code from the file and opens no other file. Declared sizes are checked before
/// memory of that size is allocated. The arrays in the file must match the weights exactly: none
/// missing, none left over, all of the right shape.
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
/// The file can't be read or has no model; a class or option is unknown (the error names it); a
/// weight is missing, left over or of another shape; Keras 4 or later wrote the file.
pub fn load(path: &Path) -> Result<Archive> {
    load_with(path, &LoadOptions::default())
}

/// Like [`load`], with options: the size of images for inputs of open size, and custom layers.
///
/// ```
/// use engraft_formats::keras::{self, LoadOptions};
/// use engraft_nn::{prelude::*, layers::from_config};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("features.keras");
/// let open = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
/// let x = Input::of(&from_config("InputLayer", open.as_object().unwrap().clone())?, vec![64, 64, 3])?;
/// let model = Model::new(&x, &GlobalAveragePooling2D::new().call(&x)?)?;
/// keras::save_model(&model, &path)?;
///
/// assert_eq!(keras::load(&path)?.model.input_shape(), &[64, 64, 3], "the size that is recorded in the file");
/// let large = keras::load_with(&path, &LoadOptions::new().image_size([300, 200]))?;
/// assert_eq!(large.model.input_shape(), &[300, 200, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load`]; a layer that doesn't support the image size.
pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Archive> {
    if is_unzipped(path) {
        return read_folder(path, options).map_err(|error| within_file(path, error));
    }
    let (file, parallel) = open_for_parallel_reads(path)?;
    read_from(file, parallel, options).map_err(|error| within_file(path, error))
}

/// Like [`load`], from any seekable reader.
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
    read_from(file, None, &LoadOptions::default()).map_err(Error::into_invalid_data)
}

/// Reads a model from a `.keras` file or an `.h5`. `parallel` is a second reader of the same file, if it is on disk.
fn read_from(
    mut file: impl Read + Seek + Send + 'static,
    parallel: Option<ParallelReader>,
    options: &LoadOptions,
) -> Result<Archive> {
    if h5::is_hdf5(&mut file).map_err(in_file)? {
        return legacy::read(&H5File::from_reader(file).map_err(in_file)?.with_parallel_reader(parallel), options);
    }
    let mut zip = Zip::new(file, ARCHIVE)?;
    let (metadata, config) = (zip.read(METADATA, MAX_EXTRA)?, zip.require(CONFIG, MAX_CONFIG)?);
    build(metadata.as_deref(), &config, options, || zip.into_h5(WEIGHTS, parallel))
}

/// Reads a model from a folder with the content of a `.keras` file.
fn read_folder(path: &Path, options: &LoadOptions) -> Result<Archive> {
    build(unzipped::metadata(path)?.as_deref(), &unzipped::config(path)?, options, || unzipped::weights(path))
}

/// Makes the model that the parts of a `.keras` file describe. `weights` opens the third part.
fn build(
    metadata: Option<&[u8]>,
    config: &[u8],
    options: &LoadOptions,
    weights: impl FnOnce() -> Result<H5File>,
) -> Result<Archive> {
    let metadata: Value = metadata.map(|bytes| parse(METADATA, bytes)).transpose()?.unwrap_or_default();
    let keras_version = metadata["keras_version"].as_str().map(str::to_owned);
    version::check(keras_version.as_deref())?;
    let config = parse(CONFIG, config)?;
    let open_inputs = OpenInputs::new(&config, options.image_size, &metadata[open_input::KEY]);
    let model = ConfigReader::new(keras_version.as_deref(), options).open_inputs(open_inputs).model(&config);
    let (model, mut warnings) = model.map_err(|error| version::hint(error, keras_version.as_deref()))?;
    base_record::restore(&model, &metadata[base_record::KEY])?;
    let file = weights()?;
    weights::read(&weights::saved_layers(model.layer()), &file, weights::LayerNames::MustMatch)?;
    if let Some(compiled) = config.get("compile_config").and_then(Value::as_object).filter(|c| !c.is_empty()) {
        warnings.extend(recompile(&model, compiled, || SavedOptimizer::in_weights_h5(&file)));
    }
    Ok(Archive { model, warnings, keras_version })
}

/// Compiles a model by the `compile_config` of its file and restores the optimizer state. Returns a warning for each part that isn't
/// known, and one if the state doesn't fit.
fn recompile<'a>(
    model: &Model,
    compiled: &Map<String, Value>,
    state: impl FnOnce() -> Result<SavedOptimizer<'a>>,
) -> Vec<String> {
    let left_out = compile_config::read(compiled, model);
    let left_out = left_out.into_iter().map(|error| format!("left out of the settings of compile: {error}"));
    let afresh = state().and_then(|state| state.read(model)).err();
    left_out.chain(afresh.map(|error| format!("the optimizer starts afresh: {error}"))).collect()
}

/// Reads a model from a file like [`load`], and drops the warnings.
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

/// Reads an extra entry of a model file, such as one of [`SaveOptions::extras`]; `None` if there is none.
///
/// In a `.keras` file, an extra entry is an entry of the archive, or a file in its folder; in an `.h5`, it is a string attribute
/// of the root.
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
/// The file can't be read or has another format; the entry is damaged or, in a `.keras` file, larger than 4 MiB.
pub fn read_extra(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    if is_unzipped(path) {
        return unzipped::extra(path, name).map_err(|error| within_file(path, error));
    }
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

/// Loads weights from a `.weights.h5` file of Keras 3 or a `.keras` file (or its folder) into a model of the same
/// layers. The names of layers may differ.
///
/// ```
/// use engraft_formats::{FloatType, keras};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.weights.h5");
/// let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build();
/// let (trained, fresh) = (model()?, model()?);
/// keras::save_weights(&trained, &path, FloatType::F32)?;
/// keras::load_weights(&path, &fresh)?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or has another format; a weight is missing, left over or of another shape. All shapes
/// are checked before the first weight is set. An error while values are read may leave some weights set.
pub fn load_weights(path: &Path, model: &Model) -> Result<()> {
    let file = open_weights(path)?;
    set_weights(&file, model).map_err(|error| within_file(path, error))
}

/// Loads the weights of a network's first layers, such as those below its top, from a file of the whole network. Their names
/// don't matter: the layers of each class must be the first of that class in the file.
///
/// ```
/// use engraft_formats::{FloatType, keras};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.weights.h5");
/// let base = || Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3));
/// let (whole, base) = (base().add(Flatten::new()).add(Dense::new(2)).build()?, base().build()?);
/// keras::save_weights(&whole, &path, FloatType::F32)?;
/// assert!(keras::load_weights(&path, &base).is_err());
/// keras::load_base_weights(&path, &base.layers())?;
/// assert_eq!(*base.weights()[0].values(), *whole.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or has another format; a weight is missing or of another shape. All shapes are checked before the
/// first weight is set.
pub fn load_base_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    let file = open_weights(path)?;
    weights::read_base(&weights::saved_as_model(layers), &file).map_err(|error| within_file(path, error))
}

/// Like [`load_weights`], from any seekable reader.
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
    weights_in(file, None).and_then(|file| set_weights(&file, model)).map_err(Error::into_invalid_data)
}

/// Opens the weights in a `.weights.h5` file, or in a `.keras` file or its folder.
fn open_weights(path: &Path) -> Result<H5File> {
    let open = || match is_unzipped(path) {
        true => unzipped::weights(path),
        false => open_for_parallel_reads(path).and_then(|(file, parallel)| weights_in(file, parallel)),
    };
    open().map_err(|error| within_file(path, error))
}

fn weights_in(mut file: impl Read + Seek + Send + 'static, parallel: Option<ParallelReader>) -> Result<H5File> {
    match h5::is_hdf5(&mut file).map_err(in_file)? {
        true => Ok(H5File::from_reader(file).map_err(in_file)?.with_parallel_reader(parallel)),
        false => Zip::new(file, ARCHIVE)?.into_h5(WEIGHTS, parallel),
    }
}

fn set_weights(file: &H5File, model: &Model) -> Result<()> {
    weights::read(&weights::saved_layers(model.layer()), file, weights::LayerNames::Ignored)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    if let Some(foreign) = Foreign::of(path) {
        return Err(foreign.error(path, ARCHIVE));
    }
    File::open(path).map(BufReader::new).map_err(|error| Error::from_io(path.display(), error))
}

/// Opens a file for ordinary reads, and returns a second reader of it for parallel reads where the system has them.
fn open_for_parallel_reads(path: &Path) -> Result<(BufReader<File>, Option<ParallelReader>)> {
    open(path).map(|file| {
        let parallel = ParallelReader::of(file.get_ref());
        (file, parallel)
    })
}

fn in_file(error: impl HasErrorKind) -> Error {
    at("weights", error)
}
