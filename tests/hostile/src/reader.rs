//! What each reader is given, and what it must keep.

use std::io::Cursor;

use engraft_formats::h5::H5File;
use engraft_formats::safetensors::{Naming, SafetensorsFile};
use engraft_formats::{keras, npy, onnx, safetensors};
use engraft_nn::Model;

use crate::valid;

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
pub const READERS: [Reader; 9] = [
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
    /// The reader panicked, held too much memory, or refused without a word or with too many.
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

/// What `read` gives, and the most bytes that it held at a time on this thread. No single allocation was larger.
pub fn peak<T>(read: impl FnOnce() -> T) -> (T, u64) {
    let mut value = None;
    let counted = allocation_counter::measure(|| value = Some(read()));
    (value.expect("it was called"), counted.bytes_max)
}

fn file(bytes: &[u8]) -> Cursor<Vec<u8>> {
    Cursor::new(bytes.to_vec())
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
    static TARGETS: [Model; 2] = [valid::model(), valid::tiny()];
}

fn target() -> Model {
    TARGETS.with(|[model, _]| model.clone())
}

/// Everything there is in an HDF5 file, then its weights into a model.
fn weights_h5(bytes: &[u8]) -> Result<(), String> {
    let opened = H5File::from_bytes(bytes.to_vec()).map_err(text)?;
    walk(&opened, "", &mut 200)?;
    TARGETS.with(|targets| {
        let mut outcomes = targets.iter().map(|target| keras::read_weights(file(bytes), target));
        outcomes.find(Result::is_ok).unwrap_or_else(|| keras::read_weights(file(bytes), &targets[0])).map_err(text)
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
    safetensors::read_weights(file(bytes), &target().layers(), Naming::Keras).map(drop).map_err(text)
}

fn initializers(bytes: &[u8]) -> Result<(), String> {
    let _ = onnx::OnnxModel::from_bytes(bytes);
    onnx::initializers_from_bytes(bytes).map_err(text)?;
    onnx::load_weights_from_bytes(bytes, &target()).map_err(text)
}

fn photo(bytes: &[u8]) -> Result<(), String> {
    let pixels = engraft_data::decode_bytes(bytes, "photo").map_err(text)?;
    assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
    Ok(())
}
