//! [`Weights`], a network's initial weights, and loading those that are published or part of the program.

use std::fmt::Display;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Network;
use crate::formats::keras::legacy::{self, LegacyLayer};
use crate::formats::safetensors::{self, Naming};
use crate::hub::{Hash, Hub, HubError, HubErrorKind, WeightFile};
use crate::{Error, ErrorKind, Layer, Result};

/// Source of a network's initial weights (Keras' `weights` argument). Converts from `"imagenet"`, `"none"` and paths.
///
/// ```
/// use engraft::applications::Weights;
/// assert_eq!(Weights::from("imagenet"), Weights::Imagenet);
/// assert_eq!(Weights::from("none"), Weights::None);
/// assert_eq!(Weights::from("my.h5"), Weights::File("my.h5".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Published weights, trained on ImageNet: a file that Keras publishes or, for EfficientNet-Lite0, part of the program.
    Imagenet,
    /// Random values of the layers' initializers.
    None,
    /// A file with weights of the same architecture; for a network without its top, also with a top.
    ///
    /// Formats: `.weights.h5`, `.keras`, Keras' older `.h5`, and `.safetensors` with Keras' names or, for the networks that
    /// [`Architecture`](super::Architecture) knows in PyTorch, with the names of torchvision, timm or efficientnet-lite-pytorch. In an
    /// `.onnx` file, weights are matched by order and shape; weights after those of the architecture's last layer are ignored. The
    /// content tells the format, whatever the name of the file.
    ///
    /// Deviation from Keras: the published weights of EfficientNet (B0 to B7) give the same features as with
    /// [`Imagenet`](Self::Imagenet). Keras leaves out a layer that they need, and so halves the contrast of the photos.
    ///
    /// timm has two networks of the names `efficientnet_b0` and `tf_efficientnet_b0`; the second is Keras'. Its variants of AdvProp
    /// (`.ap`) expect pixels from -1 to 1, which the file doesn't tell: they give other features here.
    File(PathBuf),
}

impl From<&str> for Weights {
    fn from(name: &str) -> Self {
        match name {
            "imagenet" => Self::Imagenet,
            "none" => Self::None,
            path => Self::File(path.into()),
        }
    }
}

impl From<&String> for Weights {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}

impl From<&Path> for Weights {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

impl From<PathBuf> for Weights {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// The published ImageNet weights of a network, as [`Network::published_weights`] tells them.
///
/// ```
/// use engraft::applications::{PublishedWeights, vgg16};
/// let Some(PublishedWeights::File { file, is_fingerprinted }) = vgg16().include_top(false).published_weights() else {
///     return Err("a file");
/// };
/// // What is verified before the weights are used.
/// match (file.hash, is_fingerprinted) {
///     (Some(hash), _) => println!("{} has the {hash}", file.name),
///     (None, true) => println!("{} has known arrays", file.name),
///     (None, false) => println!("the arrays of {} have the names and shapes of the network's weights", file.name),
/// }
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedWeights {
    /// They are part of the program.
    Embedded,
    /// A file that is on this machine or can be downloaded.
    File {
        /// Its name, address and hash. Without a hash, the file's content is checked: its arrays must have the names and shapes of the weights.
        file: WeightFile,
        /// Whether the values of all arrays are checked too, by their SHA-256.
        is_fingerprinted: bool,
    },
}

/// Published ImageNet weights of a network.
pub(super) enum Pretrained {
    /// A file that the hub finds or downloads.
    File(PretrainedFile),
    /// The bytes of a `.safetensors` file with Keras' names, compiled into the program.
    Embedded(&'static [u8]),
}

impl Pretrained {
    /// A published file, without a known fingerprint.
    pub(super) fn file(file: WeightFile) -> Self {
        Self::File(PretrainedFile { file, fingerprint: None })
    }

    /// Adds the [`fingerprint`] of the file's tensors. Weights inside the program need none.
    pub(super) fn fingerprint(self, fingerprint: &'static str) -> Self {
        match self {
            Self::File(file) => Self::File(PretrainedFile { fingerprint: Some(fingerprint), ..file }),
            embedded @ Self::Embedded(_) => embedded,
        }
    }
}

impl From<Pretrained> for PublishedWeights {
    fn from(pretrained: Pretrained) -> Self {
        match pretrained {
            Pretrained::Embedded(_) => Self::Embedded,
            Pretrained::File(PretrainedFile { file, fingerprint }) => {
                Self::File { file, is_fingerprinted: fingerprint.is_some() }
            }
        }
    }
}

/// A weight file that Keras publishes.
pub(super) struct PretrainedFile {
    pub(super) file: WeightFile,
    /// [`fingerprint`] of the file's tensors, if known. It identifies files with the same tensors but other bytes.
    pub(super) fingerprint: Option<&'static str>,
}

/// The file `{name}.h5` or, without the top, `{name}_notop.h5` in a folder of Keras' server, with the hash of each: the
/// digits in Keras' source, empty where it has none.
pub(super) fn keras_file(network: &Network, folder: &str, name: &str, md5: [&'static str; 2]) -> Pretrained {
    let (end, hash) = if network.include_top { ("", md5[0]) } else { ("_notop", md5[1]) };
    file_of(&format!("{KERAS_SERVER}/{folder}"), format!("{name}{end}.h5"), hash)
}

/// The server of the weight files of `keras.applications`.
pub(super) const KERAS_SERVER: &str = "https://storage.googleapis.com/tensorflow/keras-applications";

/// The file `name` in a directory of a server. `hash` are its digits in Keras' source, empty if there are none.
pub(super) fn file_of(directory: &str, name: String, hash: &'static str) -> Pretrained {
    file_at(format!("{directory}/{name}"), name, hash)
}

/// The file at `url`, which Keras keeps as `name`.
pub(super) fn file_at(url: String, name: String, hash: &'static str) -> Pretrained {
    let hash = Hash::of_digits(hash);
    Pretrained::file(WeightFile { name: name.into(), url: url.into(), hash, bytes: None })
}

/// Sets the weights of `layers` from a published file, which `hub` finds or downloads.
///
/// The hub accepts a file by its hash, or by the fingerprint of its tensors. If a fingerprint is known, it is checked in
/// both cases. A file without a published hash and fingerprint is accepted if its arrays have the names and the shapes of the layers'
/// weights, in order.
pub(super) fn load_pretrained(
    pretrained: &PretrainedFile,
    layers: &[Layer],
    hub: &Hub,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    let load = |path: &Path| {
        legacy::load_weights(path, layers)?;
        match (pretrained.fingerprint, pretrained.file.hash) {
            (Some(expected), _) => check_fingerprint(layers, expected),
            (None, Some(_)) => Ok(()),
            (None, None) => check_array_names(&legacy::layers(path)?, layers),
        }
    };
    let accept = |path: &Path| match (pretrained.file.hash, pretrained.fingerprint) {
        (Some(_), None) => Err("only the published file is accepted".to_owned()),
        _ => load(path).map_err(|error| error.to_string()),
    };
    let path = hub
        .fetch(&pretrained.file, &accept, progress)
        .map_err(|error| from_hub(format_args!("weights `{}`", pretrained.file.name), error))?;
    load(&path)
}

/// Sets the weights of `layers` from the bytes of a `.safetensors` file. Tensors of other layers are an error.
pub(super) fn load_embedded(file: &'static [u8], layers: &[Layer]) -> Result<()> {
    let unused = safetensors::read_weights(Cursor::new(file), layers, Naming::Keras)?;
    match unused.first() {
        Some(name) => Err(Error::new("embedded weights", "tensors of the network's layers", format_args!("`{name}`"))),
        None => Ok(()),
    }
}

/// Converts an error of the hub, with `place` as its place and the same kind.
pub(super) fn from_hub(place: impl Display, error: HubError) -> Error {
    let kind = match error.kind() {
        HubErrorKind::NotFound => ErrorKind::NotFound,
        HubErrorKind::Network => ErrorKind::Network,
        HubErrorKind::InvalidData => ErrorKind::InvalidData,
        _ => ErrorKind::Io,
    };
    Error::from_source(place, error).with_kind(kind)
}

/// Checks that the arrays of each layer are called as its weights are, such as `gamma`, in any order.
///
/// Names of layers aren't compared: Keras doesn't either, as older versions of it wrote its files.
fn check_array_names(saved: &[LegacyLayer], layers: &[Layer]) -> Result<()> {
    let saved = saved.iter().filter(|layer| !layer.weights.is_empty());
    for (saved, layer) in saved.zip(layers.iter().filter(|layer| !layer.weights().is_empty())) {
        let mut expected: Vec<String> = layer.weights().iter().map(|weight| weight.name().to_owned()).collect();
        let arrays = saved.weights.iter().map(|(path, _)| path.rsplit('/').next().unwrap_or(path));
        // Keras 2 says `depthwise_kernel:0` where Keras 3 says `kernel`.
        let name = |array: &str| array.trim_end_matches(":0").trim_start_matches("depthwise_").to_owned();
        let mut received: Vec<String> = arrays.map(name).collect();
        expected.sort_unstable();
        received.sort_unstable();
        if expected != received {
            let place = format!("layer `{}`", layer.name());
            let received = format!("{} in `{}`", received.join(", "), saved.name);
            return Err(Error::new(place, format_args!("arrays called {}", expected.join(", ")), received)
                .with_kind(ErrorKind::InvalidData));
        }
    }
    Ok(())
}

fn check_fingerprint(layers: &[Layer], expected: &str) -> Result<()> {
    let received = fingerprint(layers);
    if received == expected {
        return Ok(());
    }
    Err(Error::new("the fingerprint of its tensors", expected, received).with_kind(ErrorKind::InvalidData))
}

/// SHA-256 of all weights in order, as little-endian f32.
fn fingerprint(layers: &[Layer]) -> String {
    let mut hash = Sha256::new();
    for weight in layers.iter().flat_map(Layer::weights) {
        for values in weight.values().chunks(4096) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hash.update(bytes);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::VGG16_NOTOP;
    use crate::prelude::*;

    /// A Dense layer with the kernel values 1, 2, 3, 4 and the bias 5, 6.
    fn dense() -> Layer {
        let layer = Dense::new(2).named("d");
        layer.call(&Input::new([2])).unwrap();
        layer.weights()[0].set(vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        layer.weights()[1].set(vec![5.0, 6.0]).unwrap();
        layer
    }

    /// `sha256(numpy.arange(1, 7, dtype="<f4"))`.
    const FINGERPRINT: &str = "24ae2dfe8df57c1b80e54cef3d90ac3b417fd98973345a5f616bbc9a75dcc202";

    #[test]
    fn the_fingerprint_is_that_of_little_endian_floats() {
        assert_eq!(fingerprint(&[dense()]), FINGERPRINT);
    }

    #[test]
    fn another_file_with_the_same_tensors_is_as_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(&*VGG16_NOTOP.name);
        legacy::save_weights(&path, &[dense()]).unwrap();
        let mut hub = Hub::new(folder.path(), folder.path());
        hub.mirror = Some("http://127.0.0.1:9".into());
        let load = |fingerprint| {
            let layer = Dense::new(2).named("other_name");
            layer.call(&Input::new([2])).unwrap();
            let pretrained = PretrainedFile { file: VGG16_NOTOP, fingerprint };
            load_pretrained(&pretrained, std::slice::from_ref(&layer), &hub, &mut |_, _| {}).map(|()| layer)
        };
        let layer = load(Some(FINGERPRINT)).unwrap();
        assert_eq!(*layer.weights()[1].values(), [5.0, 6.0]);

        let error = load(Some("d9a27cc1")).unwrap_err().to_string();
        let expected = format!("the fingerprint of its tensors: expected d9a27cc1, received {FINGERPRINT}");
        assert!(error.contains(&expected), "{error}");
        assert!(load(None).unwrap_err().to_string().contains("only the published file is accepted"));
    }

    #[test]
    fn the_names_of_arrays_are_those_of_weights() {
        let saved = |names: [&str; 2]| {
            let weights = names.iter().map(|name| (format!("d/{name}:0"), vec![2])).collect();
            [LegacyLayer { name: "d".into(), weights }]
        };
        for names in [["kernel", "bias"], ["bias", "kernel"], ["depthwise_kernel", "bias"]] {
            check_array_names(&saved(names), &[dense()]).unwrap();
        }
        let error = check_array_names(&saved(["kernel", "gamma"]), &[dense()]).unwrap_err().to_string();
        assert!(error.contains("expected arrays called bias, kernel, received gamma, kernel in `d`"), "{error}");
    }

    #[test]
    fn a_file_without_a_published_hash_is_accepted_by_its_shapes_and_by_its_values_if_they_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = WeightFile { hash: None, ..VGG16_NOTOP };
        legacy::save_weights(&folder.path().join(&*file.name), &[dense()]).unwrap();
        let mut hub = Hub::new(folder.path(), folder.path());
        hub.mirror = Some("http://127.0.0.1:9".into());
        let load = |units, fingerprint| {
            let layer = Dense::new(units).named("other_name");
            layer.call(&Input::new([2])).unwrap();
            let pretrained = PretrainedFile { file: file.clone(), fingerprint };
            load_pretrained(&pretrained, std::slice::from_ref(&layer), &hub, &mut |_, _| {}).map(|()| layer)
        };
        for fingerprint in [None, Some(FINGERPRINT)] {
            assert_eq!(*load(2, fingerprint).unwrap().weights()[1].values(), [5.0, 6.0]);
        }
        let error = load(2, Some("d9a27cc1")).unwrap_err().to_string();
        assert!(error.contains("the fingerprint of its tensors: expected d9a27cc1"), "{error}");
        let error = load(3, None).unwrap_err().to_string();
        assert!(error.contains("expected weights of shapes [[2, 3], [3]]"), "{error}");
    }
}
