//! The names of weights in a safetensors file: those of Keras or of torchvision.

use engraft_nn::{Error, Layer, Result, Weight};

use super::weight_layout::WeightLayout;
use crate::unique_names::unique_paths;

/// The names and layouts of weights in a file: those of Keras or those of torchvision.
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
    /// Paths of Keras (`block1_conv1/kernel`) with the layouts of Keras.
    #[default]
    Keras,
    /// Names of torchvision's VGG: `features.0.weight`, `classifier.3.bias`. Convolution kernels are
    /// (outputs, inputs, height, width). Dense kernels are (outputs, inputs). A dense layer after a Flatten has
    /// its inputs in the order of an image flattened channels first.
    ///
    /// This converts names and layouts, not preprocessing. torchvision's VGG16 expects RGB normalized by
    /// mean and standard deviation, Keras' VGG16 expects BGR minus the mean. So weights trained with one
    /// preprocessing give wrong predictions with the other.
    Torchvision,
}

/// A weight with the name and layout of its tensor in the file.
pub(super) struct NamedWeight {
    pub(super) name: String,
    pub(super) weight: Weight,
    pub(super) layout: WeightLayout,
}

impl Naming {
    /// The weights of these layers and of the layers nested in them. [`Naming::Keras`] lists a shared weight once.
    pub(super) fn of(self, layers: &[Layer]) -> Result<Vec<NamedWeight>> {
        match self {
            Self::Keras => Ok(keras(layers)),
            Self::Torchvision => {
                let mut names = TorchvisionNames::default();
                layers.iter().try_for_each(|layer| names.visit(layer))?;
                Ok(names.named)
            }
        }
    }
}

fn keras(layers: &[Layer]) -> Vec<NamedWeight> {
    let mut seen = std::collections::HashSet::new();
    let weights: Vec<Weight> =
        layers.iter().flat_map(Layer::weights).filter(|weight| seen.insert(weight.id())).collect();
    let named =
        |(name, weight): (String, Weight)| NamedWeight { name, layout: WeightLayout::same(weight.shape()), weight };
    unique_paths(&weights).into_iter().zip(weights).map(named).collect()
}

/// Numbers layers like torchvision's two `Sequential`s, `features` and `classifier`.
///
/// In `features`, a convolution and its activation take two numbers, a pooling layer one. In `classifier`, a dense layer,
/// its activation and its dropout take three.
#[derive(Default)]
struct TorchvisionNames {
    features: usize,
    classifier: usize,
    /// The input shape (height, width, channels) of the last Flatten. The next dense layer takes it.
    flattened: Option<[usize; 3]>,
    named: Vec<NamedWeight>,
}

impl TorchvisionNames {
    fn visit(&mut self, layer: &Layer) -> Result<()> {
        let within = |error: Error| error.within(format_args!("layer `{}`", layer.name()));
        match layer.class_name() {
            "Functional" | "Sequential" => return layer.layers().iter().try_for_each(|inner| self.visit(inner)),
            "Conv2D" => {
                self.push("features", self.features, layer, |shape| match *shape {
                    [height, width, inputs, outputs] => Some(WeightLayout::kernel([height, width, inputs, outputs])),
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
                    (&[_, units], Some(image)) => Some(WeightLayout::flattened(image, units)),
                    (&[inputs, units], None) => Some(WeightLayout::dense([inputs, units])),
                    _ => None,
                })
                .map_err(within)?;
                self.classifier += 3;
            }
            _ if layer.weights().is_empty() => {}
            class => {
                let error = Error::new("torchvision's names", "Conv2D and Dense layers", class);
                return Err(within(error.hint("they are those of torchvision's VGG; Keras' names suit every model")));
            }
        }
        Ok(())
    }

    /// Adds the kernel and bias of a layer, named `PART.NUMBER.weight` and `PART.NUMBER.bias`.
    fn push(
        &mut self,
        part: &str,
        number: usize,
        layer: &Layer,
        kernel: impl Fn(&[usize]) -> Option<WeightLayout>,
    ) -> Result<()> {
        for weight in layer.own_weights() {
            let (name, layout) = match weight.name() {
                "kernel" => ("weight", kernel(weight.shape())),
                "bias" => ("bias", Some(WeightLayout::same(weight.shape()))),
                _ => ("", None),
            };
            let Some(layout) = layout else {
                let received = format!("`{}` of {:?}", weight.name(), weight.shape());
                return Err(Error::new("torchvision's names", "a kernel and a bias", received));
            };
            self.named.push(NamedWeight { name: format!("{part}.{number}.{name}"), weight: weight.clone(), layout });
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
        named.into_iter().map(|named| (named.name, named.layout.file_shape().to_vec())).collect()
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
