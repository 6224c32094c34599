//! ONNX: whole models written for onnxruntime and others, weights read out of any graph.
//!
//! [`save`] writes what a model computes when it predicts, preprocessing included: raw pixels go in
//! as `[batch, height, width, channels]`, with a batch of any size. Nested models are written out,
//! augmentation and dropout left out. [`Graph`] is what a file declares. [`initializers`] reads the weights of
//! any graph, [`load_weights`] brings them into a model.
//!
//! ```
//! use engraft_formats::onnx::{self, OnnxOptions};
//! use engraft_nn::prelude::*;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flowers.onnx");
//! let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax)).build()?;
//! let names = ["daisy".to_owned(), "tulip".to_owned()];
//! onnx::save(&model, &path, &OnnxOptions { class_names: &names, ..OnnxOptions::default() })?;
//!
//! let kernel = &onnx::initializers(&path)?[0];
//! assert_eq!((&kernel.shape[..], &kernel.values), (&[4, 2][..], &*model.weights()[0].values()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod constant;
mod file;
mod graph;
mod kernel;
mod load;
mod model;
mod operation;
mod parsed;
mod proto;
mod read;
mod save;
mod stored;
mod wire;

pub use self::load::{load_weights, load_weights_from_bytes};
pub(crate) use self::model::model;
pub use self::parsed::{Attribute, AttributeValue, ConstantValue, Dimension, Graph, GraphNode, GraphValue};
pub(crate) use self::read::read_file;
pub use self::read::{Initializer, OnnxError, initializers, initializers_from_bytes};
pub use self::save::{OPSET, OnnxOptions, save};
pub(crate) use self::stored::{Stored, stored};

/// A protobuf message, and so a model that isn't split over several files, is below 2 GiB.
const MAX_FILE_LEN: u64 = 1 << 31;
