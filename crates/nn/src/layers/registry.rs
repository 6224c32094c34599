//! The registry of Keras' classes: creates a layer from its class name and config.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::activation_inside::ActivationInside;
use super::*;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::{DTypePolicy, Error, ErrorKind, Result};

/// Creates a layer from its config and name.
pub(super) type Reader = fn(Value, String) -> std::result::Result<Layer, serde_json::Error>;

fn read<D: LayerDef + DeserializeOwned>(config: Value, name: String) -> std::result::Result<Layer, serde_json::Error> {
    serde_json::from_value::<D>(config).map(|def| Layer::new(def, Some(name)))
}

/// Every supported class except models, which contain other layers.
const CLASSES: &[(&str, Reader)] = &[
    ("Activation", read::<Activation>),
    ("ActivityRegularization", read::<ActivityRegularization>),
    ("AdaptiveAveragePooling2D", read::<AdaptiveAveragePooling2D>),
    ("AdaptiveMaxPooling2D", read::<AdaptiveMaxPooling2D>),
    ("Add", read::<Add>),
    ("AdditiveAttention", read::<AdditiveAttention>),
    ("Attention", read::<Attention>),
    ("AlphaDropout", read::<AlphaDropout>),
    ("AutoContrast", read::<AutoContrast>),
    ("Average", read::<Average>),
    ("AveragePooling2D", read::<AveragePooling2D>),
    ("BatchNormalization", read::<BatchNormalization>),
    ("CenterCrop", read::<CenterCrop>),
    ("Concatenate", read::<Concatenate>),
    ("Conv2D", read::<Conv2D>),
    ("Conv2DTranspose", read::<Conv2DTranspose>),
    ("Cropping2D", read::<Cropping2D>),
    ("CustomScaleLayer", read::<CustomScaleLayer>),
    ("Dense", read::<Dense>),
    ("DepthwiseConv2D", read::<DepthwiseConv2D>),
    ("Dot", read::<Dot>),
    ("Dropout", read::<Dropout>),
    ("ELU", read::<ELU>),
    ("EinsumDense", read::<EinsumDense>),
    ("Embedding", read::<Embedding>),
    ("Flatten", read::<Flatten>),
    ("GaussianDropout", read::<GaussianDropout>),
    ("GaussianNoise", read::<GaussianNoise>),
    ("GlobalAveragePooling1D", read::<GlobalAveragePooling1D>),
    ("GlobalAveragePooling2D", read::<GlobalAveragePooling2D>),
    ("GlobalMaxPooling1D", read::<GlobalMaxPooling1D>),
    ("GlobalMaxPooling2D", read::<GlobalMaxPooling2D>),
    ("GroupQueryAttention", read::<GroupQueryAttention>),
    ("Identity", read::<Identity>),
    ("GroupNormalization", read::<GroupNormalization>),
    // The name in the older `.h5`.
    ("GroupedQueryAttention", read::<GroupQueryAttention>),
    ("InputLayer", read::<InputLayer>),
    ("LayerNormalization", read::<LayerNormalization>),
    ("LayerScale", read::<LayerScale>),
    ("LeakyReLU", read::<LeakyReLU>),
    ("MaxPooling2D", read::<MaxPooling2D>),
    ("Maximum", read::<Maximum>),
    ("Minimum", read::<Minimum>),
    ("MultiHeadAttention", read::<MultiHeadAttention>),
    ("Multiply", read::<Multiply>),
    ("Normalization", read::<Normalization>),
    ("Permute", read::<Permute>),
    ("PReLU", read::<PReLU>),
    ("Pipeline", read::<Pipeline>),
    ("RandomFlip", read::<RandomFlip>),
    ("RandomRotation", read::<RandomRotation>),
    ("RandomZoom", read::<RandomZoom>),
    ("ReLU", read::<ReLU>),
    ("RepeatVector", read::<RepeatVector>),
    ("Rescaling", read::<Rescaling>),
    ("Reshape", read::<Reshape>),
    ("Resizing", read::<Resizing>),
    ("RMSNormalization", read::<RMSNormalization>),
    ("SeparableConv2D", read::<SeparableConv2D>),
    ("Softmax", read::<Softmax>),
    ("SpatialDropout1D", read::<SpatialDropout1D>),
    ("SpatialDropout2D", read::<SpatialDropout2D>),
    ("SpatialDropout3D", read::<SpatialDropout3D>),
    ("SpectralNormalization", read::<SpectralNormalization>),
    ("StochasticDepth", read::<StochasticDepth>),
    ("Subtract", read::<Subtract>),
    ("UnitNormalization", read::<UnitNormalization>),
    ("UpSampling2D", read::<UpSampling2D>),
    ("ZeroPadding2D", read::<ZeroPadding2D>),
];

/// Every supported class with its reader.
fn classes() -> impl Iterator<Item = (&'static str, Reader)> {
    CLASSES.iter().chain(augmentation::CLASSES).copied()
}

/// Keras' class names that [`from_config`] supports.
///
/// ```
/// assert!(engraft_nn::layers::known_classes().any(|class| class == "Conv2D"));
/// ```
pub fn known_classes() -> impl Iterator<Item = &'static str> {
    classes().map(|(class, _)| class)
}

/// Whether [`from_config`] supports a class.
pub(super) fn is_known(class_name: &str) -> bool {
    classes().any(|(class, _)| class == class_name)
}

/// Creates a layer from its Keras class name and config.
///
/// ```
/// use engraft_nn::layers::from_config;
/// let config = serde_json::json!({"name": "top", "trainable": false, "units": 5, "activation": "softmax"});
/// let layer = from_config("Dense", config.as_object().unwrap().clone())?;
/// assert_eq!((layer.name(), layer.trainable()), ("top", false));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// An unknown class, an unknown option, or a value that isn't supported. Such an option or value is never ignored or replaced
/// by a default, except an unknown option that is null: a later Keras has it and doesn't use it. The error names the layer and the
/// option.
pub fn from_config(class_name: &str, mut config: Map<String, Value>) -> Result<Layer> {
    let name = match config.remove("name") {
        Some(Value::String(name)) => name,
        other => return Err(Error::new(format_args!("{class_name} layer"), "a name", format_args!("{other:?}"))),
    };
    let place = format!("layer `{name}` ({class_name})");
    let Some((_, reader)) = classes().find(|(class, _)| *class == class_name) else {
        return Err(unknown_class(place, class_name).with_kind(ErrorKind::Unsupported));
    };
    let options = common_options(&place, class_name, &mut config)?;
    let activation = activation_inside::take_activation(&mut config);
    let mut layer =
        read_known_options(reader, &mut config, &name).map_err(|e| match unsupported_option(reader, &config) {
            Some(option) => {
                let error =
                    Error::from_source(format_args!("{place}, option `{option}`"), e).with_kind(ErrorKind::Unsupported);
                if is_function(&config[option]) { error.hint(OTHER_FUNCTION) } else { error }
            }
            None => Error::from_source(&place, e),
        })?;
    if let Some(activation) = activation {
        let pair = ActivationInside::new(layer, &activation).map_err(|e| e.within(&place))?;
        layer = Layer::new(pair, Some(name));
    }
    options.apply(&layer);
    Ok(layer)
}

/// Most options of a config that are tried one by one, which takes time quadratic in their number. No layer of Keras has so many.
const MAX_OPTIONS: usize = 100;

/// Reads a layer; first removes options from its config that are null and that the class doesn't have.
fn read_known_options(
    reader: Reader,
    config: &mut Map<String, Value>,
    name: &str,
) -> std::result::Result<Layer, serde_json::Error> {
    loop {
        let error = match reader(Value::Object(config.clone()), name.to_owned()) {
            Err(error) if config.len() <= MAX_OPTIONS => error,
            result => return result,
        };
        let text = error.to_string();
        let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        match unknown.filter(|option| config.get(*option).is_some_and(Value::is_null)) {
            Some(option) => config.remove(option),
            None => return Err(error),
        };
    }
}

/// What to do about a function that isn't one of Keras' own, such as `tf.nn.softmax` or a registered function.
const OTHER_FUNCTION: &str = "functions other than Keras' own are Python code, which is never run here: name an activation of Keras \
    (activation=\"softmax\" in place of tf.nn.softmax), or compute it with keras.ops after the layer, and save the model again";

/// Whether a value is a function as Keras serializes it.
fn is_function(value: &Value) -> bool {
    value.get("class_name").is_some_and(|class| class == "function" || class == "__lambda__")
}

/// Creates the layer of a serialized object, which must be of a class of Keras itself. `option` names it in errors.
pub(super) fn from_object(option: &str, object: &Value) -> Result<Layer> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let own = text("module").is_none_or(|module| module == "keras" || module.starts_with("keras."));
    let registered = object.get("registered_name").is_some_and(|name| !name.is_null());
    match (text("class_name"), object.get("config").and_then(Value::as_object)) {
        (Some(class_name), Some(config)) if own && !registered => from_config(class_name, config.clone()),
        _ => Err(Error::new(option, "layers of Keras itself, each with a class_name and a config", object)
            .with_kind(ErrorKind::Unsupported)),
    }
}

/// The options that every layer has besides its name.
pub(super) struct CommonOptions {
    trainable: bool,
    policy: Option<DTypePolicy>,
}

impl CommonOptions {
    pub(super) fn apply(self, layer: &Layer) {
        layer.set_own_trainable(self.trainable);
        layer.set_dtype_policy(self.policy);
    }
}

/// Removes the options that every layer has from a config.
pub(super) fn common_options(place: &str, class_name: &str, config: &mut Map<String, Value>) -> Result<CommonOptions> {
    let trainable = match config.remove("trainable") {
        None => true,
        Some(Value::Bool(trainable)) => trainable,
        Some(other) => return Err(Error::new(place, "trainable to be true or false", other)),
    };
    let mut policy = None;
    // The `dtype` of an input is an option of its class.
    if class_name != "InputLayer" {
        policy = dtype_policy(class_name, &config.remove("dtype").unwrap_or_default()).map_err(|e| e.within(place))?;
        // Keras 2 wrote the input's shape into the config of a first layer.
        config.remove("batch_input_shape");
    }
    Ok(CommonOptions { trainable, policy })
}

/// Why a class can't be created, and what to do instead.
fn unknown_class(place: String, class_name: &str) -> Error {
    if class_name == "Lambda" {
        return Error::because(place, "a Lambda layer holds Python code, which is never run here").hint(
            "write it in Keras with layers (Rescaling, Resizing, …) or operations on the tensor (x / 255.0), and save the model again",
        );
    }
    if let Some((what, instead)) = left_out::of_other_package(class_name) {
        return Error::because(place, what).hint(instead);
    }
    match why_left_out(class_name) {
        Some(why) => Error::because(place, format_args!("this class of layer is left out: {why}"))
            .hint("docs/layers.md lists the layers of Keras that are supported"),
        None => Error::because(place, "this class of layer is not known").hint(
            "a Rust program can teach it: keras::LoadOptions::custom_layers; or build the model from Keras' own layers",
        ),
    }
}

/// The option whose value isn't supported: without it, the config can be read.
fn unsupported_option(reader: Reader, config: &Map<String, Value>) -> Option<&str> {
    let without = |option: &&String| {
        let rest = config.iter().filter(|(other, _)| other != option);
        let mut rest = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
        read_known_options(reader, &mut rest, "").is_ok()
    };
    // Each trial copies all options. The limit bounds the work on a hostile file.
    config.keys().find(|option| config.len() <= MAX_OPTIONS && without(option)).map(String::as_str)
}

fn dtype_policy(class_name: &str, dtype: &Value) -> Result<Option<DTypePolicy>> {
    let policy = DTypePolicy::parse(dtype)?;
    policy.as_ref().map_or(Ok(()), |policy| policy.check(class_name))?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layer::IntoLayer;

    fn from_json(class: &str, config: Value) -> Result<Layer> {
        from_config(class, config.as_object().unwrap().clone())
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let layers = [
            Conv2D::new(4, [3, 5]).strides(2).padding(Padding::Same).groups(2).into_layer(),
            Dense::new(3).kernel_regularizer(crate::Regularizer::l2(0.1)).into_layer(),
            MaxPooling2D::new(3).strides(1).into_layer(),
            RandomZoom::new(0.2).width(-0.1, 0.0).into_layer(),
            BatchNormalization::new().momentum(0.5).into_layer(),
            Normalization::new([1.0, 2.0], [3.0, 4.0]).into_layer(),
            Rescaling::new(2.0).offset([1.0, 2.0]).into_layer(),
            ZeroPadding2D::new([[1, 2], [3, 4]]).into_layer(),
            GlobalMaxPooling2D::new().keepdims(true).into_layer(),
            Concatenate::new().axis(1).into_layer(),
            DepthwiseConv2D::new([3, 5]).strides(2).depth_multiplier(3).use_bias(false).into_layer(),
            SeparableConv2D::new(4, 3).padding(Padding::Same).depth_multiplier(2).into_layer(),
            ReLU::new().max_value(2.0).threshold(0.5).into_layer(),
            LeakyReLU::new(0.1).into_layer(),
            Softmax::new().axis(1).into_layer(),
            Reshape::new([2, -1]).into_layer(),
            Cropping2D::new([[1, 2], [3, 4]]).into_layer(),
            UpSampling2D::new([2, 3]).into_layer(),
            Dot::new([1, -1]).normalize(true).into_layer(),
            RepeatVector::new(3).into_layer(),
            Maximum::new().into_layer(),
            MultiHeadAttention::new(2, 3).value_dim(4).dropout(0.1).attention_axes([1]).seed(3).into_layer(),
            GroupQueryAttention::new(4, 4, 2).use_bias(false).into_layer(),
            Attention::new().use_scale(true).score_mode(ScoreMode::Concat).into_layer(),
            AdditiveAttention::new().use_scale(false).into_layer(),
            EinsumDense::new("abc,cd->abd", [4, 8]).bias_axes("d").into_layer(),
            Embedding::new(4, 8).into_layer(),
            GlobalAveragePooling1D::new().keepdims(true).into_layer(),
            Resizing::new(3, 4).crop_to_aspect_ratio(true).antialias(true).into_layer(),
            CenterCrop::new(3, 4).into_layer(),
            SpatialDropout2D::new(0.2).seed(3).into_layer(),
            AlphaDropout::new(0.2).into_layer(),
            GaussianDropout::new(0.2).into_layer(),
            GaussianNoise::new(0.2).seed(3).into_layer(),
            ActivityRegularization::new().l1(0.5).into_layer(),
            Identity::new().into_layer(),
            LayerNormalization::new().axis([1, -1]).scale(false).into_layer(),
            GroupNormalization::new(4).axis(1).epsilon(0.1).into_layer(),
            RMSNormalization::new().epsilon(0.1).into_layer(),
            UnitNormalization::new().axis([1, 2]).into_layer(),
            PReLU::new().shared_axes([1, 2]).into_layer(),
            Conv2DTranspose::new(4, [3, 5]).strides(2).output_padding([0, 1]).into_layer(),
            AdaptiveMaxPooling2D::new([2, 3]).into_layer(),
            LayerScale::new(0.5, 3).into_layer(),
        ];
        for layer in layers {
            let mut config = layer.def().config();
            config.insert("name".into(), "again".into());
            let again = from_config(layer.class_name(), config).unwrap();
            assert_eq!(again.def().config(), layer.def().config());
        }
    }

    #[test]
    fn unknown_classes_options_and_values_are_named() {
        for (class, config, expected) in [
            (
                "Lambda",
                json!({"name": "f"}),
                "layer `f` (Lambda): a Lambda layer holds Python code, which is never run here",
            ),
            (
                "Masking",
                json!({"name": "m"}),
                "layer `m` (Masking): this class of layer is left out: steps of time are",
            ),
            ("Blur", json!({"name": "b"}), "layer `b` (Blur): this class of layer is not known"),
            ("PruneLowMagnitude", json!({"name": "p"}), "strip_pruning(model) gives the model alone"),
            ("Dense", json!({"name": "d", "units": 3, "spread": 1}), "option `spread`: unknown field `spread`"),
            ("Dense", json!({"name": "d", "units": "x"}), "layer `d` (Dense): invalid type"),
            ("Dense", json!({"name": "d", "units": 3, "activation": "relux"}), "unknown activation `relux`"),
            (
                "Dense",
                json!({"name": "d", "units": 3, "activation": {"config": "f"}}),
                "the name of an activation, received {",
            ),
            (
                "Dense",
                json!({"name": "d", "units": 3, "lora_rank": "four"}),
                "layer `d` (Dense), option `lora_rank`: invalid type",
            ),
            (
                "Conv2D",
                json!({"name": "c", "filters": 1, "kernel_size": 3, "data_format": "channels_middle"}),
                "layer `c` (Conv2D), option `data_format`: unknown variant `channels_middle`",
            ),
            (
                "Dense",
                json!({"name": "d", "units": 3, "dtype": "int32"}),
                "layer `d` (Dense), dtype: expected a policy of",
            ),
            ("Dense", json!({"name": "d", "units": 3, "dtype": "int4_from_float32"}), "received int4_from_float32"),
            ("Dense", json!({"units": 3}), "expected a name"),
            (
                "ContrastLimitedAdaptiveHistogramEqualization",
                json!({"name": "e", "clip_limit": 4.0}),
                "left out: it changes images in prediction, too, and is not implemented",
            ),
        ] {
            let error = from_json(class, config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn unknown_options_that_are_null_are_left_out() {
        for (class, mut config) in [
            ("Dense", json!({"name": "l", "units": 3, "spread": null, "use_rows": null})),
            ("RandomHue", json!({"name": "l", "factor": 0.1, "spread": null})),
        ] {
            let layer = from_json(class, config.clone()).unwrap();
            assert!(!layer.def().config().contains_key("spread"));
            config["other"] = false.into();
            let error = from_json(class, config).unwrap_err().to_string();
            assert!(error.contains("option `other`: unknown field `other`"), "{error}");
        }
        let error = from_json("Dense", json!({"name": "d", "units": null})).unwrap_err().to_string();
        assert!(error.contains("layer `d` (Dense)"), "{error}");
    }

    #[test]
    fn a_function_of_another_program_gets_a_hint() {
        for name in ["softmax_v2", "my>act"] {
            let function =
                json!({"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"});
            let error =
                from_json("Dense", json!({"name": "d", "units": 3, "activation": function})).unwrap_err().to_string();
            assert!(error.contains("layer `d` (Dense), option `activation`") && error.contains(name), "{error}");
            assert!(error.contains("name an activation of Keras (activation=\"softmax\" in place"), "{error}");
        }
    }

    #[test]
    fn what_predicting_does_not_use_is_kept() {
        let own = |kind: &str| json!({"module": "my", "class_name": kind, "config": {"x": [1, {"y": null}]}, "registered_name": "my>x"});
        let options = |names: &[&str]| {
            let options = names.iter().map(|name| ((*name).to_owned(), own(name)));
            options.chain([("name".to_owned(), "kept".into())]).collect::<Map<String, Value>>()
        };
        let kernel = ["kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer"];
        let kernel = [&kernel[..], &["activity_regularizer", "kernel_constraint", "bias_constraint"]].concat();
        let statistics = ["beta_initializer", "gamma_regularizer", "moving_mean_initializer", "beta_constraint"];
        let depthwise = ["depthwise_initializer", "depthwise_regularizer", "activity_regularizer", "bias_constraint"];
        for (class, names, required) in [
            ("Dense", &kernel[..], json!({"units": 2})),
            ("Conv2D", &kernel[..], json!({"filters": 2, "kernel_size": 1})),
            ("BatchNormalization", &statistics[..], json!({})),
            ("DepthwiseConv2D", &depthwise[..], json!({"kernel_size": 1})),
            ("SeparableConv2D", &depthwise[..], json!({"filters": 2, "kernel_size": 1})),
        ] {
            let mut config = options(names);
            config.extend(required.as_object().unwrap().clone());
            let layer = from_config(class, config).unwrap();
            names.iter().for_each(|name| assert_eq!(layer.def().config()[*name], own(name), "{class}"));
            layer.build(&[vec![3, 3, 4]]).unwrap();
        }
    }
}
