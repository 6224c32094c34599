//! Loads a network's weights from a file of the user's, which may have further layers, such as a top.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::preprocessing::{TORCH_DEVIATION, TORCH_MEAN};
use super::weights_format::WeightsFormat;
use super::{Network, torch_names};
use crate::formats::keras::{self, legacy};
use crate::formats::onnx;
use crate::formats::safetensors::{self, Naming, SafetensorsFile};
use crate::{Error, ErrorKind, Layer, Model, Result};

/// Sets the weights of `layers`, which are those of `network` in `model`, from a file.
///
/// # Errors
/// The file can't be read; a weight is missing or has another shape; the file is of a network with further layers in its base.
pub(super) fn load(path: &Path, network: &Network, layers: &[Layer], model: &Model) -> Result<()> {
    let file = WeightsFile { path, network, layers };
    match WeightsFormat::of(path)? {
        WeightsFormat::Keras => file.load_fitting(
            || keras::load_weights(path, model),
            || Ok((keras::load_weights_by_name(path, layers)?, keras::layer_names(path)?)),
            || keras::load_base_weights(path, layers),
        )?,
        WeightsFormat::Legacy => file.load_fitting(
            || legacy::load_weights(path, layers),
            || Ok((legacy::load_weights_by_name(path, layers)?, vec![legacy_layer_names(path)?])),
            || legacy::load_base_weights(path, layers),
        )?,
        WeightsFormat::Safetensors => match network.architecture.torch_module.filter(|_| !has_paths_of_keras(path)) {
            Some(module) => file.load_torch(module)?,
            None => file.load_safetensors()?,
        },
        WeightsFormat::Onnx => onnx::load_weights(path, model)?,
    }
    file.square_published_deviation()
}

/// What the weights of a file are taken for, where another network has the same names and shapes.
pub(super) fn assumption(path: &Path, network: &Network) -> Option<String> {
    let is_of_torch = network.architecture.torch_module.is_some()
        && matches!(WeightsFormat::of(path), Ok(WeightsFormat::Safetensors))
        && !has_paths_of_keras(path);
    let taken_for = is_of_torch.then(|| torch_names::taken_for(network.architecture.name)).flatten()?;
    Some(format!("{} is taken for {taken_for}", path.display()))
}

/// Names of the layers with weights in an `.h5`, in order.
fn legacy_layer_names(path: &Path) -> Result<Vec<String>> {
    let saved = legacy::layers(path)?.into_iter().filter(|layer| !layer.weights.is_empty());
    Ok(saved.map(|layer| layer.name).collect())
}

/// Whether a safetensors file has names such as `block1_conv1/kernel`. Those of PyTorch have no slashes.
fn has_paths_of_keras(path: &Path) -> bool {
    tensor_names(path).iter().any(|name| name.contains('/'))
}

/// Names of the tensors in a safetensors file; empty if it can't be read.
fn tensor_names(path: &Path) -> Vec<String> {
    let file = File::open(path).ok().and_then(|file| SafetensorsFile::new(BufReader::new(file)).ok());
    file.map(|file| file.tensors().into_iter().map(|tensor| tensor.name).collect()).unwrap_or_default()
}

/// A file and the network whose weights it should have.
struct WeightsFile<'a> {
    path: &'a Path,
    network: &'a Network,
    layers: &'a [Layer],
}

/// Names of layers: those that were set, and those in the file in lists of known order.
type NamedLayers = (Vec<String>, Vec<Vec<String>>);

impl WeightsFile<'_> {
    /// Sets the weights of all layers in the first way that fits: `whole`, from a file of the same layers in order; `named`, from
    /// a model that contains layers of these names; `base`, from a network whose first layers are these, as with a top; from a
    /// model in the file that holds the network as a layer.
    fn load_fitting(
        &self,
        whole: impl FnOnce() -> Result<()>,
        named: impl FnOnce() -> Result<NamedLayers>,
        base: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let error = match whole() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // A damaged file says so; what follows is about the layers.
        if keras::layer_names(self.path).is_err() && legacy::layers(self.path).is_err() {
            return Err(error);
        }
        if let Some((_, saved)) = named().ok().filter(|(found, _)| self.are_all(found)) {
            return saved.iter().try_for_each(|names| self.check_none_between(names));
        }
        // The error of `base` names the first layer that differs, while the others' may be about the top.
        base().or_else(|error| self.load_nested(error))
    }

    /// Whether these are the names of all layers with weights. Files name a nested model (`.h5`) or the layers in it (`.weights.h5`).
    fn are_all(&self, found: &[String]) -> bool {
        let is_found = |layer: &Layer| found.iter().any(|name| name == layer.name());
        let mut wanted = self.layers.iter().filter(|layer| !layer.weights().is_empty());
        wanted.all(|layer| {
            let inside = layer.leaves();
            is_found(layer) || inside.iter().filter(|inner| !inner.own_weights().is_empty()).all(is_found)
        })
    }

    /// Refuses a file with further layers among those of the network: it is of a deeper one. Layers before and after them are the
    /// user's own, such as a head.
    fn check_none_between(&self, saved: &[String]) -> Result<()> {
        let inside: Vec<Layer> = self.layers.iter().flat_map(Layer::leaves).collect();
        let own: HashSet<&str> = self.layers.iter().chain(&inside).map(Layer::name).collect();
        let is_own = |name: &String| own.contains(name.as_str());
        let inside = saved.iter().position(is_own).zip(saved.iter().rposition(is_own));
        let between = inside.and_then(|(first, last)| saved[first..last].iter().find(|name| !is_own(name)));
        between.map_or(Ok(()), |name| Err(self.has_another(name)))
    }

    /// Sets the weights from a model inside the model of the file. `error` is why the file has them in no other place.
    fn load_nested(&self, error: Error) -> Result<()> {
        let mut nested = keras::load_model(self.path).map(|whole| nested_models(&whole.layers())).unwrap_or_default();
        // A block of another network is a model of few layers.
        nested.retain(|model| 2 * count_with_weights(&model.layers()) > count_with_weights(self.layers));
        for model in &nested {
            if copy_weights(&model.layers(), self.layers)? {
                return Ok(());
            }
        }
        let arguments = self.network.architecture.arguments;
        let width = match (arguments.contains(&"alpha"), arguments.contains(&"minimalistic")) {
            (true, true) => "; its width (alpha) may be another, or it may be minimalistic",
            (true, false) => "; its width (alpha) may be another",
            _ => "",
        };
        let holds = match nested.first() {
            Some(model) => format!("the file holds `{}` inside another model, with other layers", model.name()),
            None => "the file may not be of this network, with or without its top".to_owned(),
        };
        Err(error.hint(format_args!(
            "{holds}{width}; `engraft train PHOTOS --model FILE` opens a whole model of any layers"
        )))
    }

    /// Squares the variance of a `Normalization` that holds the deviation of the ImageNet photos, as in the published EfficientNets.
    /// They divide by the root once more in a second `Rescaling` (`Weights::Imagenet`), which a network with weights of a file
    /// doesn't have. Keras leaves the photos of such a network with half of their contrast.
    fn square_published_deviation(&self) -> Result<()> {
        for layer in self.layers.iter().filter(|layer| layer.class_name() == "Normalization") {
            let Some(variance) = layer.own_weights().iter().find(|weight| weight.name() == "variance") else {
                continue;
            };
            let values = variance.values().clone();
            let is_deviation = |(value, deviation): (&f32, f32)| (value - deviation).abs() < 1e-3;
            if values.len() == TORCH_DEVIATION.len() && values.iter().zip(TORCH_DEVIATION).all(is_deviation) {
                variance.set(values.iter().map(|deviation| deviation * deviation).collect())?;
            }
        }
        Ok(())
    }

    /// Sets the weights from a safetensors file with Keras' names.
    fn load_safetensors(&self) -> Result<()> {
        let unused = safetensors::load_weights(self.path, self.layers, Naming::Keras)
            .map_err(|error| self.with_torch_hint(error))?;
        // The file has no order of layers, so that only names show a deeper network.
        let top = self.network.top_layers();
        let stems: HashSet<&str> = self.layers.iter().filter_map(family_stem).collect();
        let layers = unused.iter().map(|name| name.split('/').next().unwrap_or(name));
        let is_of_family = |name: &str| stem(name).is_some_and(|stem| stems.contains(stem));
        let other = layers.into_iter().find(|name| is_of_family(name) && !top.iter().any(|layer| layer == name));
        other.map_or(Ok(()), |name| Err(self.has_another(name)))
    }

    /// The error of reading Keras' names, with a hint if the file has those of PyTorch.
    fn with_torch_hint(&self, error: Error) -> Error {
        let names = tensor_names(self.path);
        if names.is_empty() || has_paths_of_keras(self.path) {
            return error;
        }
        let name = self.network.architecture.name;
        match torch_names::torchvision_resnet(&names) {
            Some(resnet) => error.hint(format_args!(
                "the file has torchvision's names of a ResNet, whose layers differ from Keras': use `--backbone {resnet}`"
            )),
            None => error.hint(format_args!("{name} takes Keras' names; the file has others: {}", first_names(&names))),
        }
    }

    /// Sets the weights from a state dict of PyTorch. A network that normalizes its input itself does so by the ImageNet
    /// statistics, as the program that trained the weights did.
    fn load_torch(&self, module: fn(&str) -> Option<String>) -> Result<()> {
        let module = |layer: &str| module(&self.network.published_name(layer));
        let unused = safetensors::load_torch_weights(self.path, self.layers, &module)
            .map_err(|error| self.with_library_hint(error, &module))?;
        let top: Vec<String> = self.network.top_layers().iter().filter_map(|layer| module(layer)).collect();
        let is_of_top = |name: &str| {
            top.iter().any(|module| name.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        if let Some(other) = unused.iter().find(|name| !is_of_top(name)) {
            return Err(self.has_another(other));
        }
        let inside = self.layers.iter().filter(|layer| layer.class_name() == "Normalization");
        for (weight, values) in inside.flat_map(Layer::own_weights).zip([TORCH_MEAN, TORCH_DEVIATION.map(|d| d * d)]) {
            weight.set(values.to_vec())?;
        }
        Ok(())
    }

    /// The error of reading PyTorch's names, with a hint if the file has those of another library.
    fn with_library_hint(&self, error: Error, module: &dyn Fn(&str) -> Option<String>) -> Error {
        let names = tensor_names(self.path);
        let modules = self.layers.iter().filter(|layer| !layer.weights().is_empty());
        let Some(first) = modules.filter_map(|layer| module(layer.name())).next() else { return error };
        let has_first = names.iter().any(|name| name.starts_with(&format!("{first}.")));
        if names.is_empty() || has_first {
            return error;
        }
        let of = |name: &str| torch_names::library(name).map_or(String::new(), |library| format!(" of {library}"));
        let received =
            names.iter().find(|name| torch_names::library(name).is_some()).map_or(String::new(), |name| of(name));
        error.hint(format_args!(
            "{} takes the names{}, such as {first}.weight; the file has names{received}: {}",
            self.network.architecture.name,
            of(&format!("{first}.weight")),
            first_names(&names),
        ))
    }

    /// The error for a file of a network with a layer that this one lacks.
    fn has_another(&self, layer: &str) -> Error {
        let name = self.network.architecture.name;
        Error::new(
            self.path.display(),
            format_args!("weights of {name}, with or without its top"),
            format_args!("also those of `{layer}`, which {name} doesn't have"),
        )
        .with_kind(ErrorKind::InvalidData)
        .hint("are these the weights of a larger network of its family? `engraft backbones` lists the networks")
    }
}

/// The first names of tensors, for a hint.
fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

/// What the names of a network's layers begin with: `block` of `block2a_dwconv`; `None` for a name that Keras gives automatically,
/// such as `dense_1`.
fn family_stem(layer: &Layer) -> Option<&str> {
    let automatic = crate::snake_case(layer.class_name());
    let is_automatic =
        layer.name().strip_prefix(&automatic).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    if is_automatic { None } else { stem(layer.name()) }
}

/// The part of a name before its number; `None` if it has no number. That of `conv2d` is of the class.
fn stem(name: &str) -> Option<&str> {
    let number = name.find(|c: char| c.is_ascii_digit()).filter(|_| !name.contains("2d"))?;
    Some(&name[..number])
}

fn count_with_weights(layers: &[Layer]) -> usize {
    layers.iter().flat_map(Layer::leaves).filter(|layer| !layer.own_weights().is_empty()).count()
}

/// The models among `layers`, and those inside them.
fn nested_models(layers: &[Layer]) -> Vec<Model> {
    let models = layers.iter().filter_map(|layer| Model::from_layer(layer.clone()).ok());
    models
        .flat_map(|model| {
            let inside = nested_models(&model.layers());
            std::iter::once(model).chain(inside)
        })
        .collect()
}

/// Copies weights by order, if `from` begins with layers of the same classes and shapes as `to`. Whether it does.
fn copy_weights(from: &[Layer], to: &[Layer]) -> Result<bool> {
    let with_weights = |layers: &[Layer]| -> Vec<Layer> {
        layers.iter().filter(|layer| !layer.weights().is_empty()).cloned().collect()
    };
    let (from, to) = (with_weights(from), with_weights(to));
    let fits = |from: &Layer, to: &Layer| {
        let (saved, own) = (from.weights(), to.weights());
        from.class_name() == to.class_name() && saved.iter().map(|w| w.shape()).eq(own.iter().map(|w| w.shape()))
    };
    if from.len() < to.len() || !from.iter().zip(&to).all(|(from, to)| fits(from, to)) {
        return Ok(false);
    }
    for (saved, own) in from.iter().zip(&to) {
        for (saved, own) in saved.weights().iter().zip(own.weights()) {
            own.set(saved.values().clone())?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::applications::{convnext_tiny, efficientnet_b0, resnet18};
    use crate::formats::FloatType;
    use crate::prelude::*;

    #[test]
    fn a_base_is_read_from_a_file_with_another_top_whatever_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let model = |names: &[&'static str]| {
            let x = Input::new([2]);
            let layers: Vec<Layer> =
                names.iter().zip([2, 3, 4]).map(|(name, units)| Dense::new(units).named(*name)).collect();
            let y = layers.iter().try_fold(x.clone(), |x, layer| layer.call(&x)).unwrap();
            (Model::new(&x, &y).unwrap(), layers)
        };
        for names in [["a", "b"], ["dense_7", "dense_8"]] {
            let (written, layers) = model(&["a", "b", "top"]);
            let path = |name| folder.path().join(name);
            legacy::save_weights(&path("old.h5"), &layers).unwrap();
            keras::save_weights(&written, &path("new.weights.h5"), FloatType::F32).unwrap();
            keras::save(&written, &path("model.keras"), &keras::SaveOptions::default()).unwrap();
            for name in ["old.h5", "new.weights.h5", "model.keras"] {
                let (base, layers) = model(&names);
                load(&path(name), &vgg16(), &layers, &base).unwrap();
                for (written, read) in written.weights().iter().zip(base.weights()) {
                    assert_eq!(*written.values(), *read.values(), "{name}");
                }
            }
            let larger = Dense::new(5).named("a");
            larger.call(&Input::new([2])).unwrap();
            let error = load(&path("old.h5"), &vgg16(), &[larger], &written).unwrap_err().to_string();
            assert!(error.contains("layer `a`: expected weights of shapes [[2, 5], [5]], received"), "{error}");
        }
    }

    #[test]
    fn layers_in_front_do_not_shift_the_numbers_of_the_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.weights.h5");
        // Groups are numbered by class: with another Sequential in front, the block's group would be `sequential_1`.
        let block = |name: &'static str| Sequential::new().add(Dense::new(2).named(name));
        let (x, photo) = (Input::new([2]), Input::new([2]));
        let layers = |last: &'static str| [block("a").into_layer(), Dense::new(2).named(last).into_layer()];
        let call = |x: &SymbolicTensor, layers: &[Layer]| layers.iter().try_fold(x.clone(), |x, layer| layer.call(&x));
        let written = layers("head_of_another_name");
        let y = call(&x, &written).unwrap();
        let whole = Model::new(&x, &Dense::new(3).call(&y).unwrap()).unwrap();
        keras::save_weights(&whole, &path, FloatType::F32).unwrap();

        let read = layers("b");
        let augmented = block("augmentation").call(&photo).unwrap();
        let model = Model::new(&photo, &call(&augmented, &read).unwrap()).unwrap();
        load(&path, &vgg16(), &read, &model).unwrap();
        for (written, read) in written.iter().zip(&read) {
            assert_eq!(*written.weights()[0].values(), *read.weights()[0].values());
        }
    }

    /// A chain of Dense layers of these names, with 2 to 4 units in turn.
    fn chain(names: &[&'static str]) -> (Model, Vec<Layer>) {
        let x = Input::new([2]);
        let units = names.iter().map(|name| 2 + name.len() % 3);
        let layers: Vec<Layer> =
            names.iter().zip(units).map(|(name, units)| Dense::new(units).named(*name).into_layer()).collect();
        let y = layers.iter().try_fold(x.clone(), |x, layer| layer.call(&x)).unwrap();
        (Model::new(&x, &y).unwrap(), layers)
    }

    #[test]
    fn a_head_after_the_network_is_ignored_and_a_layer_inside_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let files = ["old.h5", "new.weights.h5", "model.keras", "some.safetensors"];
        let write = |names: &[&'static str]| {
            let (model, layers) = chain(names);
            legacy::save_weights(&path(files[0]), &layers).unwrap();
            keras::save_weights(&model, &path(files[1]), FloatType::F32).unwrap();
            keras::save(&model, &path(files[2]), &keras::SaveOptions::default()).unwrap();
            safetensors::save_weights(&path(files[3]), &layers, &safetensors::SaveOptions::default()).unwrap();
        };
        let read = |file| {
            let (model, layers) = chain(&["block1", "block2_sum"]);
            load(&path(file), &vgg16(), &layers, &model)
        };
        write(&["block1", "block2_sum", "head"]);
        files.iter().for_each(|file| read(file).unwrap());
        // As many inputs as outputs, so that the shapes around it stay.
        write(&["block1", "block1_10", "block2_sum", "head"]);
        for file in files {
            let error = read(file).unwrap_err().to_string();
            assert!(error.contains("received also those of `block1_10`, which vgg16 doesn't have"), "{file}: {error}");
        }
    }

    #[test]
    fn a_network_inside_another_model_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (base, _) = chain(&["a", "b"]);
        let x = Input::new([2]);
        let y = Dense::new(5).named("head").call(&base.call(&x).unwrap()).unwrap();
        let whole = Model::new(&x, &y).unwrap();
        let files = ["model.h5", "model.keras"].map(|name| folder.path().join(name));
        legacy::save(&whole, &files[0], &keras::SaveOptions::default()).unwrap();
        keras::save(&whole, &files[1], &keras::SaveOptions::default()).unwrap();
        for file in &files {
            let (model, layers) = chain(&["c", "d"]);
            load(file, &vgg16(), &layers, &model).unwrap();
            for (written, read) in base.weights().iter().zip(model.weights()) {
                assert_eq!(*written.values(), *read.values());
            }
            let (model, layers) = chain(&["c", "dd"]);
            let error = load(file, &vgg16(), &layers, &model).unwrap_err().to_string();
            assert!(error.contains("inside another model, with other layers"), "{error}");
        }
    }

    #[test]
    fn a_published_deviation_in_place_of_a_variance_is_squared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("published.h5");
        for (saved, expected) in [(TORCH_DEVIATION, TORCH_DEVIATION.map(|d| d * d)), ([0.5; 3], [0.5; 3])] {
            let network = || efficientnet_b0().include_top(false).input_shape([32, 32, 3]);
            let model = network().weights("none").build().unwrap();
            let variance = |model: &Model| {
                let layers = model.layers();
                let layer = layers.iter().find(|layer| layer.class_name() == "Normalization").unwrap();
                layer.own_weights()[1].clone()
            };
            variance(&model).set(saved.to_vec()).unwrap();
            legacy::save_weights(&path, &model.layers()).unwrap();
            let read = network().weights(&*path).build().unwrap();
            assert_eq!(*variance(&read).values(), expected);
        }
    }

    #[test]
    fn what_weights_of_timm_are_taken_for_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b0.safetensors");
        let save = |name: &'static str| {
            let layer = Dense::new(2).named(name);
            layer.call(&Input::new([2])).unwrap();
            safetensors::save_weights(&path, &[layer], &safetensors::SaveOptions::default()).unwrap();
        };
        save("stem_conv");
        assert_eq!(efficientnet_b0().weights(&*path).assumption(), None, "Keras' names");
        let header = br#"{"conv_stem.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
        std::fs::write(&path, bytes).unwrap();
        let assumption = efficientnet_b0().weights(&*path).assumption().unwrap();
        assert!(
            assumption.contains("b0.safetensors is taken for weights of timm's tf_efficientnet_b0;"),
            "{assumption}"
        );
        assert_eq!(resnet18().weights(&*path).assumption(), None);
    }

    #[test]
    fn modules_of_pytorch_do_not_depend_on_the_name_of_the_model() {
        let names = |network: Network| [network.published_name("flowers_stem"), network.published_name("stem_conv")];
        assert_eq!(names(convnext_tiny().name("flowers")), ["convnext_tiny_stem", "stem_conv"]);
        assert_eq!(names(efficientnet_b0().name("stem")), ["flowers_stem", "stem_conv"]);
    }

    #[test]
    fn every_format_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let model = || {
            let x = Input::new([2]);
            let layers = [Dense::new(2).named("a"), Dense::new(3).named("b")];
            let y = layers.iter().try_fold(x.clone(), |x, layer| layer.call(&x)).unwrap();
            (Model::new(&x, &y).unwrap(), layers)
        };
        let (written, layers) = model();
        let path = |name| folder.path().join(name);
        legacy::save_weights(&path("old.h5"), &layers).unwrap();
        keras::save_weights(&written, &path("new.weights.h5"), FloatType::F32).unwrap();
        keras::save(&written, &path("model.keras"), &keras::SaveOptions::default()).unwrap();
        safetensors::save_weights(&path("some.safetensors"), &layers, &safetensors::SaveOptions::default()).unwrap();
        onnx::save(&written, &path("graph.onnx"), &onnx::OnnxOptions::default()).unwrap();
        for name in ["old.h5", "new.weights.h5", "model.keras", "some.safetensors", "graph.onnx"] {
            let (read, layers) = model();
            load(&path(name), &vgg16(), &layers, &read).unwrap();
            for (written, read) in written.weights().iter().zip(read.weights()) {
                assert_eq!(*written.values(), *read.values(), "{name}");
            }
        }
    }
}
