//! The weight files that Keras publishes, with their addresses and the hash that Keras checks.

use std::borrow::Cow;

use crate::Hash;

/// A published weight file: its address, and the hash to verify a download.
///
/// ```
/// use engraft_hub::{Hash, Hub, WeightFile};
/// # let folder = tempfile::tempdir()?;
/// # let cache = folder.path();
/// let flowers = WeightFile {
///     name: "flowers.h5".into(),
///     url: "https://example.org/weights/flowers.h5".into(),
///     hash: Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0"),
///     bytes: Some(14),
/// };
/// std::fs::write(cache.join(&*flowers.name), "message digest")?;
/// let reject = |_path: &std::path::Path| Err("another file".to_owned());
/// let path = Hub::new(cache, cache).fetch(&flowers, &reject, &mut |_done, _total| {})?;
/// assert!(path.ends_with("flowers.h5"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    /// File name in the cache, and on a mirror.
    pub name: Cow<'static, str>,
    /// Its URL. Some servers have another file name.
    pub url: Cow<'static, str>,
    /// The hash of its content, as in Keras' source; `None` if its publisher names none. The caller of
    /// [`Hub::fetch`](crate::Hub::fetch) then checks the content.
    pub hash: Option<Hash>,
    /// Its size in bytes, if known. Progress shows it as the total if the server doesn't send a length.
    pub bytes: Option<u64>,
}

/// VGG16 trained on ImageNet, with its three Dense layers, as `keras.applications.VGG16(include_top=True)` downloads it.
///
/// ```
/// use engraft_hub::{Hub, VGG16};
/// # let folder = tempfile::tempdir()?;
/// # let cache = folder.path();
/// std::fs::write(cache.join(&*VGG16.name), "the same tensors in another layout")?;
/// // The hash differs, so `accept` decides. Programs compare the tensors here.
/// let accept = |_path: &std::path::Path| Ok(());
/// let path = Hub::new(cache, cache).fetch(&VGG16, &accept, &mut |_done, _total| {})?;
/// assert_eq!(path, cache.join(&*VGG16.name));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const VGG16: WeightFile = WeightFile {
    name: Cow::Borrowed("vgg16_weights_tf_dim_ordering_tf_kernels.h5"),
    url: Cow::Borrowed(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    ),
    hash: Hash::of_digits("64373286793e3c8b2b4e3219cbf3544b"),
    bytes: None,
};

/// VGG16 trained on ImageNet, convolutions only, as `keras.applications.VGG16(include_top=False)` downloads it.
///
/// ```
/// use engraft_hub::VGG16_NOTOP;
/// // The size of the download in MiB.
/// assert_eq!(VGG16_NOTOP.bytes.map(|bytes| bytes >> 20), Some(56));
/// assert!(VGG16_NOTOP.name.ends_with("_notop.h5"));
/// ```
pub const VGG16_NOTOP: WeightFile = WeightFile {
    name: Cow::Borrowed("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    url: Cow::Borrowed(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    hash: Hash::of_digits("6d6bbae143d832006294945121d1f1fc"),
    bytes: Some(58_889_256),
};
