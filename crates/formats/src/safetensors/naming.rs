//! What weights are called in a file, and how they are laid out there.

use engraft_nn::{Error, Layer, Result, Weight};

use super::layout::Layout;
use crate::paths::unique_paths;

/// Names and layouts of weights.
///
/// ```
/// use engraft_formats::safetensors::{self, Naming, SafetensorsFile, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.safetensors");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let options = SaveOptions { naming: Naming::Torchvision, ..SaveOptions::default() };
/// safetensors::save_weights(&path, &model.layers(), &options)?;
/// let kernel = &SafetensorsFile::new(std::fs::File::open(&path)?)?.tensors()[0];
/// assert_eq!((kernel.name.as_str(), &kernel.shape[..]), ("classifier.0.weight", &[2, 4][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Naming {
    /// Keras' paths, `block1_conv1/kernel`, and Keras' layouts.
    #[default]
    Keras,
    /// torchvision's for VGG: `features.0.weight`, `classifier.3.bias`; convolutions as outputs, inputs,
    /// height, width; dense layers as outputs, inputs, the first of them on channels flattened first.
    ///
    /// Only names and layouts: torchvision's own VGG16 takes RGB normalised by mean and deviation, Keras'
    /// takes BGR less a mean, and weights trained for one give other numbers on the other's input.
    Torchvision,
}

/// A weight with its tensor's name and layout.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) weight: Weight,
    pub(super) layout: Layout,
}

impl Naming {
    /// The weights of these layers, nested ones included, each once.
    pub(super) fn of(self, layers: &[Layer]) -> Result<Vec<Named>> {
        match self {
            Self::Keras => Ok(keras(layers)),
            Self::Torchvision => {
                let mut walk = Torchvision::default();
                layers.iter().try_for_each(|layer| walk.visit(layer))?;
                Ok(walk.named)
            }
        }
    }
}

fn keras(layers: &[Layer]) -> Vec<Named> {
    let mut seen = std::collections::HashSet::new();
    let weights: Vec<Weight> =
        layers.iter().flat_map(Layer::weights).filter(|weight| seen.insert(weight.id())).collect();
    let named = |(name, weight): (String, Weight)| Named { name, layout: Layout::same(weight.shape()), weight };
    unique_paths(&weights).into_iter().zip(weights).map(named).collect()
}

/// A walk along the layers, counting as torchvision's `Sequential`s do: a convolution and its activation
/// take two numbers of `features`, a pooling one; a dense layer, its activation and its dropout take three
/// of `classifier`.
#[derive(Default)]
struct Torchvision {
    features: usize,
    classifier: usize,
    /// The shape of what was flattened, until a dense layer has read it.
    flattened: Option<[usize; 3]>,
    named: Vec<Named>,
}

impl Torchvision {
    fn visit(&mut self, layer: &Layer) -> Result<()> {
        let within = |error: Error| error.within(format_args!("layer `{}`", layer.name()));
        match layer.class_name() {
            "Functional" | "Sequential" => return layer.layers().iter().try_for_each(|inner| self.visit(inner)),
            "Conv2D" => {
                self.push("features", self.features, layer, |shape| match *shape {
                    [height, width, inputs, outputs] => Some(Layout::kernel([height, width, inputs, outputs])),
                    _ => None,
                })
                .map_err(within)?;
                self.features += 2;
            }
            "MaxPooling2D" | "AveragePooling2D" => self.features += 1,
            "Flatten" => {
                let shape = layer.input_shapes().and_then(|shapes| shapes.first());
                self.flattened = shape.and_then(|shape| <[usize; 3]>::try_from(shape.as_slice()).ok());
            }
            "Dense" => {
                let flattened = self.flattened.take();
                self.push("classifier", self.classifier, layer, |shape| match (shape, flattened) {
                    (&[_, units], Some(image)) => Some(Layout::flattened(image, units)),
                    (&[inputs, units], None) => Some(Layout::dense([inputs, units])),
                    _ => None,
                })
                .map_err(within)?;
                self.classifier += 3;
            }
            _ if layer.weights().is_empty() => {}
            class => return Err(within(Error::new("torchvision's names", "Conv2D and Dense layers", class))),
        }
        Ok(())
    }

    /// Adds a layer's kernel and bias.
    fn push(
        &mut self,
        part: &str,
        number: usize,
        layer: &Layer,
        kernel: impl Fn(&[usize]) -> Option<Layout>,
    ) -> Result<()> {
        for weight in layer.own_weights() {
            let (name, layout) = match weight.name() {
                "kernel" => ("weight", kernel(weight.shape())),
                "bias" => ("bias", Some(Layout::same(weight.shape()))),
                _ => ("", None),
            };
            let Some(layout) = layout else {
                let received = format!("`{}` of {:?}", weight.name(), weight.shape());
                return Err(Error::new("torchvision's names", "a kernel and a bias", received));
            };
            self.named.push(Named { name: format!("{part}.{number}.{name}"), weight: weight.clone(), layout });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    fn names(layers: &[Layer], naming: Naming) -> Vec<(String, Vec<usize>)> {
        let named = naming.of(layers).unwrap();
        named.into_iter().map(|named| (named.name, named.layout.stored_shape().to_vec())).collect()
    }

    #[test]
    fn torchvision_counts_activations_poolings_and_dropouts() {
        let base = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).add(MaxPooling2D::new(2));
        let base = base.add(Conv2D::new(5, [2, 1])).build().unwrap();
        let model = Sequential::new().add(&base).add(Flatten::new()).add(Dense::new(6)).add(Dropout::new(0.5));
        let model = model.add(Dense::new(2)).build().unwrap();
        let expected = [
            ("features.0.weight", vec![4, 3, 3, 3]),
            ("features.0.bias", vec![4]),
            ("features.3.weight", vec![5, 4, 2, 1]),
            ("features.3.bias", vec![5]),
            ("classifier.0.weight", vec![6, 5 * 2 * 3]),
            ("classifier.0.bias", vec![6]),
            ("classifier.3.weight", vec![2, 6]),
            ("classifier.3.bias", vec![2]),
        ];
        let found = names(&model.layers(), Naming::Torchvision);
        assert_eq!(found, expected.map(|(name, shape)| (name.to_owned(), shape)));
    }

    #[test]
    fn a_layer_without_a_name_there_is_named() {
        let model = Sequential::new().add(Input::new([4, 4, 3])).add(BatchNormalization::new().named("bn"));
        let Err(error) = Naming::Torchvision.of(&model.build().unwrap().layers()) else { panic!() };
        assert!(error.to_string().contains("layer `bn`, torchvision's names: expected Conv2D"), "{error}");
    }

    #[test]
    fn keras_names_are_paths() {
        let dense = Dense::new(2).named("top").into_layer();
        dense.call(&Input::new([3])).unwrap();
        let twice = [dense.clone(), dense];
        assert_eq!(names(&twice, Naming::Keras), [("top/kernel".into(), vec![3, 2]), ("top/bias".into(), vec![2])]);
    }
}
