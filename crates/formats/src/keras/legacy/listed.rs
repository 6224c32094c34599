//! Weights by layers that a file lists.

use std::collections::HashSet;

use engraft_nn::{Error, Layer, Result, Weight};

use super::{KERAS_VERSION, in_h5};
use crate::h5::{H5Error, H5File, H5Writer};
use crate::numbers::Precision;
use crate::paths::unique_paths;

/// A layer in such a file.
///
/// ```
/// use engraft_formats::keras::legacy;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// legacy::save_weights(&path, &model.layers())?;
/// let top = &legacy::layers(&path)?[0];
/// assert_eq!(top.weights[0], ("top/kernel".to_owned(), vec![4, 2]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyLayer {
    /// Its name.
    pub name: String,
    /// Name and shape of each of its arrays, in order; a convolution's kernel is
    /// `[height, width, inputs, filters]`.
    pub weights: Vec<(String, Vec<usize>)>,
}

/// A file with its layers listed: names, and each array's name and shape.
pub(super) struct Listed<'a> {
    file: &'a H5File,
    root: &'static str,
    layers: Vec<LegacyLayer>,
}

impl<'a> Listed<'a> {
    /// The layers listed in the root, or else in `model_weights`.
    pub(super) fn of(file: &'a H5File) -> Result<Self> {
        for root in ["", "model_weights"] {
            if file.contains(root).map_err(in_h5)?
                && let Some(names) = file.attr_strings(root, "layer_names").map_err(in_h5)?
            {
                let mut listed = Self { file, root, layers: Vec::new() };
                listed.layers = names.into_iter().map(|name| listed.layer(name)).collect::<Result<_>>()?;
                return Ok(listed);
            }
        }
        Err(Error::new("weights", "an attribute `layer_names`", "none")
            .hint("weights that Keras 3 saved (`.weights.h5`) have another layout"))
    }

    fn layer(&self, name: String) -> Result<LegacyLayer> {
        let Some(arrays) = self.file.attr_strings(&self.path(&name, ""), "weight_names").map_err(in_h5)? else {
            return Err(Error::new(format_args!("layer `{name}`"), "an attribute `weight_names`", "none"));
        };
        let shape = |array: String| {
            let shape = self.file.dataset_shape(&self.path(&name, &array)).map_err(in_h5)?;
            Ok((array, shape))
        };
        let weights = arrays.into_iter().map(shape).collect::<Result<_>>()?;
        Ok(LegacyLayer { name, weights })
    }

    pub(super) fn layers(&self) -> &[LegacyLayer] {
        &self.layers
    }

    /// Sets weights by the order of layers that have some.
    pub(super) fn set_by_order(&self, layers: &[Layer]) -> Result<()> {
        let saved: Vec<_> = self.layers.iter().filter(|layer| !layer.weights.is_empty()).collect();
        let layers: Vec<&Layer> = layers.iter().filter(|layer| !layer.weights().is_empty()).collect();
        if saved.len() != layers.len() {
            return Err(differ(&saved, &layers));
        }
        self.set(&saved.into_iter().zip(layers).collect::<Vec<_>>())
    }

    /// Sets the weights of layers whose names are in the file, and gives these.
    pub(super) fn set_by_name(&self, layers: &[Layer]) -> Result<Vec<String>> {
        let pairs: Vec<_> = self
            .layers
            .iter()
            .flat_map(|saved| layers.iter().filter(|layer| layer.name() == saved.name).map(move |layer| (saved, layer)))
            .filter(|(saved, layer)| !(saved.weights.is_empty() && layer.weights().is_empty()))
            .collect();
        if pairs.is_empty() {
            let names = |names: Vec<&str>| names.join(", ");
            return Err(Error::new(
                "weights",
                format_args!("layers called {}", names(layers.iter().map(Layer::name).collect())),
                names(self.layers.iter().map(|layer| layer.name.as_str()).collect()),
            )
            .hint("load them by order instead"));
        }
        self.set(&pairs)?;
        Ok(pairs.iter().map(|(saved, _)| saved.name.clone()).collect())
    }

    /// Sets the weights of each layer, once all were found to fit.
    fn set(&self, pairs: &[(&LegacyLayer, &Layer)]) -> Result<()> {
        for (saved, layer) in pairs {
            if !fits(saved, &ordered(layer)) {
                let shapes = |shapes: Vec<&[usize]>| format!("weights of shapes {shapes:?}");
                let expected = shapes(ordered(layer).iter().map(Weight::shape).collect());
                let received = shapes(saved.weights.iter().map(|(_, shape)| shape.as_slice()).collect());
                return Err(Error::new(
                    format_args!("layer `{}`", layer.name()),
                    expected,
                    format_args!("{received} in `{}`", saved.name),
                ));
            }
        }
        for (saved, layer) in pairs {
            for ((array, _), weight) in saved.weights.iter().zip(ordered(layer)) {
                let (_, values) = self.file.read_f32(&self.path(&saved.name, array)).map_err(in_h5)?;
                weight.set(values)?;
            }
        }
        Ok(())
    }

    /// The place of an array, or of a layer's group for an empty name. A layer's name may hold
    /// slashes, which make groups of it.
    fn path(&self, layer: &str, array: &str) -> String {
        join([self.root, layer, array])
    }
}

fn join(parts: [&str; 3]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// More layers, or fewer, in a file than in a model.
fn differ(saved: &[&LegacyLayer], layers: &[&Layer]) -> Error {
    let first = saved.iter().zip(layers).position(|(saved, layer)| !fits(saved, &ordered(layer)));
    let at = first.unwrap_or(saved.len().min(layers.len()));
    let name_or_end = |name: Option<&str>| name.map_or("the end".to_owned(), |name| format!("`{name}`"));
    let expected = format!("{} layers with weights", layers.len());
    let received = format!(
        "{}; they differ from {} in the model and {} in the file on",
        saved.len(),
        name_or_end(layers.get(at).map(|layer| layer.name())),
        name_or_end(saved.get(at).map(|saved| saved.name.as_str())),
    );
    Error::new("weights", expected, received)
        .hint("are these the weights of this architecture, with or without its top?")
}

fn fits(saved: &LegacyLayer, weights: &[Weight]) -> bool {
    saved.weights.iter().map(|(_, shape)| shape.as_slice()).eq(weights.iter().map(Weight::shape))
}

/// A layer's weights in the old order: what is trained, then the rest.
fn ordered(layer: &Layer) -> Vec<Weight> {
    let mut weights = layer.trainable_weights();
    let trained: HashSet<usize> = weights.iter().map(Weight::id).collect();
    weights.extend(layer.weights().into_iter().filter(|weight| !trained.contains(&weight.id())));
    weights
}

/// The weights of some layers, in the order in which a file lists them.
pub(super) struct Weights<'a> {
    layers: Vec<(&'a str, Vec<Weight>)>,
}

/// A weight's values, locked for reading.
type Values<'w> = std::sync::RwLockReadGuard<'w, Vec<f32>>;

impl<'a> Weights<'a> {
    pub(super) fn of(layers: &'a [Layer]) -> Self {
        Self { layers: layers.iter().map(|layer| (layer.name(), ordered(layer))).collect() }
    }

    /// The values of all of them, by layer.
    pub(super) fn values(&self) -> Vec<Vec<Values<'_>>> {
        self.layers.iter().map(|(_, weights)| weights.iter().map(Weight::values).collect()).collect()
    }

    /// Lists the layers in the group `root` and adds their weights, borrowed from `values`.
    pub(super) fn write<'v>(
        &self,
        root: &str,
        values: &'v [Vec<Values<'_>>],
        precision: Precision,
        to: &mut H5Writer<'v>,
    ) -> std::result::Result<(), H5Error> {
        let names: Vec<&str> = self.layers.iter().map(|(name, _)| *name).collect();
        to.attr_strings(root, "layer_names", &names)?;
        to.attr_string(root, "backend", "tensorflow")?;
        to.attr_string(root, "keras_version", KERAS_VERSION)?;
        for ((name, weights), values) in self.layers.iter().zip(values) {
            let paths = unique_paths(weights);
            to.attr_strings(&join([root, name, ""]), "weight_names", &paths)?;
            for ((path, weight), values) in paths.iter().zip(weights).zip(values) {
                to.weight(&join([root, name, path]), weight.shape(), &values[..], precision)?;
            }
        }
        Ok(())
    }
}
