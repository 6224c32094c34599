//! The older `.h5` format of Keras 2, which Keras 3 still reads and writes, for models and for weights.
//!
//! `keras.applications` publishes its weights in this format. The attribute `layer_names` of the root
//! lists the layers; the attribute `weight_names` of each layer's group lists its arrays. In the file
//! of a model, the list and these groups are in the group `model_weights`. The root then has the attribute
//! `model_config`, JSON of the layers. The file of a compiled model also has `training_config`, JSON of the
//! settings of `compile`. [`keras::load`](super::load) reads such a model.
//!
//! ```
//! use engraft_formats::keras::{self, SaveOptions, legacy};
//! use engraft_nn::prelude::*;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.h5");
//! let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
//! legacy::save(&model, &path, &SaveOptions::default())?;
//! assert_eq!(legacy::layers(&path)?[0].name, "top");
//! assert_eq!(*keras::load_model(&path)?.weights()[0].values(), *model.weights()[0].values());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod layer_weights;
mod model_file;

use std::path::Path;

use engraft_nn::{Error, Layer, Result};

use self::layer_weights::{LayerWeights, OrderedWeights};
use super::version::KERAS_VERSION;
use crate::error::{at, within_file};
use crate::h5::{H5Error, H5File, H5Writer};
use crate::{FloatType, atomic};

pub use self::layer_weights::LegacyLayer;
pub(super) use self::model_file::read;
pub use self::model_file::save;

/// The layers that a file lists, in order, including those without weights.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// legacy::save_weights(&path, &model.layers())?;
/// let layers = legacy::layers(&path)?;
/// assert_eq!((layers.len(), layers[0].name.as_str()), (1, "top"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read, isn't HDF5, or has another layout.
pub fn layers(path: &Path) -> Result<Vec<LegacyLayer>> {
    with_layer_weights(path, |weights| Ok(weights.layers().to_vec()))
}

/// Loads weights into `layers` **by order**, as Keras does by default. Names don't matter.
///
/// The first layer with weights takes the arrays of the first layer with weights in the file, and so
/// on. Pass `&model.layers()` for a model, or a part of that list. If anything doesn't fit, nothing is
/// changed.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build();
/// let (trained, fresh) = (model()?, model()?);
/// legacy::save_weights(&path, &trained.layers())?;
/// legacy::load_weights(&path, &fresh.layers())?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`layers()`]; the number of layers or arrays differs, or a shape (the error names it).
pub fn load_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    with_layer_weights(path, |weights| weights.set_by_order(layers))
}

/// Loads the weights of a network without its top from a file of the whole network: like [`load_weights`], but layers at the end
/// of the file that `layers` lacks are ignored.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let base = || Sequential::new().add(Input::new([4])).add(Dense::new(2));
/// let (whole, base) = (base().add(Dense::new(3)).build()?, base().build()?);
/// legacy::save_weights(&path, &whole.layers())?;
/// assert!(legacy::load_weights(&path, &base.layers()).is_err());
/// legacy::load_base_weights(&path, &base.layers())?;
/// assert_eq!(*base.weights()[0].values(), *whole.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`layers()`]; the file has fewer layers with weights, or a shape differs.
pub fn load_base_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    with_layer_weights(path, |weights| weights.set_first_by_order(layers))
}

/// Loads weights by **layer name**, as Keras does with `by_name=True`; returns the names of the layers that were set.
///
/// Layers whose name is only in the file or only in `layers` are skipped. If one layer doesn't fit,
/// none is changed.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("old.h5");
/// let layer = |name: &str, units| -> engraft_nn::Result<Layer> {
///     let layer = Dense::new(units).named(name);
///     layer.call(&Input::new([4]))?;
///     Ok(layer)
/// };
/// legacy::save_weights(&path, &[layer("base", 3)?, layer("top", 5)?])?;
/// assert_eq!(legacy::load_weights_by_name(&path, &[layer("base", 3)?, layer("new_top", 2)?])?, ["base"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`layers()`]; no name matches; the number or shapes of a layer's arrays differ.
pub fn load_weights_by_name(path: &Path, layers: &[Layer]) -> Result<Vec<String>> {
    with_layer_weights(path, |weights| weights.set_by_name(layers))
}

/// Writes the weights of `layers` to an `.h5`, in the layout of `keras.applications`.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// legacy::save_weights(&path, &model.layers())?;
/// assert_eq!(legacy::load_weights_by_name(&path, &model.layers())?, ["top"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written. Then the old one, if there is one, is unchanged.
pub fn save_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    let weights = OrderedWeights::of(layers);
    let values = weights.values();
    let mut writer = H5Writer::new();
    weights.write("", &values, FloatType::F32, &mut writer).map_err(|error| in_h5(error).within(path.display()))?;
    write_file(path, &writer)
}

fn with_layer_weights<T>(path: &Path, then: impl FnOnce(&LayerWeights) -> Result<T>) -> Result<T> {
    let read = || {
        let file = H5File::open(path).map_err(in_h5)?;
        then(&LayerWeights::of(&file)?)
    };
    read().map_err(|error| within_file(path, error))
}

fn write_file(path: &Path, writer: &H5Writer<'_>) -> Result<()> {
    atomic::write(path, |file| writer.write_to(file).map_err(std::io::Error::other))
        .map_err(|error| at("weights", error))
}

fn in_h5(error: H5Error) -> Error {
    at("weights", error)
}
