//! Small valid files of every format, written by engraft, Keras and other programs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use engraft_cache::{Digest, FeatureCache};
use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_formats::safetensors::Naming;
use engraft_formats::{FloatType, npy, onnx, safetensors};
use engraft_nn::prelude::*;
use zip::CompressionMethod;

use crate::seed::archive;

/// A model of a convolution, a BatchNormalization and a head.
pub(crate) fn model() -> Model {
    let x = Input::new([6, 6, 2]);
    let y = Conv2D::new(3, 3).named("conv").call(&x).expect("valid layers");
    let y = BatchNormalization::new().named("norm").call(&y).expect("valid layers");
    let y = GlobalAveragePooling2D::new().call(&y).expect("valid layers");
    let y = Dense::new(2).activation(Softmax).named("top").call(&y).expect("valid layers");
    Model::new(&x, &y).expect("valid layers")
}

/// The smallest model: one Dense layer with one unit.
pub(crate) fn tiny() -> Model {
    Sequential::new().add(Input::new([2])).add(Dense::new(1).named("top")).build().expect("valid layers")
}

/// A model whose weights can be named as in torchvision's VGG: convolutions, pooling, Flatten, Dense layers.
pub(crate) fn torchvision_model() -> Model {
    let model = Sequential::new().add(Input::new([4, 4, 2])).add(Conv2D::new(3, 3)).add(MaxPooling2D::new(2));
    model.add(Flatten::new()).add(Dense::new(2)).build().expect("valid layers")
}

/// Models loaded from files that Keras 2 wrote.
pub(crate) fn of_keras_2() -> Vec<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/keras2");
    OF_KERAS_2.map(|name| keras::load_model(&folder.join(name)).expect("a valid file")).to_vec()
}

const OF_KERAS_2: [&str; 2] = ["functional.h5", "sequential.h5"];

/// [`model`], compiled but not trained.
fn compiled() -> Model {
    let model = model();
    model
        .compile(Adam::new(0.001), Loss::categorical_crossentropy(), [Metric::Accuracy])
        .expect("valid compile settings");
    model
}

/// The bytes of the file that `write` writes to a path with this name.
fn written<E: std::fmt::Debug>(name: &str, write: impl FnOnce(&Path) -> Result<(), E>) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    write(&path).expect("the file is written");
    std::fs::read(path).expect("the file exists")
}

/// Reads files of this repository.
fn repository_files(folder: &str, names: &[&str]) -> Vec<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    names.iter().map(|name| std::fs::read(folder.join(name)).expect("a file of this repository")).collect()
}

pub(crate) fn keras() -> Vec<Vec<u8>> {
    let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
    let ours = written("model.keras", |path| keras::save(&compiled(), path, &options));
    let mut files =
        repository_files("golden/models", &["sequential.keras", "functional_in_sequential.keras", "adapted.keras"]);
    let smallest = written("tiny.keras", |path| keras::save(&tiny(), path, &SaveOptions::default()));
    files.extend([ours, smallest]);
    files
}

pub(crate) fn keras_config() -> Vec<Vec<u8>> {
    let config = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models").join(name);
        keras::read_extra(&path, if name.ends_with(".keras") { "config.json" } else { "model_config" })
    };
    let names = [
        "functional.keras",
        "functional.h5",
        "residual.keras",
        "augmentation.keras",
        "sequential_in_functional.keras",
        "functional_in_sequential.h5",
        "batch_normalization.keras",
    ];
    names.map(|name| config(name).expect("a valid file").expect("a whole model")).to_vec()
}

/// A `.keras` archive of this config, with the weights of `functional.keras`, the first model of [`keras_config`].
pub(crate) fn with_config(config: &[u8]) -> Vec<u8> {
    static WEIGHTS: LazyLock<Vec<u8>> =
        LazyLock::new(|| repository_files("golden/models", &["functional.weights.h5"]).remove(0));
    archive(&[("config.json", config.to_vec()), ("model.weights.h5", WEIGHTS.clone())], CompressionMethod::Stored)
}

pub(crate) fn model_h5() -> Vec<Vec<u8>> {
    let ours = written("model.h5", |path| legacy::save(&compiled(), path, &SaveOptions::default()));
    let mut files = repository_files("crates/formats/tests/data", &["keras2_whole_model.h5"]);
    files.extend(repository_files("golden/models", &["functional.h5"]));
    files.extend(repository_files("golden/keras2", &OF_KERAS_2));
    let smallest = written("tiny.h5", |path| legacy::save(&tiny(), path, &SaveOptions::default()));
    files.extend([ours, smallest]);
    files
}

pub(crate) fn weights_h5() -> Vec<Vec<u8>> {
    let ours = |model: &Model| written("x.weights.h5", |path| keras::save_weights(model, path, FloatType::F16));
    let mut files = vec![ours(&model()), ours(&tiny())];
    files.extend(repository_files("crates/formats/tests/data", &["keras3.weights.h5", "types.h5", "latest.h5"]));
    files.extend(repository_files("golden/keras2", &["functional_weights.h5", "sequential_weights.h5"]));
    files.push(written("x.h5", |path| legacy::save_weights(path, &model().layers())));
    files
}

pub(crate) fn safetensors() -> Vec<Vec<u8>> {
    let (keras, torchvision) = (Naming::Keras, Naming::Torchvision);
    [
        (model(), FloatType::F32, keras),
        (model(), FloatType::F16, keras),
        (torchvision_model(), FloatType::F32, torchvision),
    ]
    .map(|(model, float_type, naming)| {
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let options = safetensors::SaveOptions { float_type, metadata, naming };
        written("x.safetensors", |path| safetensors::save_weights(path, &model.layers(), &options))
    })
    .to_vec()
}

pub(crate) fn onnx() -> Vec<Vec<u8>> {
    let mut files = repository_files("crates/formats/tests/data", &["small.onnx"]);
    for float_type in [FloatType::F32, FloatType::F16] {
        let options = onnx::OnnxOptions { float_type, ..onnx::OnnxOptions::default() };
        files.push(written("x.onnx", |path| onnx::save(&model(), path, &options)));
    }
    files
}

fn array() -> Tensor {
    Tensor::new([2, 3], vec![0.5, -1.0, 2.0, 3.0, 4.0, 5.0]).expect("six numbers")
}

pub(crate) fn npy() -> Vec<Vec<u8>> {
    let header = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 1, 3), }\n";
    let older = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &[1; 12]].concat();
    vec![written("x.npy", |path| npy::save(path, &array())), older]
}

pub(crate) fn npz() -> Vec<Vec<u8>> {
    let ours = written("x.npz", |path| npy::save_npz(path, &[("x", &array()), ("y", &array())]));
    let deflated = npy().into_iter().zip(["a.npy", "b.npy"]).map(|(bytes, name)| (name, bytes)).collect::<Vec<_>>();
    vec![ours, archive(&deflated, CompressionMethod::Deflated)]
}

/// The network of the packs of [`cache_pack`].
pub(crate) const NETWORK: Digest = [7; 32];

/// Packs of the feature cache, named by the number of values of an entry and the number of photos.
const PACKS: [(usize, u8); 2] = [(2, 1), (24, 3)];

pub(crate) fn cache_pack() -> Vec<Vec<u8>> {
    let pack = |(length, photos): (usize, u8)| {
        let folder = tempfile::tempdir().expect("a folder");
        let features = FeatureCache::new(folder.path(), 1 << 20).open(NETWORK, "network", length);
        (0..photos).for_each(|photo| features.put(&[photo; 32], 0, &vec![f32::from(photo) + 0.5; length]));
        features.flush();
        let packs = pack_folder(folder.path()).read_dir().expect("a folder of the network");
        let mut packs = packs.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some());
        std::fs::read(packs.next().expect("a pack")).expect("the file exists")
    };
    PACKS.map(pack).to_vec()
}

/// The folder of the packs of [`NETWORK`] in the folder of a cache.
pub(crate) fn pack_folder(cache: &Path) -> PathBuf {
    cache.join(NETWORK.map(|byte| format!("{byte:02x}")).concat())
}

/// Small files of every format that `inspect` recognises.
pub(crate) fn every_format() -> Vec<Vec<u8>> {
    [keras, model_h5, weights_h5, safetensors, onnx, npy, npz].into_iter().flat_map(|files| files()).collect()
}

pub(crate) fn photo() -> Vec<Vec<u8>> {
    let names = [
        "orientation_6.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "exact_grey.jpg",
        "palette.png",
        "rgba.png",
        "grey16.png",
        "orientation_6.png",
        "animated.gif",
        "palette.bmp",
        "lossy.webp",
        "rgba.webp",
        "animated.webp",
        "orientation_6.webp",
        "orientation_6.tif",
        "lzw.tif",
        "deflate.tif",
        "packbits.tif",
        "rgba.tif",
    ];
    repository_files("crates/data/testdata", &names)
}

pub(crate) fn label_file() -> Vec<Vec<u8>> {
    let single = b"path,label\ngrey.jpg,grey\npalette.png,\"red, green\"\r\n";
    let several = b"\xEF\xBB\xBFgrey.jpg,a\ngrey.jpg,b\n./palette.png,\n\n..\\testdata\\photo.bmp,\"a \"\"b\"\"\"\n";
    vec![single.to_vec(), several.to_vec()]
}

pub(crate) fn class_names() -> Vec<Vec<u8>> {
    let texts = [
        "cat\nhot dog\n",
        "\u{feff}0 cat\r\n1 hot dog\r\n2 Ägypten\r\n",
        r#"["cat", "hot dog"]"#,
        r#"{"hot dog": 1, "cat": 0}"#,
        r#"{"1": "hot dog", "0": "cat", "2": "bird"}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Configs of models, as `model.to_json()` writes them: that of [`tiny_weights`], and one of a functional model.
pub(crate) fn architecture() -> Vec<Vec<u8>> {
    let tiny = r#"{"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 2]}},
        {"class_name": "Dense", "config": {"name": "top", "units": 1}}]}, "keras_version": "3.15.1"}"#;
    vec![tiny.as_bytes().to_vec(), keras_config().remove(0)]
}

/// The file of the weights of [`tiny`].
pub(crate) fn tiny_weights() -> &'static Path {
    static FOLDER: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiny.weights.h5");
        keras::save_weights(&tiny(), &path, FloatType::F32).expect("the file is written");
        (folder, path)
    });
    &FOLDER.1
}
