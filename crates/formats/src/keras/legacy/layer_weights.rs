//! Weights of layers in the older `.h5`: matched by order or by name, and written.

use std::collections::HashSet;

use engraft_nn::{Error, Layer, Result, Weight};

use super::{KERAS_VERSION, in_h5};
use crate::FloatType;
use crate::h5::{H5Error, H5File, H5Writer};
use crate::keras::merged_kernel::{self, MergedLayer};
use crate::keras::weights::{SavedLayer, saved_layers};
use crate::unique_names::unique_paths;

/// A layer in an `.h5` of Keras 2: its name, and the names and shapes of its arrays.
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
    /// The name of the layer.
    pub name: String,
    /// Name and shape of each array, in order. The kernel of a convolution has the shape
    /// `[height, width, input channels, filters]`.
    pub weights: Vec<(String, Vec<usize>)>,
}

/// The layers that a file lists, with the names and shapes of their arrays; values are read on demand.
pub(super) struct LayerWeights<'a> {
    file: &'a H5File,
    /// The group of the layers: the root of the file, or `model_weights`.
    root: &'static str,
    layers: Vec<LegacyLayer>,
}

impl<'a> LayerWeights<'a> {
    /// Reads the list of layers from the root, or from `model_weights` if the root has none.
    pub(super) fn of(file: &'a H5File) -> Result<Self> {
        for root in ["", "model_weights"] {
            if file.contains(root).map_err(in_h5)?
                && let Some(names) = file.attr_strings(root, "layer_names").map_err(in_h5)?
            {
                let mut weights = Self { file, root, layers: Vec::new() };
                weights.layers = names.into_iter().map(|name| weights.layer(name)).collect::<Result<_>>()?;
                return Ok(weights);
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

    /// Sets weights by order, skipping layers without weights on both sides.
    pub(super) fn set_by_order(&self, layers: &[Layer]) -> Result<()> {
        self.set_by_order_if(layers, |saved, layers| saved == layers)
    }

    /// Sets weights by order, skipping layers without weights on both sides. The file may have further layers after them.
    pub(super) fn set_first_by_order(&self, layers: &[Layer]) -> Result<()> {
        self.set_by_order_if(layers, |saved, layers| saved >= layers)
    }

    /// Sets weights by order if the numbers of layers with weights in the file and in the model fit.
    fn set_by_order_if(&self, layers: &[Layer], fit: fn(usize, usize) -> bool) -> Result<()> {
        let saved: Vec<_> = self.layers.iter().filter(|layer| !layer.weights.is_empty()).collect();
        let mut layers: Vec<&Layer> = layers.iter().filter(|layer| !layer.weights().is_empty()).collect();
        if !fit(saved.len(), layers.len()) {
            layers.retain(|layer| optional_weights(layer).len() < layer.weights().len());
        }
        if !fit(saved.len(), layers.len()) {
            return Err(layer_count_differs(&saved, &layers));
        }
        self.set(&saved.into_iter().zip(layers).collect::<Vec<_>>())
    }

    /// Sets the weights of layers whose names are in the file; returns those names.
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

    /// Checks the shapes of all pairs, then sets the weights.
    fn set(&self, pairs: &[(&LegacyLayer, &Layer)]) -> Result<()> {
        let pairs = pairs.iter().map(|(saved, layer)| merged_kernel::split(saved).map(|parts| (parts, *layer)));
        let pairs = pairs.collect::<Result<Vec<(MergedLayer, &Layer)>>>()?;
        for (MergedLayer { weights: saved, parts }, layer) in &pairs {
            let weights = in_order_of(saved, layer);
            if !same_shapes(saved, &weights) {
                let shapes = |shapes: Vec<&[usize]>| format!("weights of shapes {shapes:?}");
                let expected = shapes(weights.iter().map(Weight::shape).collect());
                let received = shapes(saved.weights.iter().map(|(_, shape)| shape.as_slice()).collect());
                return Err(Error::new(
                    format_args!("layer `{}`", layer.name()),
                    expected,
                    format_args!("{received} in `{}`", saved.name),
                ));
            }
            for ((array, _), weight) in saved.weights.iter().zip(&weights) {
                parts.get(array).into_iter().flatten().try_for_each(|part| part.check(layer, weight))?;
            }
        }
        for (MergedLayer { weights: saved, parts }, layer) in &pairs {
            let read = |array: &str| Ok(self.file.read_f32(&self.path(&saved.name, array)).map_err(in_h5)?.1);
            for ((array, _), weight) in saved.weights.iter().zip(in_order_of(saved, layer)) {
                let mut values = read(array)?;
                for part in parts.get(array).into_iter().flatten() {
                    part.merge(&mut values, layer, &weight, read)?;
                }
                weight.set(values)?;
            }
        }
        Ok(())
    }

    /// The path of an array, or of the layer's group if `array` is empty. A layer's name may contain
    /// slashes; then it is a path of several groups.
    fn path(&self, layer: &str, array: &str) -> String {
        join([self.root, layer, array])
    }
}

fn join(parts: [&str; 3]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// The error for a file with more or fewer layers with weights than the model; it names the first difference in shapes.
fn layer_count_differs(saved: &[&LegacyLayer], layers: &[&Layer]) -> Error {
    let first = saved.iter().zip(layers).position(|(saved, layer)| !same_shapes(saved, &in_legacy_order(layer)));
    let at = first.unwrap_or(saved.len().min(layers.len()));
    let name_or_end = |name: Option<&str>| name.map_or("the end".to_owned(), |name| format!("`{name}`"));
    let expected = format!("{} layers with weights", layers.len());
    let received = format!(
        "{}; the first difference is at {} in the model and {} in the file",
        saved.len(),
        name_or_end(layers.get(at).map(|layer| layer.name())),
        name_or_end(saved.get(at).map(|saved| saved.name.as_str())),
    );
    Error::new("weights", expected, received)
        .hint("are these the weights of this architecture, with or without its top?")
}

fn same_shapes(saved: &LegacyLayer, weights: &[Weight]) -> bool {
    saved.weights.iter().map(|(_, shape)| shape.as_slice()).eq(weights.iter().map(Weight::shape))
}

/// A layer's weights in the order of the file's arrays: by name if each name is that of one weight, else in the order of Keras 2.
///
/// The order of Keras 2 depends on the flags of a nested model's layers when the file was written. These may be other flags than
/// those in the file: Keras 3 ignores the flag of a sequential model when it opens one.
fn in_order_of(saved: &LegacyLayer, layer: &Layer) -> Vec<Weight> {
    let not_created = not_created(saved, layer);
    let created = |mut weights: Vec<Weight>| {
        weights.retain(|weight| !not_created.contains(&weight.id()));
        weights
    };
    let weights = created(layer.weights());
    let named = |array: &str| {
        let array = array.strip_suffix(":0").unwrap_or(array);
        let of_array = |weight: &&Weight| {
            array.strip_suffix(&weight.path()).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        let mut named = weights.iter().filter(of_array);
        named.next().filter(|_| named.next().is_none()).cloned()
    };
    let by_name: Option<Vec<Weight>> = saved.weights.iter().map(|(array, _)| named(array)).collect();
    let ids = |weights: &[Weight]| weights.iter().map(Weight::id).collect::<HashSet<_>>();
    let complete = by_name.filter(|named| named.len() == weights.len() && ids(named).len() == weights.len());
    complete.unwrap_or_else(|| created(in_legacy_order(layer)))
}

/// Ids of the weights that a file lacks because Keras hadn't created them when it saved the model.
fn not_created(saved: &LegacyLayer, layer: &Layer) -> HashSet<usize> {
    let ids = optional_weights(layer);
    if saved.weights.len() + ids.len() == layer.weights().len() { ids } else { HashSet::new() }
}

/// Ids of the weights that a file may lack, of a layer and those nested in it.
fn optional_weights(layer: &Layer) -> HashSet<usize> {
    let mut ids = HashSet::new();
    for SavedLayer { layer, .. } in saved_layers(layer) {
        let weights = layer.own_weights().iter().enumerate();
        ids.extend(weights.filter(|(index, _)| layer.def().may_lack_weight(*index)).map(|(_, weight)| weight.id()));
    }
    ids
}

/// A layer's weights in the order of Keras 2: trainable ones first.
fn in_legacy_order(layer: &Layer) -> Vec<Weight> {
    let mut weights = layer.trainable_weights();
    let ids: HashSet<usize> = weights.iter().map(Weight::id).collect();
    weights.extend(layer.weights().into_iter().filter(|weight| !ids.contains(&weight.id())));
    weights
}

/// The weights of layers to be written, in the order of Keras 2.
pub(super) struct OrderedWeights<'a> {
    layers: Vec<(&'a str, Vec<Weight>)>,
}

/// A weight's values, locked for reading.
type Values<'w> = std::sync::RwLockReadGuard<'w, Vec<f32>>;

impl<'a> OrderedWeights<'a> {
    pub(super) fn of(layers: &'a [Layer]) -> Self {
        Self { layers: layers.iter().map(|layer| (layer.name(), in_legacy_order(layer))).collect() }
    }

    /// Locks the values of all weights for reading, by layer.
    pub(super) fn values(&self) -> Vec<Vec<Values<'_>>> {
        self.layers.iter().map(|(_, weights)| weights.iter().map(Weight::values).collect()).collect()
    }

    /// Writes the list of layers and their weights into the group `root`. `values` are those of [`Self::values`].
    pub(super) fn write<'v>(
        &self,
        root: &str,
        values: &'v [Vec<Values<'_>>],
        float_type: FloatType,
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
                to.weight(&join([root, name, path]), weight.shape(), &values[..], float_type)?;
            }
        }
        Ok(())
    }
}
