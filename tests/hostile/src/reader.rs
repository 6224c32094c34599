//! The readers under test, and the limits that they must keep.

use std::io::{Cursor, Seek, Write};
use std::path::Path;

use engraft::recipe::ClassNames;
use engraft_cache::FeatureCache;
use engraft_data::{ColorMode, PhotoFolder};
use engraft_formats::h5::H5File;
use engraft_formats::inspect::inspect;
use engraft_formats::keras::{self, LoadOptions, legacy};
use engraft_formats::safetensors::{Naming, SafetensorsFile};
use engraft_formats::{npy, onnx, safetensors};
use engraft_interpreter::OnnxModel;
use engraft_nn::{Layer, Model, Tensor};
use tempfile::{NamedTempFile, TempDir};

use crate::{peak, valid};

/// Maximum memory of a reader for a short file: readers have budgets of 64 MiB, and may have raw and converted values at once.
const MEMORY: u64 = 160 << 20;

/// Maximum length of an error message, in bytes, because messages are printed to terminals.
const MAX_MESSAGE: usize = 20_000;

/// A reader under test.
pub struct Reader {
    /// The name, which is also the name of the fuzzing target.
    pub name: &'static str,
    /// Small valid files.
    pub valid: fn() -> Vec<Vec<u8>>,
    read: fn(&[u8]) -> Result<(), String>,
}

/// All readers.
pub const READERS: [Reader; 14] = [
    Reader { name: "keras", valid: valid::keras, read: keras_model },
    Reader {
        name: "keras_config",
        valid: valid::keras_config,
        read: |config| keras_model(&valid::with_config(config)),
    },
    Reader { name: "model_h5", valid: valid::model_h5, read: keras_model },
    Reader { name: "weights_h5", valid: valid::weights_h5, read: weights_h5 },
    Reader { name: "safetensors", valid: valid::safetensors, read: tensors },
    Reader { name: "onnx", valid: valid::onnx, read: initializers },
    Reader { name: "npy", valid: valid::npy, read: |bytes| npy::read(bytes).map(drop).map_err(text) },
    Reader { name: "npz", valid: valid::npz, read: |bytes| npy::read_npz(file(bytes)).map(drop).map_err(text) },
    Reader { name: "photo", valid: valid::photo, read: photo },
    Reader { name: "cache_pack", valid: valid::cache_pack, read: |bytes| cached_photos(bytes).map(drop) },
    Reader { name: "label_file", valid: valid::label_file, read: label_file },
    Reader { name: "class_names", valid: valid::class_names, read: class_names },
    Reader { name: "architecture", valid: valid::architecture, read: architecture },
    Reader {
        name: "inspect",
        valid: valid::every_format,
        read: |bytes| at_a_path(bytes, inspect).map(drop).map_err(text),
    },
];

/// The reader of this name.
///
/// # Panics
/// No reader has this name.
#[must_use]
pub fn reader(name: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.name == name).expect("a reader's name")
}

impl Reader {
    /// Gives `bytes` to the reader and returns whether it accepted them.
    ///
    /// # Panics
    /// The reader panicked, took too much time or memory, or its error message is empty, too long or has control characters.
    pub fn check(&self, bytes: &[u8]) -> bool {
        let (outcome, memory) = peak(|| (self.read)(bytes));
        assert!(memory <= MEMORY, "{} allocated {memory} bytes for a file of {}", self.name, bytes.len());
        if let Err(message) = &outcome {
            assert!(!message.is_empty() && message.len() <= MAX_MESSAGE, "{}: {message}", self.name);
            assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{}: {message:?}", self.name);
        }
        outcome.is_ok()
    }
}

fn file(bytes: &[u8]) -> Cursor<Vec<u8>> {
    Cursor::new(bytes.to_vec())
}

/// Reads class names as JSON if the text starts as JSON does, else as lines.
fn class_names(bytes: &[u8]) -> Result<(), String> {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("the temporary folder is writable");
    }
    let is_json = bytes.starts_with(b"[") || bytes.starts_with(b"{");
    let found = FOLDER.with(|folder| {
        let path = folder.path().join(if is_json { "class_names.json" } else { "labels.txt" });
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        ClassNames::read(&path).map_err(text)
    })?;
    assert!(!found.names.is_empty() && found.names.iter().all(|name| !name.is_empty()));
    Ok(())
}

/// Reads the layers of a model from JSON, and its weights from the files that [`valid::architecture`] fits.
fn architecture(bytes: &[u8]) -> Result<(), String> {
    let load = |weights: &Path| {
        at_a_path(bytes, |json| keras::load_architecture(json, weights, &LoadOptions::new())).map(drop).map_err(text)
    };
    let functional = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models/functional.weights.h5");
    load(valid::tiny_weights()).or_else(|error| load(&functional).map_err(|_| error))
}

/// Calls a reader that takes a path. All calls of a thread reuse one file, because creating files is slow.
fn at_a_path<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: NamedTempFile = NamedTempFile::new().expect("the temporary folder is writable");
    }
    FILE.with(|file| {
        let mut open = file.as_file();
        let written =
            open.rewind().and_then(|()| open.write_all(bytes)).and_then(|()| open.set_len(bytes.len() as u64));
        written.expect("the temporary folder is writable");
        read(file.path())
    })
}

/// The error message that a program prints.
fn text(error: impl std::fmt::Display) -> String {
    engraft_nn::Error::because("file", error).to_string()
}

fn keras_model(bytes: &[u8]) -> Result<(), String> {
    keras::read(file(bytes)).map(drop).map_err(text)
}

thread_local! {
    /// Models into which weights are read; built once per thread.
    static TARGETS: Targets = Targets {
        model: valid::model(),
        tiny: valid::tiny(),
        torchvision: valid::torchvision_model(),
        of_keras_2: valid::of_keras_2(),
    };
}

struct Targets {
    model: Model,
    tiny: Model,
    torchvision: Model,
    of_keras_2: Vec<Model>,
}

/// Calls `read` for each model until it succeeds. If all calls fail, returns the error of the first.
fn first<'m, T>(
    models: impl IntoIterator<Item = &'m Model>,
    read: impl Fn(&Model) -> Result<T, String>,
) -> Result<T, String> {
    let mut outcomes = models.into_iter().map(read);
    let first = outcomes.next().expect("there are models");
    first.or_else(|error| outcomes.find_map(Result::ok).ok_or(error))
}

/// Reads everything in an HDF5 file, then loads its weights into models, by order and by name.
fn weights_h5(bytes: &[u8]) -> Result<(), String> {
    let opened = H5File::from_bytes(bytes.to_vec()).map_err(text)?;
    walk(&opened, "", &mut 200)?;
    let is_legacy = opened.attr_strings("", "layer_names").map_err(text)?.is_some();
    TARGETS.with(|Targets { model, tiny, of_keras_2, .. }| {
        at_a_path(bytes, |path| {
            let by_name = if is_legacy { legacy::load_weights_by_name } else { keras::load_weights_by_name };
            let all: Vec<Layer> = [model, tiny].into_iter().chain(of_keras_2).flat_map(Model::layers).collect();
            let named = by_name(path, &all).map(drop).map_err(text);
            let ordered = match is_legacy {
                true => first([model].into_iter().chain(of_keras_2), |model| {
                    legacy::load_weights(path, &model.layers()).map_err(text)
                }),
                false => first([model, tiny], |model| keras::load_weights(path, model).map_err(text)),
            };
            ordered.or(named)
        })
    })
}

fn walk(file: &H5File, group: &str, left: &mut usize) -> Result<(), String> {
    file.attr_string(group, "name").map_err(text)?;
    file.attr_strings(group, "layer_names").map_err(text)?;
    for child in file.children(group).map_err(text)? {
        let Some(fewer) = left.checked_sub(1) else { return Ok(()) };
        *left = fewer;
        let path = format!("{group}/{}", child.name);
        if child.is_group {
            walk(file, &path, left)?;
        } else {
            // Errors are ignored: a dataset may have a type that isn't supported.
            let _ = file.read_i64(&path);
            let _ = file.read_f32(&path);
        }
    }
    Ok(())
}

fn tensors(bytes: &[u8]) -> Result<(), String> {
    let mut opened = SafetensorsFile::new(file(bytes)).map_err(text)?;
    for tensor in opened.tensors() {
        opened.read_f32(&tensor.name).map_err(text)?;
    }
    let read = |model: &Model, naming| safetensors::read_weights(file(bytes), &model.layers(), naming).map_err(text);
    let outcomes = TARGETS.with(|to| [read(&to.model, Naming::Keras), read(&to.torchvision, Naming::Torchvision)]);
    let [keras, torchvision] = outcomes;
    keras.or(torchvision).map(drop)
}

/// Maximum number of values in a running graph: enough for the valid files, and far below what a mutated graph may request.
const MAX_VALUES: usize = 1 << 14;

fn initializers(bytes: &[u8]) -> Result<(), String> {
    if let Ok(graph) = OnnxModel::from_bytes(bytes) {
        let _ = graph.with_limit(MAX_VALUES).run(&[&Tensor::zeros([1, 6, 6, 2])]);
    }
    onnx::initializers_from_bytes(bytes).map_err(text)?;
    TARGETS.with(|to| onnx::load_weights_from_bytes(bytes, &to.model)).map_err(text)
}

fn photo(bytes: &[u8]) -> Result<(), String> {
    let pixels = engraft_data::decode_bytes(bytes, "photo").map_err(text)?;
    assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
    // A photo is decoded in every mode or in none.
    let rgba = ColorMode::Rgba.load_bytes(bytes, "photo", [2, 3]).map_err(text)?;
    assert_eq!(rgba.len(), 2 * 3 * 4);
    Ok(())
}

/// Number of values of the entries that are read from a pack: those of the packs of [`valid::cache_pack`], and others.
const LENGTHS: [usize; 4] = [0, 1, 2, 24];

/// Reads everything in a pack of the feature cache: the photo and the values of each entry that is intact.
///
/// # Errors
/// The pack counts as missing: it has no photo.
pub fn cached_photos(bytes: &[u8]) -> Result<Vec<(u8, Vec<f32>)>, String> {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("the temporary folder is writable");
    }
    FOLDER.with(|folder| {
        let packs = valid::pack_folder(folder.path());
        std::fs::create_dir_all(&packs).expect("the temporary folder is writable");
        std::fs::write(packs.join("x.pack"), bytes).expect("the temporary folder is writable");
        let cache = FeatureCache::new(folder.path(), 1 << 20);
        let photos: usize = cache.list().map_err(text)?.networks.iter().map(|network| network.photos).sum();
        let mut found = Vec::new();
        for length in LENGTHS {
            let features = cache.open(valid::NETWORK, "network", length);
            for photo in 0..=u8::MAX {
                let mut values = vec![0.0; length];
                if features.contains(&[photo; 32], 0) && features.get(&[photo; 32], 0, &mut values) {
                    found.push((photo, values));
                }
            }
        }
        if photos == 0 { Err("no photo in the pack".to_owned()) } else { Ok(found) }
    })
}

/// Reads labels of the photos among the test files of `engraft-data`, without opening the photos' contents as images.
fn label_file(bytes: &[u8]) -> Result<(), String> {
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/data/testdata");
    let scan = |labels: &Path| PhotoFolder::scan_labels(&photos, labels, None, &|_| true, &mut |_, _| {});
    let folder = at_a_path(bytes, scan).map_err(text)?;
    assert!(folder.photos.iter().flat_map(|photo| &photo.labels).all(|label| *label < folder.classes.len()));
    Ok(())
}
