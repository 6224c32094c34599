//! Weight files that Keras publishes, pinned by the hashes that Keras pins.

const KERAS_VGG16: &str = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16";

/// A published file: where it is, and how to know that it arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightFile {
    /// File name, in the cache and on the server.
    pub name: &'static str,
    /// Address of the directory it lies in.
    pub url: &'static str,
    /// MD5 of its content, 32 lower-case hexadecimal digits: what Keras pins. It guards against accidents, not against
    /// an attacker; a fingerprint of the tensors should follow.
    pub md5: &'static str,
    /// Its size, where known: shown as the total where a server doesn't tell.
    pub bytes: Option<u64>,
}

/// VGG16 trained on ImageNet, with its three Dense layers, as `keras.applications.VGG16(include_top=True)` downloads it.
pub const VGG16: WeightFile = WeightFile {
    name: "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    url: KERAS_VGG16,
    md5: "64373286793e3c8b2b4e3219cbf3544b",
    bytes: None,
};

/// VGG16 trained on ImageNet, convolutions only, as `keras.applications.VGG16(include_top=False)` downloads it.
pub const VGG16_NOTOP: WeightFile = WeightFile {
    name: "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url: KERAS_VGG16,
    md5: "6d6bbae143d832006294945121d1f1fc",
    bytes: Some(58_889_256),
};
