//! Recognises networks of `keras.applications`, and EfficientNet-Lite, by their layer names, and finds their bases.
//!
//! A test compares this table with the layer names of Keras, which are stored in `golden/applications/`.

use std::collections::HashSet;

use super::upstream::upstream;
use crate::applications::Preprocessing::{self, Caffe, EfficientNetLite, Tf, Torch};
use crate::{Error, Layer, Model, Result};

/// A network, or a family of networks, and the layer names that delimit its base.
struct KnownNetwork {
    name: &'static str,
    /// The first layer with trainable weights; `None` if Keras names it automatically, such as `conv2d_3`.
    first: Option<&'static str>,
    /// Names that identify the network: no other network has all of them and none of `absent`.
    landmarks: &'static [&'static str],
    /// Names that distinguish another network with the same landmarks.
    absent: &'static [&'static str],
    /// The last layer of the base with a fixed name.
    last: &'static str,
    /// The automatic name of one more layer of the base, after `last`.
    followed_by: Option<&'static str>,
    /// What its `preprocess_input` does to the pixels.
    preprocessing: Preprocessing,
}

const KNOWN_NETWORKS: &[KnownNetwork] = &[
    named("VGG16 or VGG19", "block1_conv1", &["block3_conv3", "block5_conv3"], "block5_pool").expects(Caffe),
    named("ResNet", "conv1_conv", &["conv1_bn", "conv2_block1_0_bn", "conv2_block1_out"], "conv5_block3_out")
        .expects(Caffe),
    named("ResNetV2", "conv1_conv", &["conv2_block1_preact_bn", "post_bn"], "post_relu").expects(Tf),
    named("DenseNet", "conv1_conv", &["conv2_block1_concat", "pool4_conv", "bn"], "relu").expects(Torch),
    named("MobileNet", "conv1", &["conv_dw_1", "conv_pw_1"], "conv_pw_13_relu").expects(Tf),
    named("MobileNetV2", "Conv1", &["expanded_conv_depthwise", "block_16_project"], "out_relu").expects(Tf),
    named("MobileNetV3", "conv", &["expanded_conv_depthwise", "expanded_conv_project", "conv_1"], "conv_1_bn")
        .followed_by("activation"),
    named("EfficientNet", "stem_conv", &["block1a_se_reduce", "block7a_project_conv", "top_conv"], "top_activation"),
    named("EfficientNet-Lite", "stem_conv", &["block1a_dwconv", "block7a_project_conv", "top_conv"], "top_activation")
        .without(&["block1a_se_reduce"])
        .expects(EfficientNetLite),
    named("EfficientNetV2", "stem_conv", &["block1a_project_activation", "top_conv"], "top_activation"),
    named("Xception", "block1_conv1", &["block2_sepconv1", "block14_sepconv2"], "block14_sepconv2_act").expects(Tf),
    numbered("InceptionV3", &["mixed0", "mixed8", "mixed9_1"], "mixed10").expects(Tf),
    numbered("InceptionResNetV2", &["mixed_5b", "block35_1_conv", "conv_7b"], "conv_7b_ac").expects(Tf),
    named("NASNetMobile", "stem_conv1", &["reduction_concat_reduce_4"], "normal_concat_12")
        .followed_by("activation")
        .expects(Tf),
    named("NASNetLarge", "stem_conv1", &["reduction_concat_reduce_6"], "normal_concat_18")
        .followed_by("activation")
        .expects(Tf),
    convnext("ConvNeXtTiny", "convnext_tiny_stem", "convnext_tiny_stage_3_block_2_identity"),
    convnext("ConvNeXtSmall", "convnext_small_stem", "convnext_small_stage_3_block_2_identity"),
    convnext("ConvNeXtBase", "convnext_base_stem", "convnext_base_stage_3_block_2_identity"),
    convnext("ConvNeXtLarge", "convnext_large_stem", "convnext_large_stage_3_block_2_identity"),
    convnext("ConvNeXtXLarge", "convnext_xlarge_stem", "convnext_xlarge_stage_3_block_2_identity"),
];

const fn named(
    name: &'static str,
    first: &'static str,
    landmarks: &'static [&'static str],
    last: &'static str,
) -> KnownNetwork {
    KnownNetwork { first: Some(first), ..numbered(name, landmarks, last) }
}

const fn numbered(name: &'static str, landmarks: &'static [&'static str], last: &'static str) -> KnownNetwork {
    let preprocessing = Preprocessing::None;
    KnownNetwork { name, first: None, landmarks, absent: &[], last, followed_by: None, preprocessing }
}

const fn convnext(name: &'static str, first: &'static str, last: &'static str) -> KnownNetwork {
    named(name, first, &[], last).followed_by("layer_normalization")
}

impl KnownNetwork {
    const fn without(self, absent: &'static [&'static str]) -> Self {
        Self { absent, ..self }
    }

    const fn followed_by(self, automatic: &'static str) -> Self {
        Self { followed_by: Some(automatic), ..self }
    }

    const fn expects(self, preprocessing: Preprocessing) -> Self {
        Self { preprocessing, ..self }
    }

    fn matches(&self, names: &HashSet<&str>) -> bool {
        let present = self.first.iter().chain(self.landmarks).chain([&self.last]).all(|name| names.contains(name));
        present && !self.absent.iter().any(|name| names.contains(name))
    }

    /// The base's layers among the model's direct layers, or `None` if `last` isn't one of them.
    fn layers(&self, model: &Model) -> Option<Vec<Layer>> {
        let layers = model.layers();
        let find = |name: &str| layers.iter().find(|layer| layer.name() == name);
        let last = find(self.last)?;
        let last = self.followed_by.and_then(|name| only_consumer(model, last, name)).unwrap_or_else(|| last.clone());
        let base = upstream(model.graph(), &last);
        // Layers before the first belong to the user, such as a convolution from grey to RGB.
        let first = self.first.and_then(find);
        let before = first.map(|first| upstream(model.graph(), first)).unwrap_or_default();
        let in_base =
            |layer: &&Layer| base.contains(&layer.id()) && (Some(*layer) == first || !before.contains(&layer.id()));
        Some(layers.iter().filter(in_base).cloned().collect())
    }
}

/// The layer that consumes the output of `layer`, if it is the only one and has this automatic name.
fn only_consumer(model: &Model, layer: &Layer, automatic: &str) -> Option<Layer> {
    let reads = |call: &&crate::SymbolicTensor| call.inputs().iter().any(|input| input.layer() == layer);
    let mut calls = model.graph().calls().iter().filter(reads);
    let (only, None) = (calls.next()?, calls.next()) else { return None };
    is_automatic(only.layer().name(), automatic).then(|| only.layer().clone())
}

/// Whether `name` is the automatic name or a numbered form of it: `activation` or `activation_7`.
fn is_automatic(name: &str, automatic: &str) -> bool {
    let Some(number) = name.strip_prefix(automatic) else { return false };
    number.is_empty() || number.strip_prefix('_').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The base's layers among the model's direct layers, or `None` if they match no known network.
pub(super) fn base(model: &Model) -> Result<Option<Vec<Layer>>> {
    let layers = model.layers();
    let names: HashSet<&str> = layers.iter().map(Layer::name).collect();
    let known: Vec<&KnownNetwork> = KNOWN_NETWORKS.iter().filter(|known| known.matches(&names)).collect();
    match known[..] {
        [] => Ok(None),
        [known] => Ok(known.layers(model)),
        _ => {
            let several: Vec<&str> = known.iter().map(|known| known.name).collect();
            Err(Error::new(place(model), "layers of one network", several.join(", "))
                .hint("name the first layer to train: all layers before it are frozen"))
        }
    }
}

/// The known network in a model or in a model inside it, and what its `preprocess_input` does to the pixels; `None`
/// for other models.
pub(crate) fn network_and_preprocessing(model: &Model) -> Option<(&'static str, Preprocessing)> {
    let mut pending = vec![model.layer().clone()];
    while let Some(layer) = pending.pop() {
        let layers = layer.layers();
        let names: HashSet<&str> = layers.iter().map(Layer::name).collect();
        if let Some(known) = KNOWN_NETWORKS.iter().find(|known| known.matches(&names)) {
            return Some((known.name, known.preprocessing));
        }
        pending.extend(layers);
    }
    None
}

/// The place of errors about the base of a model.
pub(super) fn place(model: &Model) -> String {
    format!("base of model `{}`", model.name())
}

#[cfg(test)]
mod tests {
    use engraft_golden::cases;

    use super::*;
    use crate::prelude::*;

    #[test]
    fn each_network_of_keras_is_recognised_by_its_names_and_as_no_other() {
        let cases = cases("applications");
        assert_eq!(cases.len(), 40);
        for case in &cases {
            for names in ["with_top", "without_top"] {
                let names: HashSet<&str> = case.names(names).into_iter().collect();
                let known: Vec<&KnownNetwork> = KNOWN_NETWORKS.iter().filter(|known| known.matches(&names)).collect();
                let [known] = known[..] else { panic!("{}: {} networks", case.name(), known.len()) };
                let first = case.get("first").as_str().unwrap();
                assert!(known.first.map_or(is_automatic(first, "conv2d"), |name| name == first), "{}", case.name());
                match (&case.names("last")[..], known.followed_by) {
                    ([_, last], None) => assert_eq!(*last, known.last),
                    ([last, follower], Some(name)) => {
                        assert_eq!(*last, known.last);
                        assert!(is_automatic(follower, name), "{follower}");
                    }
                    (other, _) => panic!("{}: {other:?}", case.name()),
                }
            }
        }
    }

    /// A chain of 1x1 convolutions with these names.
    fn chain(x: &SymbolicTensor, names: &[&str]) -> SymbolicTensor {
        let call = |x: SymbolicTensor, name: &&str| Conv2D::new(3, 1).named(*name).call(&x).unwrap();
        names.iter().fold(x.clone(), call)
    }

    fn base_of(input: &SymbolicTensor, output: &SymbolicTensor) -> Vec<String> {
        let y = Dense::new(2).named("top").call(&Flatten::new().call(output).unwrap()).unwrap();
        let base = base(&Model::new(input, &y).unwrap()).unwrap().unwrap();
        base.iter().map(|layer| layer.name().to_owned()).collect()
    }

    #[test]
    fn an_efficientnet_lite_is_no_efficientnet_and_expects_scaled_pixels() {
        for (network, expected) in [
            (efficientnet_lite0(), ("EfficientNet-Lite", EfficientNetLite)),
            (crate::applications::efficientnet_b0(), ("EfficientNet", Preprocessing::None)),
        ] {
            let network = network.weights("none").include_top(false).input_shape([32, 32, 3]).build().unwrap();
            assert_eq!(network_and_preprocessing(&network), Some(expected));
        }
    }

    const MOBILENET: [&str; 4] = ["conv1", "conv_dw_1", "conv_pw_1", "conv_pw_13_relu"];

    #[test]
    fn the_base_leaves_out_what_comes_before_beside_and_after_it() {
        let x = Input::new([4, 4, 3]);
        let adapted = chain(&x, &["adapter"]);
        let output = chain(&adapted, &MOBILENET);
        let side = chain(&adapted, &["side"]);
        assert_eq!(base_of(&x, &Add::new().call([&chain(&output, &["extra"]), &side]).unwrap()), MOBILENET);
    }

    #[test]
    fn the_last_layer_may_be_named_automatically() {
        let x = Input::new([4, 4, 3]);
        let names = ["conv", "expanded_conv_depthwise", "expanded_conv_project", "conv_1", "conv_1_bn"];
        let output = chain(&x, &names);
        let relu = Activation::new(Relu).named("activation_19").call(&output).unwrap();
        assert_eq!(base_of(&x, &chain(&relu, &["conv_2"]))[5..], ["activation_19"]);
        assert_eq!(base_of(&x, &chain(&output, &["conv_2"])), names);
        assert!(!["activation_x", "activations", "my_activation"].iter().any(|name| is_automatic(name, "activation")));
    }

    #[test]
    fn two_networks_in_one_are_refused() {
        let x = Input::new([4, 4, 3]);
        let vgg = chain(&x, &["block1_conv1", "block3_conv3", "block5_conv3", "block5_pool"]);
        let sum = Add::new().call([&vgg, &chain(&x, &MOBILENET)]).unwrap();
        let error = base(&Model::named("m", &x, &sum).unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("`m`: expected layers of one network, received VGG16 or VGG19, MobileNet\nhint"),
            "{error}"
        );
    }
}
