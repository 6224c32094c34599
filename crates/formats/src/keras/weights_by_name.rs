//! Loading weights of a `.weights.h5` by layer names, whatever the nesting of groups in the file.
//!
//! `keras::weights` matches by position instead; `keras::legacy` matches by name in the older `.h5`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use engraft_nn::{Error, Layer, Result, Weight};

use super::{in_file, open_weights};
use crate::error::within_file;
use crate::h5::H5File;

/// Limit on the number of groups and members visited. Without it, the walk through groups that contain each other would never
/// end.
const MAX_ENTRIES: usize = 1 << 15;

/// Loads weights by **layer name** from a `.weights.h5` or `.keras` file of Keras 3; returns the names of the layers that were set.
///
/// Layers whose name is only in the file or only in `layers` (nested layers included) are skipped. The nesting of groups
/// in the file doesn't matter, since subclassed models have groups of their own. If one layer doesn't fit, none is changed.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("some.weights.h5");
/// let model = |name: &str| Sequential::new().add(Input::new([4])).add(Dense::new(2).named(name)).build();
/// keras::save_weights(&model("base")?, &path, FloatType::F32)?;
/// let other = Sequential::new().add(model("base")?).add(Dense::new(3).named("top")).build()?;
/// assert_eq!(keras::load_weights_by_name(&path, &other.layers())?, ["base"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read; no name matches; a name is twice in the file; the number or shapes of a layer's arrays differ.
pub fn load_weights_by_name(path: &Path, layers: &[Layer]) -> Result<Vec<String>> {
    let file = open_weights(path)?;
    set(&file, layers).map_err(|error| within_file(path, error))
}

/// Names of the layers with weights in a `.weights.h5` or `.keras` file of Keras 3: a list for each model and class, in the order of
/// the model's layers.
///
/// The file numbers the layers of a class, so that the order of layers of different classes isn't known.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("some.weights.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("first")).add(Dense::new(3).named("last"));
/// keras::save_weights(&model.build()?, &path, FloatType::F32)?;
/// assert_eq!(keras::layer_names(&path)?, [["first", "last"]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read.
pub fn layer_names(path: &Path) -> Result<Vec<Vec<String>>> {
    let file = open_weights(path)?;
    names_by_class(&file).map_err(|error| within_file(path, error))
}

fn names_by_class(file: &H5File) -> Result<Vec<Vec<String>>> {
    let mut classes: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for (name, paths) in groups(file)? {
        for path in paths {
            if !file.children(&path).map_err(in_file)?.is_empty() {
                let (class, number) = class_and_number(path.strip_suffix("/vars").unwrap_or_default());
                classes.entry(class.to_owned()).or_default().insert(number, name.clone());
            }
        }
    }
    Ok(classes.into_values().map(|names| names.into_values().collect()).collect())
}

/// Splits the path of a layer's group, such as `layers/conv2d_3`, into that of the class and the number. The first has none.
fn class_and_number(group: &str) -> (&str, usize) {
    let numbered = group.rsplit_once('_').and_then(|(class, number)| Some((class, number.parse().ok()?)));
    numbered.unwrap_or((group, 0))
}

fn set(file: &H5File, layers: &[Layer]) -> Result<Vec<String>> {
    let groups = groups(file)?;
    let mut found = Vec::new();
    for layer in layers.iter().flat_map(with_inner).filter(|layer| !layer.own_weights().is_empty()) {
        match groups.get(layer.name()).map(Vec::as_slice) {
            None => {}
            Some([group]) => found.push((layer, group)),
            Some(several) => {
                let received = format!("{} groups: {}", several.len(), several.join(", "));
                return Err(Error::new(format_args!("layer `{}`", layer.name()), "one group of its name", received));
            }
        }
    }
    if found.is_empty() {
        let names: Vec<&str> = layers.iter().map(Layer::name).collect();
        return Err(Error::new("weights", format_args!("layers called {}", names.join(", ")), "others"));
    }
    for (layer, group) in &found {
        check(file, layer, group)?;
    }
    for (layer, group) in &found {
        for (index, weight) in layer.own_weights().iter().enumerate() {
            weight.set(file.read_f32(&array(layer, group, index)).map_err(in_file)?.1)?;
        }
    }
    Ok(found.iter().map(|(layer, _)| layer.name().to_owned()).collect())
}

/// A layer and all layers nested in it.
fn with_inner(layer: &Layer) -> Vec<Layer> {
    std::iter::once(layer.clone()).chain(layer.layers().iter().flat_map(with_inner)).collect()
}

/// The path of the array of a layer's weight `index`. `vars` is the layer's group of this name; arrays of layers inside the layer
/// are in groups beside it.
fn array(layer: &Layer, vars: &str, index: usize) -> String {
    let group = vars.strip_suffix("vars").unwrap_or_default();
    format!("{group}{}", layer.def().weight_path(index))
}

/// The paths of the groups `vars` by layer name (their attribute `name`). Layers without weights have such a group, too.
fn groups(file: &H5File) -> Result<HashMap<String, Vec<String>>> {
    let mut named: HashMap<String, Vec<String>> = HashMap::new();
    let (mut pending, mut seen) = (vec![String::new()], 0);
    while let Some(group) = pending.pop() {
        let entries = file.children(&group).map_err(in_file)?;
        seen += 1 + entries.len();
        if seen > MAX_ENTRIES {
            return Err(Error::new("groups", format_args!("at most {MAX_ENTRIES}"), "more"));
        }
        if group == "vars" || group.ends_with("/vars") {
            if let Some(name) = file.attr_string(&group, "name").map_err(in_file)? {
                named.entry(name).or_default().push(group);
            }
            continue;
        }
        let inner = entries.into_iter().filter(|entry| entry.is_group);
        pending
            .extend(inner.map(|entry| if group.is_empty() { entry.name } else { format!("{group}/{}", entry.name) }));
    }
    Ok(named)
}

/// Checks that the arrays in a group have the shapes of a layer's own weights.
fn check(file: &H5File, layer: &Layer, group: &str) -> Result<()> {
    let expected: Vec<&[usize]> = layer.own_weights().iter().map(Weight::shape).collect();
    let paths: Vec<String> = (0..expected.len()).map(|index| array(layer, group, index)).collect();
    let folders: BTreeSet<&str> = paths.iter().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    let mut shapes = Vec::new();
    for folder in folders {
        let mut names: Vec<String> =
            file.children(folder).map_err(in_file)?.into_iter().map(|entry| entry.name).collect();
        names.sort_by_key(|name| name.parse::<usize>().unwrap_or(usize::MAX));
        for name in names {
            shapes
                .push((format!("{folder}/{name}"), file.dataset_shape(&format!("{folder}/{name}")).map_err(in_file)?));
        }
    }
    shapes.sort_by_key(|(path, _)| paths.iter().position(|expected| expected == path).unwrap_or(usize::MAX));
    let shapes: Vec<Vec<usize>> = shapes.into_iter().map(|(_, shape)| shape).collect();
    if shapes == expected {
        return Ok(());
    }
    let received = format!("{shapes:?} in `{group}`");
    Err(Error::new(format_args!("layer `{}`", layer.name()), format_args!("weights of shapes {expected:?}"), received))
}
