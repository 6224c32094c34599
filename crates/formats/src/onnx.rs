//! ONNX: exports models for onnxruntime and other programs, and reads graphs and weights of any ONNX file.
//!
//! [`save`] writes the forward pass of a model in inference mode, with its preprocessing layers. The exported graph takes the
//! same inputs as the model, for any batch size; images are `[batch, height, width, channels]`. Nested models are inlined;
//! augmentation and dropout are left out.
//!
//! [`Graph`] reads the operators and constants of a file, [`initializers`] its weights, and [`load_weights`] loads the weights
//! into a model. Graphs are not run here: `engraft_interpreter::OnnxModel` does that.
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
mod conv_kernel;
mod decode;
mod encode;
mod error;
mod graph_builder;
mod initializer_reader;
mod initializer_writer;
mod limits;
mod load;
mod messages;
mod normalization;
mod operation;
mod parsed_graph;
mod protobuf;
mod raw_initializer;
mod save;
mod tensor_operation;

pub(crate) use self::decode::decode_model;
pub use self::error::OnnxError;
pub(crate) use self::initializer_reader::read_file;
pub use self::initializer_reader::{Initializer, initializers, initializers_from_bytes};
pub use self::load::{load_weights, load_weights_from_bytes};
pub use self::parsed_graph::{Attribute, AttributeValue, ConstantValue, Dimension, Graph, GraphNode, GraphValue};
pub(crate) use self::raw_initializer::{RawInitializer, raw_initializers};
pub use self::save::{OPSET, OnnxOptions, save};
