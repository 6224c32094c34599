//! Files and folders of other programs that aren't models here, recognised by their content.
//!
//! Readers refuse them with what they are and how to get from there to a file that opens.
//!
//! ```
//! use engraft_formats::{foreign, keras};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.keras");
//! std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")?;
//! let error = keras::load(&path).unwrap_err();
//! assert!(error.to_string().contains("received a Git LFS pointer, which stands for a file stored elsewhere"));
//! assert!(error.to_string().contains("git lfs pull"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod folder;
mod signature;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use engraft_nn::{Error, ErrorKind};

/// Bytes from the start of a file by which it is recognised.
const START: u64 = 4 << 10;

/// A kind of file or folder that isn't a model here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A file without a byte.
    Empty,
    /// The text that Git stores in place of a large file.
    GitLfsPointer,
    /// A page of a web site, saved in place of the file that it links to.
    WebPage,
    /// A gzip or tar archive.
    TarArchive,
    /// The layers of a Keras model as JSON (`model.to_json()`), without weights.
    ArchitectureJson,
    /// A folder or `saved_model.pb` of TensorFlow. `of_keras_2`: Keras 2 saved it, with its layers.
    SavedModel {
        /// Whether the folder has the layers, which Keras 2 writes and `model.export` of Keras 3 doesn't.
        of_keras_2: bool,
    },
    /// A checkpoint of TensorFlow: values without layers.
    TensorFlowCheckpoint,
    /// A frozen graph of TensorFlow (`.pb`).
    TensorFlowGraph,
    /// A model of TensorFlow Lite (`.tflite`).
    TensorFlowLite,
    /// A model of TensorFlow.js: its `model.json`, or the folder that holds it.
    TensorFlowJs,
    /// Weights or a model of PyTorch (`.pt`, `.pth`): an archive with a pickle.
    PyTorch,
    /// An ONNX model.
    Onnx,
    /// Weights in a `.safetensors` file.
    Safetensors,
    /// A folder of the library `transformers` of Hugging Face.
    Transformers,
    /// A folder that holds a model file of this name.
    FolderWithModel(String),
    /// Any other folder.
    Folder,
}

impl Foreign {
    /// The kind of the file or folder at `path`; `None` for a model, for any other kind of file, and for what can't be read.
    ///
    /// Looks at the first 4 KiB of a file and at the names in a folder. A checkpoint of TensorFlow has its name alone.
    ///
    /// ```
    /// use engraft_formats::foreign::Foreign;
    /// let folder = tempfile::tempdir()?;
    /// assert_eq!(Foreign::of(folder.path()), Some(Foreign::Folder));
    /// std::fs::write(folder.path().join("saved_model.pb"), b"\x08\x01\x12\x80\x01\x0a")?;
    /// assert_eq!(Foreign::of(folder.path()), Some(Foreign::SavedModel { of_keras_2: false }));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        if metadata.is_dir() {
            return folder::kind(path);
        }
        // Opening a pipe would wait for a writer.
        if !metadata.is_file() {
            return None;
        }
        if folder::is_of_checkpoint(path) {
            return Some(Self::TensorFlowCheckpoint);
        }
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(START).read_to_end(&mut start)).ok()?;
        match signature::kind(&start)? {
            kind @ Self::SavedModel { .. } => path.parent().and_then(folder::saved_model).or(Some(kind)),
            kind => Some(kind),
        }
    }

    /// How to get from such a file to one that opens, in words.
    ///
    /// ```
    /// use engraft_formats::foreign::Foreign;
    /// assert!(Foreign::TensorFlowLite.hint().contains("`model.save('model.keras')`"));
    /// ```
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Empty => "the download or the copy stopped: get the file again",
            Self::GitLfsPointer => "fetch the file itself: in the repository, run `git lfs install` and `git lfs pull`",
            Self::WebPage => {
                "download the file itself: on GitHub with the button `Download raw file`, on Hugging Face with `resolve` in \
                 place of `blob` in the address"
            }
            Self::TarArchive => "unpack it with `tar xf`, and give the model in it",
            Self::ArchitectureJson => {
                "give the weights, too: `engraft predict model.weights.h5 photo.jpg --architecture model.json`; or \
                 in Python: model = keras.models.model_from_json(open('model.json').read()), \
                 model.load_weights('model.weights.h5'), model.save('model.keras')"
            }
            Self::SavedModel { of_keras_2: true } => {
                "in Python, with `pip install tf_keras`: tf_keras.models.load_model('FOLDER').save('model.h5')"
            }
            Self::SavedModel { of_keras_2: false } => {
                "it holds the computation without the layers, which keras.layers.TFSMLayer alone can run: where the model was \
                 exported, save it with `model.save('model.keras')`"
            }
            Self::TensorFlowCheckpoint => {
                "in Python, build the model from its code, call model.load_weights with this checkpoint, then \
                 `model.save('model.keras')`"
            }
            Self::TensorFlowJs => {
                "if its format is layers-model, convert it, with `pip install tensorflowjs`: tensorflowjs_converter \
                 --input_format tfjs_layers_model --output_format keras model.json model.h5; a graph-model has no layers"
            }
            Self::TensorFlowGraph | Self::TensorFlowLite | Self::Onnx => {
                "it holds the computation without the layers: save the model that it was converted from, in Python with \
                 `model.save('model.keras')`"
            }
            Self::PyTorch => {
                "its pickle is never read, since reading one runs code; weights of torchvision become .safetensors in Python: \
                 import torch, safetensors.torch as s; s.save_file(torch.load('model.pth', weights_only=True), \
                 'model.safetensors'), which `engraft train --weights model.safetensors` takes for VGG16"
            }
            Self::Safetensors => {
                "it holds weights without layers: load them into the model's code in Python, then `model.save('model.keras')`"
            }
            Self::Transformers => {
                "models of transformers have layers of their own; give a model of Keras, saved with `model.save('model.keras')`"
            }
            Self::FolderWithModel(name) => return format!("give the file in it: {name}"),
            Self::Folder => "give a model file, such as the model.keras that `engraft train` wrote",
        };
        text.to_owned()
    }

    /// The error that refuses the file or folder at `path`, where `expected` was expected.
    ///
    /// ```
    /// use engraft_formats::foreign::Foreign;
    /// let error = Foreign::Onnx.error("m.onnx".as_ref(), "a .keras file");
    /// assert!(error.to_string().starts_with("m.onnx: expected a .keras file, received an ONNX model"));
    /// ```
    pub fn error(&self, path: &Path, expected: &str) -> Error {
        let kind = match self {
            Self::Empty | Self::GitLfsPointer | Self::WebPage => ErrorKind::InvalidData,
            Self::Folder | Self::FolderWithModel(_) => ErrorKind::InvalidArgument,
            _ => ErrorKind::Unsupported,
        };
        Error::new(path.display(), expected, self).with_kind(kind).hint(self.hint())
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::GitLfsPointer => "a Git LFS pointer, which stands for a file stored elsewhere",
            Self::WebPage => "a web page",
            Self::TarArchive => "a tar or gzip archive",
            Self::ArchitectureJson => "the layers of a Keras model without weights (JSON)",
            Self::SavedModel { of_keras_2: true } => "a SavedModel of TensorFlow, saved by Keras 2",
            Self::SavedModel { of_keras_2: false } => "a SavedModel of TensorFlow",
            Self::TensorFlowCheckpoint => "a checkpoint of TensorFlow",
            Self::TensorFlowGraph => "a frozen graph of TensorFlow (.pb)",
            Self::TensorFlowLite => "a TensorFlow Lite model (.tflite)",
            Self::TensorFlowJs => "a TensorFlow.js model",
            Self::PyTorch => "a file of PyTorch (.pt, .pth)",
            Self::Onnx => "an ONNX model",
            Self::Safetensors => "a .safetensors file",
            Self::Transformers => "a model folder of Hugging Face transformers",
            Self::FolderWithModel(_) | Self::Folder => "a folder",
        })
    }
}
