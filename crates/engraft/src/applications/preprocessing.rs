//! [`Preprocessing`]: what the networks of `keras.applications`, and other models, expect of the pixels of a photo.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::layers::Flip;
use crate::prelude::*;
use crate::{Error, Result};

/// What happens to the pixels of a photo, 0 to 255, before the first layer of a model.
///
/// Models are often trained on pixels that were scaled outside the model: by `ImageDataGenerator(rescale=1/255)` or by the
/// `preprocess_input` of a network. Their files don't say so. [`preprocessed`](crate::recipe::preprocessed) adds it as layers.
///
/// ```
/// use engraft::applications::Preprocessing;
/// // By the name of a network, as its `preprocess_input` does.
/// assert_eq!("mobilenet_v2".parse::<Preprocessing>()?, Preprocessing::Tf);
/// assert_eq!("resnet50".parse::<Preprocessing>()?.to_string(), "caffe");
/// assert!("resnet51".parse::<Preprocessing>().is_err());
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preprocessing {
    /// Nothing: the model takes pixels from 0 to 255.
    None,
    /// `x / 255`: from 0 to 1.
    Scale,
    /// `x / 127.5 - 1`: from -1 to 1 (mode `tf` of Keras' `preprocess_input`).
    Tf,
    /// RGB to BGR, minus the ImageNet mean of each channel, not scaled (mode `caffe`).
    Caffe,
    /// `x / 255`, minus the ImageNet mean of each channel, divided by its standard deviation (mode `torch`).
    Torch,
    /// `(x - 127) / 128`: from -127/128 to 1, as the EfficientNet-Lite networks expect.
    #[serde(rename = "efficientnet-lite")]
    EfficientNetLite,
}

/// Mean of the ImageNet photos, in the order blue, green, red (Keras' `imagenet_utils`).
pub(super) const MEAN_BGR: [f32; 3] = [103.939, 116.779, 123.68];

/// Mean and standard deviation of the ImageNet photos scaled to 0 to 1, in the order red, green, blue.
pub(super) const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
pub(super) const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// The same as f32, for computations that round as PyTorch and Keras' `preprocess_input` do.
pub(super) const TORCH_MEAN: [f32; 3] = [MEAN[0] as f32, MEAN[1] as f32, MEAN[2] as f32];
pub(super) const TORCH_DEVIATION: [f32; 3] = [DEVIATION[0] as f32, DEVIATION[1] as f32, DEVIATION[2] as f32];

/// The modules of `keras.applications` that aren't the name of a network, and the preprocessing of their `preprocess_input`.
const MODULES: &[(&str, Preprocessing)] = &[
    ("resnet", Preprocessing::Caffe),
    ("resnet_v2", Preprocessing::Tf),
    ("nasnet", Preprocessing::Tf),
    ("densenet", Preprocessing::Torch),
    // These networks scale their input themselves.
    ("mobilenet_v3", Preprocessing::None),
    ("efficientnet", Preprocessing::None),
    ("efficientnet_v2", Preprocessing::None),
    ("convnext", Preprocessing::None),
];

impl Preprocessing {
    /// Every value.
    pub const ALL: [Self; 6] = [Self::None, Self::Scale, Self::Caffe, Self::Tf, Self::Torch, Self::EfficientNetLite];

    /// Adds the preprocessing to a model that is being built. Shapes: `[height, width, 3]` to `[height, width, 3]`; any number of
    /// channels with [`Scale`](Self::Scale) and [`Tf`](Self::Tf).
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::applications::Preprocessing;
    /// let photo = Input::new([1, 1, 3]);
    /// let model = Model::new(&photo, &Preprocessing::Tf.call(&photo)?)?;
    /// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
    /// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// The last axis has another number of channels.
    pub fn call(self, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        match self {
            Self::None => Ok(x.clone()),
            Self::Scale => Rescaling::new(1.0 / 255.0).call(x),
            Self::Tf => Rescaling::new(1.0 / 127.5).offset(-1.0).call(x),
            Self::EfficientNetLite => match x.shape().last() {
                Some(3) => Rescaling::new(1.0 / 128.0).offset(-127.0 / 128.0).call(x),
                _ => Err(Error::new("preprocess_input", "RGB photos, [.., 3]", format_args!("{:?}", x.shape()))),
            },
            Self::Caffe => Rescaling::new(1.0).offset(MEAN_BGR.map(|mean| -mean)).call(&Flip::channels().call(x)?),
            Self::Torch => {
                let scale = TORCH_DEVIATION.map(|deviation| 1.0 / (255.0 * deviation));
                let offset = [0, 1, 2].map(|c: usize| -TORCH_MEAN[c] / TORCH_DEVIATION[c]);
                Rescaling::new(scale).offset(offset).call(x)
            }
        }
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Scale => "scale",
            Self::Caffe => "caffe",
            Self::Tf => "tf",
            Self::Torch => "torch",
            Self::EfficientNetLite => "efficientnet-lite",
        })
    }
}

impl FromStr for Preprocessing {
    type Err = Error;

    /// Reads `none`, `scale`, `caffe`, `tf`, `torch` or `efficientnet-lite`, or the name of a network of `keras.applications`, such as `resnet50`.
    fn from_str(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        let mode = Self::ALL.into_iter().find(|mode| mode.to_string() == lower);
        let module = || MODULES.iter().find(|(module, _)| module.replace('_', "-") == lower).map(|(_, mode)| *mode);
        let network = || Architecture::find(name).ok().map(Architecture::preprocessing);
        mode.or_else(module).or_else(network).ok_or_else(|| {
            Error::new(
                "preprocessing",
                "none, scale, caffe, tf, torch, efficientnet-lite, or a network such as resnet50",
                name,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preprocessing_is_read_by_its_name() {
        for preprocessing in Preprocessing::ALL {
            assert_eq!(preprocessing.to_string().parse::<Preprocessing>().unwrap(), preprocessing);
            assert_eq!(serde_json::to_value(preprocessing).unwrap(), preprocessing.to_string());
        }
        assert_eq!("ResNet50V2".parse::<Preprocessing>().unwrap(), Preprocessing::Tf);
        let error = "tff".parse::<Preprocessing>().unwrap_err().to_string();
        assert!(error.contains("expected none, scale, caffe, tf, torch, efficientnet-lite, or a network"), "{error}");
    }

    // Keras 3.15: imagenet_utils.preprocess_input(np.array([[[[10., 100., 200.]]]]), mode=mode); the differences are roundings.
    #[test]
    fn values_are_those_of_keras() {
        for (preprocessing, expected) in [
            (Preprocessing::None, [10.0, 100.0, 200.0]),
            (Preprocessing::Scale, [10.0 / 255.0, 100.0 / 255.0, 200.0 / 255.0]),
            (Preprocessing::Tf, [-0.921_568_6, -0.215_686_3, 0.568_627_5]),
            (Preprocessing::Caffe, [96.061, -16.779, -113.68]),
            (Preprocessing::EfficientNetLite, [-117.0 / 128.0, -27.0 / 128.0, 73.0 / 128.0]),
            (Preprocessing::Torch, [-1.946_656_8, -0.285_014, 1.681_394_3]),
        ] {
            let photo = Input::new([1, 1, 3]);
            let model =
                Model::new(&photo, &Reshape::new([3]).call(&preprocessing.call(&photo).unwrap()).unwrap()).unwrap();
            let y = model.predict(&Tensor::new([1, 1, 1, 3], vec![10.0, 100.0, 200.0]).unwrap(), 1).unwrap();
            for (y, expected) in y.data().iter().zip(expected) {
                assert!((y - expected).abs() <= 2e-6 * f32::abs(expected).max(1.0), "{preprocessing}: {y} {expected}");
            }
        }
        assert!(Preprocessing::Caffe.call(&Input::new([8, 8, 1])).is_err());
        assert_eq!((TORCH_MEAN, TORCH_DEVIATION), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
    }
}
