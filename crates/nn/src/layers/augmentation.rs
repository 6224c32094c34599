//! Keras' augmentation layers that aren't implemented for training: models that contain them are opened, predict and are written back.
//!
//! All of these layers return their input outside training. Flips, rotations and zooms are in [`random`](super::random).

use engraft_ir::ValueId;
use serde::de::Error as _;
use serde_json::{Map, Value};

use super::options::single;
use super::registry::Reader;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result, Shape};

/// An augmentation layer as a file has it: its options are kept word for word.
#[derive(Debug)]
struct Augmentation {
    class_name: &'static str,
    config: Map<String, Value>,
}

/// Classes of Keras 2 that Keras 3 opens under another module, and lacks in its API.
const LEGACY: [&str; 2] = ["RandomHeight", "RandomWidth"];

/// Options that every preprocessing layer of images has.
const COMMON: [&str; 2] = ["data_format", "bounding_box_format"];

/// Creates a layer of a class with these options.
fn read(
    class_name: &'static str,
    options: &[&str],
    config: Value,
    name: String,
) -> std::result::Result<Layer, serde_json::Error> {
    let config = match config {
        Value::Object(config) => config,
        other => return Err(serde_json::Error::custom(format_args!("expected options, received {other}"))),
    };
    let known = |option: &str| options.contains(&option) || COMMON.contains(&option);
    match config.keys().find(|option| !known(option)) {
        Some(option) => Err(serde_json::Error::custom(format_args!("unknown field `{option}`"))),
        None => Ok(Layer::new(Augmentation { class_name, config }, Some(name))),
    }
}

/// A class of [`Augmentation`] with its options, as an entry of the registry.
macro_rules! class {
    ($class:literal, $options:expr) => {
        ($class, |config, name| read($class, &$options, config, name))
    };
}

/// The classes, with the readers of their layers.
pub(super) const CLASSES: &[(&str, Reader)] = &[
    class!(
        "AugMix",
        ["value_range", "num_chains", "chain_depth", "factor", "alpha", "all_ops", "interpolation", "seed"]
    ),
    class!("CutMix", ["factor", "seed"]),
    class!("Equalization", ["value_range", "bins"]),
    class!("MaxNumBoundingBoxes", ["max_number", "fill_value"]),
    class!("MixUp", ["alpha", "seed"]),
    class!("RandAugment", ["value_range", "num_ops", "factor", "interpolation", "seed"]),
    class!("RandomBrightness", ["factor", "value_range", "seed"]),
    class!("RandomColorDegeneration", ["factor", "value_range", "seed"]),
    class!(
        "RandomColorJitter",
        ["value_range", "brightness_factor", "contrast_factor", "saturation_factor", "hue_factor", "seed"]
    ),
    class!("RandomContrast", ["factor", "value_range", "seed"]),
    class!("RandomCrop", ["height", "width", "seed"]),
    class!(
        "RandomElasticTransform",
        ["factor", "scale", "interpolation", "fill_mode", "fill_value", "value_range", "seed"]
    ),
    class!("RandomErasing", ["factor", "scale", "fill_value", "value_range", "seed"]),
    class!("RandomGaussianBlur", ["factor", "kernel_size", "sigma", "value_range", "seed"]),
    class!("RandomGrayscale", ["factor", "seed"]),
    class!("RandomHeight", ["factor", "interpolation", "seed"]),
    class!("RandomHue", ["factor", "value_range", "seed"]),
    class!("RandomInvert", ["factor", "value_range", "seed"]),
    class!("RandomPerspective", ["factor", "scale", "interpolation", "fill_value", "seed"]),
    class!("RandomPosterization", ["factor", "value_range", "seed"]),
    class!("RandomSaturation", ["factor", "value_range", "seed"]),
    class!("RandomSharpness", ["factor", "value_range", "seed"]),
    class!("RandomShear", ["x_factor", "y_factor", "fill_mode", "interpolation", "fill_value", "seed"]),
    class!("RandomTranslation", ["height_factor", "width_factor", "fill_mode", "interpolation", "fill_value", "seed"]),
    class!("RandomWidth", ["factor", "interpolation", "seed"]),
    class!("Solarization", ["addition_factor", "threshold_factor", "value_range", "seed"]),
];

impl LayerDef for Augmentation {
    fn class_name(&self) -> &'static str {
        self.class_name
    }

    fn module(&self) -> &'static str {
        if LEGACY.contains(&self.class_name) { "keras._legacy.layers" } else { "keras.layers" }
    }

    fn config(&self) -> Map<String, Value> {
        self.config.clone()
    }

    /// The input's shape. Keras announces the cropped size for `RandomCrop` and then predicts with the whole image.
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        // Bounding boxes aren't images: the layer does nothing here in training either.
        if to.training() && self.class_name != "MaxNumBoundingBoxes" {
            return Err(Error::because("training", "this augmentation is not implemented")
                .with_kind(ErrorKind::Unsupported)
                .hint("the model predicts as it is; to train it here, save it without this layer, or with RandomFlip, RandomRotation or RandomZoom"));
        }
        Ok(inputs[0])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn layer(class: &str, config: &Value) -> Result<Layer> {
        from_config(class, config.as_object().unwrap().clone())
    }

    #[test]
    fn options_are_kept_word_for_word_and_others_named() {
        let config = json!({"name": "b", "factor": [-0.2, 0.2], "value_range": [0, 255], "seed": null, "data_format": "channels_last"});
        let brightness = layer("RandomBrightness", &config).unwrap();
        let mut written = brightness.def().config();
        written.insert("name".into(), "b".into());
        assert_eq!((brightness.class_name(), Value::Object(written)), ("RandomBrightness", config));
        let error = layer("MixUp", &json!({"name": "m", "beta": 2})).unwrap_err().to_string();
        assert!(error.contains("layer `m` (MixUp), option `beta`: unknown field `beta`"), "{error}");
    }

    #[test]
    fn predictions_use_the_images_unchanged_and_training_is_refused() {
        for (class, _) in CLASSES {
            let x = Input::new([8, 8, 3]);
            let model = Model::new(&x, &layer(class, &json!({"name": "a"})).unwrap().call(&x).unwrap()).unwrap();
            assert!(Program::of(&model, false, 0).unwrap().steps.is_empty());
            match Program::of(&model, true, 0) {
                Ok(program) => assert!(*class == "MaxNumBoundingBoxes" && program.steps.is_empty()),
                Err(error) => {
                    let expected = format!("layer `a` ({class}), training: this augmentation is not implemented");
                    assert!(error.to_string().starts_with(&expected), "{error}");
                }
            }
        }
    }
}
