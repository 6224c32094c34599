//! `.h5` files as Keras 2 saved them, as Keras 3 still does, and as `keras.applications` publishes
//! weights.
//!
//! The root (or, in the file of a whole model, the group `model_weights`) lists its layers in the
//! attribute `layer_names`; each layer's group lists its arrays in `weight_names`. A whole model has
//! its layers as JSON in the root's attribute `model_config`, and what `compile` set in
//! `training_config`; [`keras::load`](super::load) opens it.
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

mod listed;
mod whole;

use std::path::Path;

use engraft_nn::{Error, Layer, Result};

use self::listed::{Listed, Weights};
use super::version::KERAS_VERSION;
use crate::atomic;
use crate::error::{at, within_file};
use crate::h5::{H5Error, H5File, H5Writer};
use crate::numbers::Precision;

pub use self::listed::LegacyLayer;
pub(super) use self::whole::read;
pub use self::whole::save;

/// The layers of a file in order, those without weights included.
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
/// The file can't be read, isn't HDF5, or isn't laid out like this.
pub fn layers(path: &Path) -> Result<Vec<LegacyLayer>> {
    with_listed(path, |listed| Ok(listed.layers().to_vec()))
}

/// Sets the weights of `layers` **by order**, as Keras does: the first layer that has weights
/// takes the arrays of the first layer in the file that has some, and so on. Names don't matter.
///
/// For a whole model pass `&model.layers()`, for a part of one that part. Nothing is changed
/// unless everything fits.
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
/// Those of [`layers()`]; a layer or an array too many or too few, or of another shape, is named.
pub fn load_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    with_listed(path, |listed| listed.set_by_order(layers))
}

/// Sets the weights of those `layers` whose **names** are in the file, as Keras does with
/// `by_name=True`, and gives the names. All other layers, here and there, are passed over. Nothing
/// is changed unless all of these fit.
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
/// Those of [`layers()`]; no name agrees; a layer's arrays are too many, too few or of other shapes.
pub fn load_weights_by_name(path: &Path, layers: &[Layer]) -> Result<Vec<String>> {
    with_listed(path, |listed| listed.set_by_name(layers))
}

/// Writes the weights of `layers` in this layout, as `keras.applications` publishes them.
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
/// The file can't be written; the old one, if any, is as it was.
pub fn save_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    let weights = Weights::of(layers);
    let values = weights.values();
    let mut writer = H5Writer::new();
    weights.write("", &values, Precision::F32, &mut writer).map_err(|error| in_h5(error).within(path.display()))?;
    write_file(path, &writer)
}

fn with_listed<T>(path: &Path, then: impl FnOnce(&Listed) -> Result<T>) -> Result<T> {
    let read = || {
        let file = H5File::open(path).map_err(in_h5)?;
        let listed = Listed::of(&file)?;
        then(&listed)
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
