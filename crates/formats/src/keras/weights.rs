//! The layout of `model.weights.h5` in Keras 3 (`saving_lib`): reading and writing the weights of all layers.
//!
//! A layer's weights are `vars/0`, `vars/1`, … in its group. Those of layers inside, as in attention, are in groups of these
//! layers: `query_dense/vars/0`, …. The layers of a model are groups in
//! `layers`, named after their classes and not their names: `conv2d`, `conv2d_1`, `dense`, ….

use std::collections::{BTreeSet, HashMap, HashSet};

use engraft_nn::{Error, ErrorKind, Layer, Result, Weight, snake_case};

use super::int8::Scales;
use super::serialized_object::is_operation;
use crate::FloatType;
use crate::error::at;
use crate::h5::{H5Error, H5File, H5Writer};

/// The hint where weights are quantized in a way that isn't read.
pub(super) const UNQUANTIZED: &str = "save the model before it is quantized (before `model.quantize(..)`)";

/// A layer and its group in the file; the empty path is the root.
#[derive(Clone)]
pub(super) struct SavedLayer {
    pub(super) path: String,
    pub(super) layer: Layer,
    /// What the names of groups of layers inside begin with in this file: `_` in files of Keras 2.
    pub(super) prefix_inside: &'static str,
}

impl SavedLayer {
    /// Name and class of the layer, for errors.
    fn description(&self) -> String {
        format!("layer `{}` ({})", self.layer.name(), self.layer.class_name())
    }

    fn vars(&self) -> String {
        join(&self.path, "vars")
    }

    fn var(&self, index: usize) -> String {
        let path = self.layer.def().weight_path(index);
        match path.starts_with("vars/") {
            true => join(&self.path, &path),
            false => join(&self.path, &format!("{}{path}", self.prefix_inside)),
        }
    }

    /// The further places of a weight.
    fn copies(&self, index: usize) -> impl Iterator<Item = String> {
        let copies = self.layer.def().copied_weights().iter().filter(move |(copied, _)| *copied == index);
        copies.map(|(_, path)| join(&self.path, path))
    }

    /// The groups that hold arrays of the layer: its own `vars`, and those of layers inside.
    fn groups(&self) -> BTreeSet<String> {
        let inside = (0..self.layer.own_weights().len()).map(|index| parent(&self.var(index)).to_owned());
        inside.chain([self.vars()]).collect()
    }
}

/// The group of an array.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(group, _)| group)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The model and every layer in it, each once. A layer in several models has the group at which Keras visits it first.
/// Operations have no group and are left out.
pub(super) fn saved_layers(model: &Layer) -> Vec<SavedLayer> {
    let mut found = Vec::new();
    visit(model, String::new(), &mut HashSet::new(), &mut found);
    found
}

/// The layers as [`saved_layers`] of a model that has only these.
pub(super) fn saved_as_model(layers: &[Layer]) -> Vec<SavedLayer> {
    let mut found = Vec::new();
    visit_all(layers, "", &mut HashSet::new(), &mut found);
    found
}

fn visit(layer: &Layer, path: String, visited: &mut HashSet<usize>, found: &mut Vec<SavedLayer>) {
    if !visited.insert(layer.id()) {
        return;
    }
    found.push(SavedLayer { path: path.clone(), layer: layer.clone(), prefix_inside: "" });
    visit_all(&layer.layers(), &path, visited, found);
}

/// Visits the layers of the model at `path`. Each has a group named after its class, and numbered from the second on.
fn visit_all(layers: &[Layer], path: &str, visited: &mut HashSet<usize>, found: &mut Vec<SavedLayer>) {
    let group = join(path, "layers");
    let mut used: HashMap<String, usize> = HashMap::new();
    for inner in layers.iter().filter(|inner| !is_operation(inner.def().module())) {
        let class = snake_case(inner.class_name());
        let name = match used.entry(class.clone()).and_modify(|uses| *uses += 1).or_insert(0) {
            0 => class,
            uses => format!("{class}_{uses}"),
        };
        visit(inner, join(&group, &name), visited, found);
    }
}

/// Writes the weights of all layers. `values` are the locked values from [`values`].
pub(super) fn write<'a>(
    saved: &[SavedLayer],
    values: &'a [Vec<Values>],
    float_type: FloatType,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    for (entry, values) in saved.iter().zip(values) {
        to.attr_string(&entry.vars(), "name", entry.layer.name())?;
        for (index, (weight, values)) in entry.layer.own_weights().iter().zip(values).enumerate() {
            to.weight(&entry.var(index), weight.shape(), &values[..], float_type)?;
            for copy in entry.copies(index) {
                to.weight(&copy, weight.shape(), &values[..], float_type)?;
            }
        }
    }
    Ok(())
}

/// A weight's values, locked for reading.
pub(super) type Values<'w> = std::sync::RwLockReadGuard<'w, Vec<f32>>;

/// Locks the values of all layers' own weights for reading.
pub(super) fn values(saved: &[SavedLayer]) -> Vec<Vec<Values<'_>>> {
    saved.iter().map(|entry| entry.layer.own_weights().iter().map(Weight::values).collect()).collect()
}

/// Whether layer names in the file must match those of the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerNames {
    /// For a file saved together with the model: a different name shows a wrong order of layers.
    MustMatch,
    /// Layer names are ignored: the weights may be of another model with the same layers.
    Ignored,
}

/// Checks that the file has an array of the right shape for every weight, and no others; then sets all weights.
pub(super) fn read(saved: &[SavedLayer], file: &H5File, names: LayerNames) -> Result<()> {
    let comparison = FileComparison { file, root: root(file)?, names };
    let saved = &comparison.with_groups_of_keras_2(saved)?;
    let groups: HashSet<String> = saved.iter().map(|entry| comparison.path(&entry.path)).collect();
    saved.iter().try_for_each(|entry| comparison.check_no_others(entry, &groups))?;
    comparison.check_and_set(saved)
}

/// Like [`read`] with names ignored, from a file that may have weights of further layers, such as the top of a network.
pub(super) fn read_base(saved: &[SavedLayer], file: &H5File) -> Result<()> {
    let comparison = FileComparison { file, root: root(file)?, names: LayerNames::Ignored };
    comparison.check_and_set(&comparison.with_groups_of_keras_2(saved)?)
}

/// The name of the groups that contain layers: `layers`, or `_layer_checkpoint_dependencies` in files of Keras 2.13.
fn root(file: &H5File) -> Result<&'static str> {
    for name in ["layers", "_layer_checkpoint_dependencies"] {
        if file.contains(name).map_err(in_h5)? {
            return Ok(name);
        }
    }
    let none = Error::because("weights", "expected a group `layers`, found none").with_kind(ErrorKind::InvalidData);
    Err(none.hint(
        "this function reads the weights of Keras 3; legacy::load_weights reads those of Keras 2 (`layer_names`)",
    ))
}

/// The comparison of a file with the layers of a model.
struct FileComparison<'a> {
    file: &'a H5File,
    /// The name of the groups of layers in this file.
    root: &'static str,
    names: LayerNames,
}

impl FileComparison<'_> {
    /// Replaces each `layers` in a path by this file's name for such groups.
    fn path(&self, path: &str) -> String {
        path.split('/').map(|part| if part == "layers" { self.root } else { part }).collect::<Vec<_>>().join("/")
    }

    /// The layers with the groups that tf_keras, Keras 2, names in another way.
    fn with_groups_of_keras_2(&self, saved: &[SavedLayer]) -> Result<Vec<SavedLayer>> {
        let contains = |path: &str| self.file.contains(&self.path(path)).map_err(in_h5);
        let mut saved = saved.to_vec();
        for entry in &mut saved {
            match entry.layer.class_name() {
                "MultiHeadAttention" if contains(&join(&entry.path, "_query_dense"))? => entry.prefix_inside = "_",
                // A SyncBatchNormalization of Keras 2. Where a file has both classes in one model, their order is lost.
                "BatchNormalization" if !contains(&entry.path)? => {
                    let (group, name) = entry.path.rsplit_once('/').unwrap_or_default();
                    let renamed = join(group, &format!("sync_{name}"));
                    if contains(&renamed)? {
                        entry.path = renamed;
                    }
                }
                _ => {}
            }
        }
        Ok(saved)
    }

    /// Checks the arrays of all layers, then sets the weights.
    fn check_and_set(&self, saved: &[SavedLayer]) -> Result<()> {
        saved.iter().try_for_each(|entry| self.check_arrays(entry))?;
        saved.iter().try_for_each(|entry| self.set(entry))
    }

    /// Sets a layer's weights to the arrays of the file.
    fn set(&self, entry: &SavedLayer) -> Result<()> {
        let read = |index| self.file.read_f32(&self.path(&entry.var(index))).map(|(_, values)| values);
        for (index, weight) in entry.layer.own_weights().iter().enumerate() {
            if self.is_not_created(entry, index)? {
                continue;
            }
            let of_weight = |error| of_weight(weight, error);
            let mut values = read(index).map_err(of_weight)?;
            if let Some((array, scales)) = self.scales(entry, index, weight)? {
                let (_, scale) = self.file.read_f32(&self.path(&array)).map_err(of_weight)?;
                scales.dequantize(&mut values, &scale);
            }
            weight.set(values)?;
        }
        Ok(())
    }

    /// Whether the file lacks a weight that Keras hadn't created when it saved the model.
    fn is_not_created(&self, entry: &SavedLayer, index: usize) -> Result<bool> {
        let array = entry.var(index);
        Ok(entry.layer.def().may_lack_weight(index) && children(self.file, &self.path(parent(&array)))?.is_empty())
    }

    /// The scales of a weight and the path of their array, if the file has the weight as int8. The array follows those of the layer.
    ///
    /// The values decide, not the dtype policy alone: Keras quantizes the layers inside a MultiHeadAttention, whose policy stays one of
    /// floats in the file.
    fn scales(&self, entry: &SavedLayer, index: usize, weight: &Weight) -> Result<Option<(String, Scales)>> {
        let Some(scales) = Scales::of(&entry.layer, weight) else { return Ok(None) };
        let path = entry.var(index);
        let group = parent(&path);
        let beside = (0..entry.layer.own_weights().len()).filter(|&other| parent(&entry.var(other)) == group).count();
        let array = join(group, &beside.to_string());
        let by_policy = entry.layer.dtype_policy().is_some_and(|policy| policy.quantizes(entry.layer.class_name()));
        let is_int8 = by_policy || self.is_int8(&path)? && self.file.contains(&self.path(&array)).map_err(in_h5)?;
        Ok(is_int8.then_some((array, scales)))
    }

    /// Whether the file has an array of integers of 8 bits at this path.
    fn is_int8(&self, path: &str) -> Result<bool> {
        let path = self.path(path);
        Ok(self.file.contains(&path).map_err(in_h5)? && self.file.dataset_kind(&path).map_err(in_h5)? == "I8")
    }

    /// Refuses a weight that is quantized in another way than int8, without a policy that says so: by the arrays beside it.
    fn check_quantization(
        &self,
        entry: &SavedLayer,
        index: usize,
        weight: &Weight,
        found: &HashSet<String>,
    ) -> Result<()> {
        if Scales::of(&entry.layer, weight).is_none() {
            return Ok(());
        }
        let path = entry.var(index);
        let in_group = |array: &str| parent(array) == self.path(parent(&path));
        let arrays = found.iter().filter(|array| in_group(array)).count();
        let weights =
            (0..entry.layer.own_weights().len()).filter(|&other| in_group(&self.path(&entry.var(other)))).count();
        let shape = self.file.dataset_shape(&self.path(&path)).unwrap_or_default();
        let mode = match shape == weight.shape() {
            _ if arrays <= weights => return Ok(()),
            true if arrays == weights + 1 => return Ok(()),
            true => "float8",
            false if self.is_int8(&path)? => "int4",
            false => "gptq or awq",
        };
        let received = format!("{arrays} arrays in `{}`, as of a kernel quantized to {mode}", self.path(parent(&path)));
        Err(Error::new(name_of(weight), "weights of floats or int8", received)
            .with_kind(ErrorKind::Unsupported)
            .hint(UNQUANTIZED))
    }

    /// Checks that the number and shapes of a layer's arrays match its weights.
    fn check_arrays(&self, entry: &SavedLayer) -> Result<()> {
        let vars = self.path(&entry.vars());
        let mut found: HashSet<String> = HashSet::new();
        for group in entry.groups() {
            let group = self.path(&group);
            found.extend(children(self.file, &group)?.into_iter().map(|name| join(&group, &name)));
        }
        let weights = entry.layer.own_weights();
        let mut arrays: Vec<(String, &Weight, Vec<usize>)> = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            if self.is_not_created(entry, index)? {
                continue;
            }
            let paths = std::iter::once(entry.var(index)).chain(entry.copies(index));
            arrays.extend(paths.map(|path| (path, weight, weight.shape().to_vec())));
            self.check_quantization(entry, index, weight, &found)?;
            if let Some((array, scales)) = self.scales(entry, index, weight)? {
                // Keras adds axes of size 1 to some arrays of scales.
                let shape = self.file.dataset_shape(&self.path(&array)).ok().filter(|shape| scales.fit(shape));
                arrays.push((array, weight, shape.unwrap_or_else(|| scales.sizes())));
            }
        }
        for (path, weight, expected) in &arrays {
            let path = self.path(path);
            if !found.contains(&path) {
                return Err(Error::new(name_of(weight), format_args!("an array `{path}` of {expected:?}"), "none"));
            }
            let shape = self.file.dataset_shape(&path).map_err(|error| of_weight(weight, error))?;
            if shape != *expected {
                let received = format!("{shape:?} in `{path}`");
                return Err(Error::new(name_of(weight), format_args!("{expected:?}"), received));
            }
        }
        if found.len() != arrays.len() {
            return Err(Error::new(
                entry.description(),
                format_args!("{} arrays in `{vars}`", arrays.len()),
                found.len(),
            ));
        }
        self.check_name(entry, &vars)
    }

    /// Checks the layer's name, if names must match and the file has one.
    fn check_name(&self, entry: &SavedLayer, vars: &str) -> Result<()> {
        if self.names == LayerNames::Ignored || entry.layer.own_weights().is_empty() {
            return Ok(());
        }
        match self.file.attr_string(vars, "name").map_err(in_h5)? {
            Some(name) if name != entry.layer.name() => Err(Error::new(
                entry.description(),
                format_args!("its weights in `{vars}`"),
                format_args!("those of `{name}`"),
            )),
            _ => Ok(()),
        }
    }

    /// Checks that no group of a layer nested in `entry` has arrays, except the groups of the model's layers (`groups`).
    fn check_no_others(&self, entry: &SavedLayer, groups: &HashSet<String>) -> Result<()> {
        let layers = self.path(&join(&entry.path, "layers"));
        for name in children(self.file, &layers)? {
            let group = join(&layers, &name);
            let has_weights = || {
                let inside = [join(&group, "vars"), join(&group, self.root)];
                Ok(!children(self.file, &inside[0])?.is_empty() || !children(self.file, &inside[1])?.is_empty())
            };
            if !groups.contains(&group) && has_weights()? {
                return Err(Error::new(
                    entry.description(),
                    "only weights of its own layers",
                    format_args!("others in `{group}`"),
                )
                .hint("are these the weights of this model?"));
            }
        }
        Ok(())
    }
}

/// The names of the members of a group; empty if there is no such group.
fn children(file: &H5File, group: &str) -> Result<Vec<String>> {
    match file.children(group) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(H5Error::Missing { .. }) => Ok(Vec::new()),
        Err(error) => Err(in_h5(error)),
    }
}

fn name_of(weight: &Weight) -> String {
    format!("weight `{}`", weight.path())
}

fn of_weight(weight: &Weight, error: H5Error) -> Error {
    at(name_of(weight), error)
}

fn in_h5(error: H5Error) -> Error {
    at("weights", error)
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::{Flip, from_config};
    use engraft_nn::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn weights_of_layers_inside_have_groups_of_their_own() {
        let x = Input::new([4, 6]);
        let y = MultiHeadAttention::new(2, 3).use_gate(true).call([&x, &x]).unwrap();
        let saved = saved_layers(Model::new(&x, &y).unwrap().layer());
        let attention = &saved[2];
        let group = "layers/multi_head_attention";
        assert_eq!(
            [2, 5, 9].map(|index| attention.var(index)),
            [
                format!("{group}/key_dense/vars/0"),
                format!("{group}/_gate_dense/vars/1"),
                format!("{group}/output_dense/vars/1"),
            ]
        );
        assert_eq!(attention.groups().len(), 6, "those of five layers inside, and its own");
    }

    #[test]
    fn the_kernel_of_a_wrapped_layer_is_written_twice() {
        let dense = json!({"module": "keras.layers", "class_name": "Dense", "config": {"name": "dense", "units": 2},
            "registered_name": null});
        let config = json!({"name": "top", "layer": dense, "power_iterations": 1});
        let model = || {
            let top = from_config("SpectralNormalization", config.as_object().unwrap().clone()).unwrap();
            Sequential::new().add(Input::new([3])).add(top).build().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.weights.h5");
        let (written, read) = (model(), model());
        written.weights().iter().for_each(|weight| weight.set(vec![0.5; weight.count()]).unwrap());
        crate::keras::save_weights(&written, &path, FloatType::F32).unwrap();
        let file = H5File::open(&path).unwrap();
        let group = "layers/spectral_normalization";
        for array in ["vars/0", "layer/vars/0"] {
            assert_eq!(file.read_f32(&format!("{group}/{array}")).unwrap(), (vec![3, 2], vec![0.5; 6]));
        }
        assert_eq!(children(&file, &format!("{group}/vars")).unwrap().len(), 2);
        crate::keras::load_weights(&path, &read).unwrap();
        assert!(read.weights().iter().all(|weight| weight.values().iter().all(|&value| value == 0.5)));
    }

    #[test]
    fn the_groups_of_keras_2_are_found() {
        let model = || {
            let x = Input::new([4, 6]);
            let y = MultiHeadAttention::new(2, 3).call([&x, &x]).unwrap();
            let y = BatchNormalization::new().call(&BatchNormalization::new().call(&y).unwrap()).unwrap();
            Model::new(&x, &y).unwrap()
        };
        let written = model();
        written.weights().iter().zip(1u8..).for_each(|(weight, n)| weight.set(vec![n.into(); weight.count()]).unwrap());
        let mut saved = saved_layers(written.layer());
        for entry in &mut saved {
            entry.prefix_inside = "_";
            entry.path = entry.path.replace("batch_normalization", "sync_batch_normalization");
        }
        let (values, mut writer, mut bytes) = (values(&saved), H5Writer::new(), Vec::new());
        write(&saved, &values, FloatType::F32, &mut writer).unwrap();
        writer.write_to(&mut bytes).unwrap();
        let (file, again) = (H5File::from_reader(std::io::Cursor::new(bytes)).unwrap(), model());
        read(&saved_layers(again.layer()), &file, LayerNames::Ignored).unwrap();
        let equal = |(a, b): (&Weight, &Weight)| *a.values() == *b.values();
        assert!(again.weights().iter().zip(&written.weights()).all(equal));
    }

    #[test]
    fn groups_are_called_by_class_and_counted() {
        let x = Input::new([8, 8, 3]);
        let y = Flip::channels().call(&x).unwrap();
        let y = Conv2D::new(2, 3).named("first").call(&y).unwrap();
        let y = Conv2D::new(2, 3).named("second").call(&y).unwrap();
        let shared = Dense::new(2).named("shared");
        let inner = || Sequential::new().add(Flatten::new()).add(&shared);
        let (a, b) = (inner().call(&y).unwrap(), inner().call(&y).unwrap());
        let model = Model::new(&x, &Add::new().call([&a, &b]).unwrap()).unwrap();
        let groups: Vec<String> = saved_layers(model.layer()).into_iter().map(|entry| entry.path).collect();
        // The operation (`Flip`) has no group. The shared layer has only one, in the first of the two models that contain it.
        let expected = [
            "",
            "layers/input_layer",
            "layers/conv2d",
            "layers/conv2d_1",
            "layers/sequential",
            "layers/sequential/layers/flatten",
            "layers/sequential/layers/dense",
            "layers/sequential_1",
            "layers/sequential_1/layers/flatten",
            "layers/add",
        ];
        assert_eq!(groups, expected);
    }
}
