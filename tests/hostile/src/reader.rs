//! What each reader is given, and what it must keep.

use std::io::{Cursor, Seek, Write};
use std::path::Path;

use engraft_formats::h5::H5File;
use engraft_formats::inspect::inspect;
use engraft_formats::keras::{self, legacy};
use engraft_formats::safetensors::{Naming, SafetensorsFile};
use engraft_formats::{npy, onnx, safetensors};
use engraft_interpreter::OnnxModel;
use engraft_nn::{Layer, Model, Tensor};
use tempfile::NamedTempFile;

use crate::{peak, valid};

/// Bytes that a reader may hold for a short file: what budgets of 64 MiB come to when stored and read values are both
/// held.
const MEMORY: u64 = 160 << 20;

/// What a message may say of a file. It goes to a terminal.
const MAX_MESSAGE: usize = 20_000;

/// One of the readers.
pub struct Reader {
    /// Its name: that of its fuzzing target.
    pub name: &'static str,
    /// Valid files, small ones.
    pub valid: fn() -> Vec<Vec<u8>>,
    read: fn(&[u8]) -> Result<(), String>,
}

/// All readers.
pub const READERS: [Reader; 10] = [
    Reader { name: "keras", valid: valid::keras, read: whole_model },
    Reader {
        name: "keras_config",
        valid: valid::keras_config,
        read: |config| whole_model(&valid::with_config(config)),
    },
    Reader { name: "model_h5", valid: valid::model_h5, read: whole_model },
    Reader { name: "weights_h5", valid: valid::weights_h5, read: weights_h5 },
    Reader { name: "safetensors", valid: valid::safetensors, read: tensors },
    Reader { name: "onnx", valid: valid::onnx, read: initializers },
    Reader { name: "npy", valid: valid::npy, read: |bytes| npy::read(bytes).map(drop).map_err(text) },
    Reader { name: "npz", valid: valid::npz, read: |bytes| npy::read_npz(file(bytes)).map(drop).map_err(text) },
    Reader { name: "photo", valid: valid::photo, read: photo },
    Reader {
        name: "inspect",
        valid: valid::every_format,
        read: |bytes| at_a_path(bytes, inspect).map(drop).map_err(text),
    },
];

/// The reader of this name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn reader(name: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.name == name).expect("a reader's name")
}

impl Reader {
    /// Gives `bytes` to the reader, and tells whether it took them.
    ///
    /// # Panics
    /// The reader panicked, took too long, held too much memory, or refused without a word or with too many.
    pub fn check(&self, bytes: &[u8]) -> bool {
        let (outcome, memory) = peak(|| (self.read)(bytes));
        assert!(memory <= MEMORY, "{} held {memory} bytes for a file of {}", self.name, bytes.len());
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

/// For a reader that opens its file itself. It is one file that changes: to cut one to nothing and close it, as writing
/// anew does, waits for the disk.
fn at_a_path<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: NamedTempFile = NamedTempFile::new().expect("room for a file");
    }
    FILE.with(|file| {
        let mut open = file.as_file();
        let written =
            open.rewind().and_then(|()| open.write_all(bytes)).and_then(|()| open.set_len(bytes.len() as u64));
        written.expect("room for a file");
        read(file.path())
    })
}

/// As a program shows it.
fn text(error: impl std::fmt::Display) -> String {
    engraft_nn::Error::because("file", error).to_string()
}

fn whole_model(bytes: &[u8]) -> Result<(), String> {
    keras::read(file(bytes)).map(drop).map_err(text)
}

thread_local! {
    /// Models into which weights are read; made once.
    static TARGETS: Targets = Targets {
        model: valid::model(),
        tiny: valid::tiny(),
        photos: valid::photos(),
        of_keras_2: valid::of_keras_2(),
    };
}

struct Targets {
    model: Model,
    tiny: Model,
    photos: Model,
    of_keras_2: Vec<Model>,
}

/// What `read` gives for the first of these models that it takes, or else for the first of all.
fn first<'m, T>(
    models: impl IntoIterator<Item = &'m Model>,
    read: impl Fn(&Model) -> Result<T, String>,
) -> Result<T, String> {
    let mut outcomes = models.into_iter().map(read);
    let first = outcomes.next().expect("there are models");
    first.or_else(|error| outcomes.find_map(Result::ok).ok_or(error))
}

/// Everything there is in an HDF5 file, then its weights into models, by order and by names.
fn weights_h5(bytes: &[u8]) -> Result<(), String> {
    let opened = H5File::from_bytes(bytes.to_vec()).map_err(text)?;
    walk(&opened, "", &mut 200)?;
    let listed = opened.attr_strings("", "layer_names").map_err(text)?.is_some();
    TARGETS.with(|Targets { model, tiny, of_keras_2, .. }| {
        at_a_path(bytes, |path| {
            let by_name = if listed { legacy::load_weights_by_name } else { keras::load_weights_by_name };
            let all: Vec<Layer> = [model, tiny].into_iter().chain(of_keras_2).flat_map(Model::layers).collect();
            let named = by_name(path, &all).map(drop).map_err(text);
            let ordered = match listed {
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
            // What is no array of numbers is told apart from what is damaged by its type alone.
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
    let outcomes = TARGETS.with(|to| [read(&to.model, Naming::Keras), read(&to.photos, Naming::Torchvision)]);
    let [keras, torchvision] = outcomes;
    keras.or(torchvision).map(drop)
}

/// Values that a graph may hold while it runs: more than those here do, and fewer than a graph can ask for.
const VALUES: usize = 1 << 14;

fn initializers(bytes: &[u8]) -> Result<(), String> {
    if let Ok(graph) = OnnxModel::from_bytes(bytes) {
        let _ = graph.with_limit(VALUES).run(&[&Tensor::zeros([1, 6, 6, 2])]);
    }
    onnx::initializers_from_bytes(bytes).map_err(text)?;
    TARGETS.with(|to| onnx::load_weights_from_bytes(bytes, &to.model)).map_err(text)
}

fn photo(bytes: &[u8]) -> Result<(), String> {
    let pixels = engraft_data::decode_bytes(bytes, "photo").map_err(text)?;
    assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
    Ok(())
}
