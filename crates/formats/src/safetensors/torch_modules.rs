//! [`load_torch_weights`]: weights of networks that PyTorch has too, by the names of its modules.

use std::io::BufReader;
use std::path::Path;

use engraft_nn::{Error, Layer, Result, Weight};

use super::naming::NamedWeight;
use super::weight_layout::WeightLayout;
use super::{SafetensorsFile, read_named};

/// Loads the weights of `layers` from the tensors of a PyTorch state dict; returns the names of tensors that weren't used.
///
/// `module` gives the module that a layer of this name has there, such as `layer1.0.conv1`; `None` leaves the layer as it is. Its
/// tensors are `weight` and `bias` and, of a batch normalization, `running_mean` and `running_var`. Kernels are transposed to the
/// layout of Keras.
///
/// ```
/// use engraft_formats::safetensors::{self, Naming, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("torch.safetensors");
/// let model = |name: &str| Sequential::new().add(Input::new([4])).add(Dense::new(2).named(name)).build();
/// let (torch, read) = (model("fc")?, model("predictions")?);
/// let options = SaveOptions { naming: Naming::Torchvision, ..SaveOptions::default() };
/// safetensors::save_weights(&path, &torch.layers(), &options)?;
/// let module = |_layer: &str| Some("classifier.0".to_owned());
/// assert!(safetensors::load_torch_weights(&path, &read.layers(), &module)?.is_empty());
/// assert_eq!(*read.weights()[0].values(), *torch.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or isn't a safetensors file; a weight has no tensor, or one of another shape; a layer has weights that
/// PyTorch's modules don't have. Nothing is changed then.
pub fn load_torch_weights(
    path: &Path,
    layers: &[Layer],
    module: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>> {
    let read = || {
        let file = std::fs::File::open(path).map_err(|error| Error::from_io("file", error))?;
        let named = named_weights(layers, module)?;
        let hint = "does the file have the weights of this network, with the names of PyTorch?";
        let mut unused = read_named(SafetensorsFile::new(BufReader::new(file))?, &named, hint)?;
        // The number of training steps that a batch normalization has seen.
        unused.retain(|name| !name.ends_with(".num_batches_tracked"));
        Ok(unused)
    };
    read().map_err(|error: Error| error.within(path.display()))
}

fn named_weights(layers: &[Layer], module: &dyn Fn(&str) -> Option<String>) -> Result<Vec<NamedWeight>> {
    let mut named = Vec::new();
    for layer in layers.iter().flat_map(Layer::leaves) {
        let Some(module) = module(layer.name()) else { continue };
        for weight in layer.own_weights() {
            let Some((name, layout)) = tensor(layer.class_name(), weight) else {
                let received = format!("`{}` of {:?}", weight.name(), weight.shape());
                let place = format!("layer `{}`", layer.name());
                return Err(Error::new(place, "weights that a module of PyTorch has", received));
            };
            named.push(NamedWeight { name: format!("{module}.{name}"), weight: weight.clone(), layout });
        }
    }
    Ok(named)
}

/// The name of a weight in its module, and its layout; `None` if a module of PyTorch has no such weight.
fn tensor(class: &str, weight: &Weight) -> Option<(&'static str, WeightLayout)> {
    let same = || WeightLayout::same(weight.shape());
    Some(match (class, weight.name(), weight.shape()) {
        ("DepthwiseConv2D", "kernel", &[height, width, channels, multiplier]) => {
            ("weight", WeightLayout::depthwise([height, width, channels, multiplier]))
        }
        ("Conv2D", "kernel", &[height, width, inputs, outputs]) => {
            ("weight", WeightLayout::kernel([height, width, inputs, outputs]))
        }
        ("Dense", "kernel", &[inputs, outputs]) => ("weight", WeightLayout::dense([inputs, outputs])),
        // Keras gives its weight no name.
        ("LayerScale", _, _) => ("gamma", same()),
        (_, "gamma", _) => ("weight", same()),
        (_, "bias" | "beta", _) => ("bias", same()),
        (_, "moving_mean", _) => ("running_mean", same()),
        (_, "moving_variance", _) => ("running_var", same()),
        _ => return None,
    })
}
