//! `model.weights.h5`: where each layer's weights stand, as Keras 3 lays them out (`saving_lib`).
//!
//! A layer's weights are `vars/0`, `vars/1`, … in its group. A model's layers are groups in
//! `layers`, called not by their names but by their classes: `conv2d`, `conv2d_1`, `dense`, ….

use std::collections::{HashMap, HashSet};

use engraft_nn::{Error, ErrorKind, Layer, Result, Weight, snake_case};

use super::config::is_operation;
use crate::Precision;
use crate::error::at;
use crate::h5::{H5Error, H5File, H5Writer};

/// A layer and its group in the file; the empty path is the root.
pub(super) struct Saved {
    pub(super) path: String,
    pub(super) layer: Layer,
}

impl Saved {
    fn name(&self) -> String {
        format!("layer `{}` ({})", self.layer.name(), self.layer.class_name())
    }

    fn vars(&self) -> String {
        join(&self.path, "vars")
    }

    fn var(&self, index: usize) -> String {
        join(&self.path, &format!("vars/{index}"))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The model and every layer in it, each once, at the first place where Keras meets it.
pub(super) fn saved(model: &Layer) -> Vec<Saved> {
    let mut found = Vec::new();
    visit(model, String::new(), &mut HashSet::new(), &mut found);
    found
}

fn visit(layer: &Layer, path: String, visited: &mut HashSet<usize>, found: &mut Vec<Saved>) {
    if !visited.insert(layer.id()) {
        return;
    }
    let layers = join(&path, "layers");
    found.push(Saved { path, layer: layer.clone() });
    let mut used: HashMap<String, usize> = HashMap::new();
    for inner in layer.layers().iter().filter(|inner| !is_operation(inner.def().module())) {
        let class = snake_case(inner.class_name());
        let name = match used.entry(class.clone()).and_modify(|uses| *uses += 1).or_insert(0) {
            0 => class,
            uses => format!("{class}_{uses}"),
        };
        visit(inner, join(&layers, &name), visited, found);
    }
}

/// Adds the weights of all layers, borrowed from `values`, which [`values`] gives.
pub(super) fn write<'a>(
    saved: &[Saved],
    values: &'a [Vec<Values>],
    precision: Precision,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    for (place, values) in saved.iter().zip(values) {
        to.attr_string(&place.vars(), "name", place.layer.name())?;
        for (index, (weight, values)) in place.layer.own_weights().iter().zip(values).enumerate() {
            to.weight(&place.var(index), weight.shape(), &values[..], precision)?;
        }
    }
    Ok(())
}

/// A weight's values, locked for reading.
pub(super) type Values<'w> = std::sync::RwLockReadGuard<'w, Vec<f32>>;

/// The values of all layers' own weights.
pub(super) fn values(saved: &[Saved]) -> Vec<Vec<Values<'_>>> {
    saved.iter().map(|place| place.layer.own_weights().iter().map(Weight::values).collect()).collect()
}

/// Which layers' names must be those in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// All: file and model were saved together, and the order of layers must agree, too.
    Same,
    /// None: weights of another model of the same layers.
    Any,
}

/// Sets the weights of all layers, once every array was found to be there and of the right shape.
pub(super) fn read(saved: &[Saved], file: &H5File, names: Names) -> Result<()> {
    let check = Check { file, root: root(file)?, names };
    let groups: HashSet<String> = saved.iter().map(|place| check.path(&place.path)).collect();
    for place in saved {
        check.arrays(place)?;
        check.no_others(place, &groups)?;
    }
    for place in saved {
        for (index, weight) in place.layer.own_weights().iter().enumerate() {
            let (_, values) =
                file.read_f32(&check.path(&place.var(index))).map_err(|error| of_weight(weight, error))?;
            weight.set(values)?;
        }
    }
    Ok(())
}

/// What the groups of layers are called: Keras 2.13 had another word for them.
fn root(file: &H5File) -> Result<&'static str> {
    let words = ["layers", "_layer_checkpoint_dependencies"];
    for word in words {
        if file.contains(word).map_err(in_h5)? {
            return Ok(word);
        }
    }
    let none = Error::because("weights", "expected a group `layers`, found none").with_kind(ErrorKind::InvalidData);
    Err(none.hint(
        "files of Keras 2 (`layer_names`) are read by legacy::load_weights; these are weights as Keras 3 saves them",
    ))
}

/// A file compared with the model whose weights it should hold.
struct Check<'a> {
    file: &'a H5File,
    root: &'static str,
    names: Names,
}

impl Check<'_> {
    /// A path in this file's words.
    fn path(&self, path: &str) -> String {
        path.split('/').map(|part| if part == "layers" { self.root } else { part }).collect::<Vec<_>>().join("/")
    }

    /// The arrays of one layer are those of its weights.
    fn arrays(&self, place: &Saved) -> Result<()> {
        let vars = self.path(&place.vars());
        let found: HashSet<String> = children(self.file, &vars)?.into_iter().collect();
        let weights = place.layer.own_weights();
        for (index, weight) in weights.iter().enumerate() {
            let path = self.path(&place.var(index));
            if !found.contains(&index.to_string()) {
                return Err(Error::new(
                    name_of(weight),
                    format_args!("an array `{path}` of {:?}", weight.shape()),
                    "none",
                ));
            }
            let shape = self.file.dataset_shape(&path).map_err(|error| of_weight(weight, error))?;
            if shape != weight.shape() {
                let received = format!("{shape:?} in `{path}`");
                return Err(Error::new(name_of(weight), format_args!("{:?}", weight.shape()), received));
            }
        }
        if found.len() != weights.len() {
            return Err(Error::new(place.name(), format_args!("{} arrays in `{vars}`", weights.len()), found.len()));
        }
        self.name(place, &vars)
    }

    /// The layer's name is that in the file, where it is there and must be.
    fn name(&self, place: &Saved, vars: &str) -> Result<()> {
        if self.names == Names::Any || place.layer.own_weights().is_empty() {
            return Ok(());
        }
        match self.file.attr_string(vars, "name").map_err(in_h5)? {
            Some(name) if name != place.layer.name() => Err(Error::new(
                place.name(),
                format_args!("its weights in `{vars}`"),
                format_args!("those of `{name}`"),
            )),
            _ => Ok(()),
        }
    }

    /// No group beside those of the model's layers holds weights.
    fn no_others(&self, place: &Saved, groups: &HashSet<String>) -> Result<()> {
        let layers = self.path(&join(&place.path, "layers"));
        for name in children(self.file, &layers)? {
            let group = join(&layers, &name);
            let holds_weights = || {
                let inside = [join(&group, "vars"), join(&group, self.root)];
                Ok(!children(self.file, &inside[0])?.is_empty() || !children(self.file, &inside[1])?.is_empty())
            };
            if !groups.contains(&group) && holds_weights()? {
                return Err(Error::new(
                    place.name(),
                    "weights of its own layers alone",
                    format_args!("others in `{group}`"),
                )
                .hint("are these the weights of this model?"));
            }
        }
        Ok(())
    }
}

/// Names in a group; none if there is no such group.
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
    use engraft_nn::layers::Flip;
    use engraft_nn::prelude::*;

    use super::*;

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
        let groups: Vec<String> = saved(model.layer()).into_iter().map(|place| place.path).collect();
        // The operation has no group, and the shared layer one: where it is met first.
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
