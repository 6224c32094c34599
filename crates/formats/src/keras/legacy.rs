//! Weights as Keras 2 saved them, and `keras.applications` still publishes them.
//!
//! The root (or the group `model_weights` of a whole model) lists its layers in the attribute
//! `layer_names`; each layer's group lists its arrays in `weight_names`.

use std::path::Path;

use engraft_nn::{Error, Layer, Result, Weight};

use super::within;
use crate::atomic;
use crate::h5::{H5File, H5Writer};

/// A layer in such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyLayer {
    /// Its name.
    pub name: String,
    /// Name and shape of each of its arrays, in order; a convolution's kernel is
    /// `[height, width, inputs, filters]`.
    pub weights: Vec<(String, Vec<usize>)>,
}

/// The layers of a file in order, those without weights included.
///
/// # Errors
/// The file can't be read, isn't HDF5, or isn't laid out like this.
pub fn layers(path: &Path) -> Result<Vec<LegacyLayer>> {
    Ok(Listed::open(path)?.layers)
}

/// Sets the weights of `layers` **by order**, as Keras does: the first layer that has weights
/// takes the arrays of the first layer in the file that has some, and so on. Names don't matter.
///
/// For a whole model pass `&model.layers()`, for a part of one that part. Nothing is changed
/// unless everything fits.
///
/// # Errors
/// Those of [`layers()`]; a layer or an array too many or too few, or of another shape, is named.
pub fn load_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    let listed = Listed::open(path)?;
    let saved: Vec<_> = listed.layers.iter().filter(|layer| !layer.weights.is_empty()).collect();
    let layers: Vec<&Layer> = layers.iter().filter(|layer| !layer.weights().is_empty()).collect();
    if saved.len() != layers.len() {
        let first = saved.iter().zip(&layers).position(|(saved, layer)| !fits(saved, &ordered(layer)));
        let at = first.unwrap_or(saved.len().min(layers.len()));
        let name_or_end = |name: Option<&str>| name.map_or("the end".to_owned(), |name| format!("`{name}`"));
        let expected = format!("{} layers with weights", layers.len());
        let received = format!(
            "{}; they differ from {} in the model and {} in the file on",
            saved.len(),
            name_or_end(layers.get(at).map(|layer| layer.name())),
            name_or_end(saved.get(at).map(|saved| saved.name.as_str())),
        );
        return Err(within(path, Error::new("weights", expected, received))
            .hint("are these the weights of this architecture, with or without its top?"));
    }
    for (saved, layer) in saved.iter().zip(&layers) {
        if !fits(saved, &ordered(layer)) {
            let shapes = |shapes: Vec<&[usize]>| format!("weights of shapes {shapes:?}");
            let expected = shapes(ordered(layer).iter().map(Weight::shape).collect());
            let received = shapes(saved.weights.iter().map(|(_, shape)| shape.as_slice()).collect());
            let error = Error::new(
                format_args!("layer `{}`", layer.name()),
                expected,
                format_args!("{received} in `{}`", saved.name),
            );
            return Err(within(path, error));
        }
    }
    for (saved, layer) in saved.iter().zip(&layers) {
        for ((array, _), weight) in saved.weights.iter().zip(ordered(layer)) {
            let (_, values) =
                listed.file.read_f32(&listed.path(&saved.name, array)).map_err(|error| listed.failed(error))?;
            weight.set(values)?;
        }
    }
    Ok(())
}

/// Writes the weights of `layers` in this layout, as `keras.applications` publishes them.
///
/// # Errors
/// The file can't be written; the old one, if any, is as it was.
pub fn save_weights(path: &Path, layers: &[Layer]) -> Result<()> {
    let weights: Vec<Vec<Weight>> = layers.iter().map(ordered).collect();
    let values: Vec<Vec<_>> = weights.iter().map(|weights| weights.iter().map(Weight::values).collect()).collect();
    let mut writer = H5Writer::new();
    let failed = |error| within(path, Error::because("weights", error));
    let names: Vec<&str> = layers.iter().map(Layer::name).collect();
    writer.attr_strings("", "layer_names", &names).map_err(failed)?;
    writer.attr_string("", "backend", "tensorflow").map_err(failed)?;
    writer.attr_string("", "keras_version", super::KERAS_VERSION).map_err(failed)?;
    for ((name, weights), values) in names.iter().zip(&weights).zip(&values) {
        let paths: Vec<String> = weights.iter().map(Weight::path).collect();
        writer.attr_strings(name, "weight_names", &paths).map_err(failed)?;
        for ((path, weight), values) in paths.iter().zip(weights).zip(values) {
            writer.f32(&format!("{name}/{path}"), weight.shape(), &values[..]).map_err(failed)?;
        }
    }
    atomic::write(path, |file| writer.write_to(file).map_err(std::io::Error::other))
        .map_err(|error| Error::because("weights", error))
}

/// A layer's weights in the old order: what is trained, then the rest.
fn ordered(layer: &Layer) -> Vec<Weight> {
    let mut weights = layer.trainable_weights();
    let trained: Vec<usize> = weights.iter().map(Weight::id).collect();
    weights.extend(layer.weights().into_iter().filter(|weight| !trained.contains(&weight.id())));
    weights
}

fn fits(saved: &LegacyLayer, weights: &[Weight]) -> bool {
    saved.weights.iter().map(|(_, shape)| shape.as_slice()).eq(weights.iter().map(Weight::shape))
}

/// A file with its layers listed: names, and each array's name and shape.
struct Listed<'a> {
    path: &'a Path,
    file: H5File,
    root: &'static str,
    layers: Vec<LegacyLayer>,
}

impl<'a> Listed<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let failed = |error| within(path, Error::because("weights", error));
        let file = H5File::open(path).map_err(failed)?;
        let mut names = file.attr_strings("", "layer_names").map_err(failed)?;
        let mut root = "";
        if names.is_none() && file.contains("model_weights").map_err(failed)? {
            root = "model_weights";
            names = file.attr_strings(root, "layer_names").map_err(failed)?;
        }
        let Some(names) = names else {
            return Err(within(path, Error::new("weights", "an attribute `layer_names`", "none"))
                .hint("weights that Keras 3 saved (`.weights.h5`) have another layout"));
        };
        let mut listed = Self { path, file, root, layers: Vec::with_capacity(names.len()) };
        for name in names {
            let weights = listed.weights(&name)?;
            listed.layers.push(LegacyLayer { name, weights });
        }
        Ok(listed)
    }

    fn weights(&self, layer: &str) -> Result<Vec<(String, Vec<usize>)>> {
        let names =
            self.file.attr_strings(&self.path(layer, ""), "weight_names").map_err(|error| self.failed(error))?;
        let Some(names) = names else {
            return Err(within(
                self.path,
                Error::new(format_args!("layer `{layer}`"), "an attribute `weight_names`", "none"),
            ));
        };
        names
            .into_iter()
            .map(|name| {
                let shape = self.file.dataset_shape(&self.path(layer, &name)).map_err(|error| self.failed(error))?;
                Ok((name, shape))
            })
            .collect()
    }

    /// The place of an array, or of a layer's group for an empty name. A layer's name may hold
    /// slashes, which make groups of it.
    fn path(&self, layer: &str, array: &str) -> String {
        [self.root, layer, array].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    fn failed(&self, error: crate::h5::H5Error) -> Error {
        within(self.path, Error::because("weights", error))
    }
}
