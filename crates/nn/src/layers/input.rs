//! `Input` and `InputLayer`: the inputs of models.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::config_of;
use crate::Shape;
use crate::graph::SymbolicTensor;
use crate::layer::{IntoLayer, Layer, LayerDef, LayerDefExt};
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

/// Creates symbolic inputs of models (Keras' `Input`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Input::new([256, 256, 3]).shape(), &[256, 256, 3]);
/// assert_eq!(Input::named("pixels", [256, 256, 3]).layer().name(), "pixels");
/// ```
pub struct Input;

impl Input {
    /// An input for samples of `shape`, without the batch axis.
    #[expect(clippy::new_ret_no_self, reason = "as in Keras, `Input` returns a tensor")]
    pub fn new(shape: impl Into<Shape>) -> SymbolicTensor {
        Self::from_layer(InputLayer::new(shape).into_layer())
    }

    /// An input with a name, for samples of `shape`, without the batch axis.
    pub fn named(name: impl Into<String>, shape: impl Into<Shape>) -> SymbolicTensor {
        Self::from_layer(InputLayer::new(shape).named(name))
    }

    fn from_layer(layer: Layer) -> SymbolicTensor {
        layer.call(&Vec::new()).expect("a new input layer has a supported shape and dtype")
    }
}

/// The layer that produces an [`Input`]'s tensor (Keras' `InputLayer`).
///
/// ```
/// use engraft_nn::layers::{Input, InputLayer};
/// assert_eq!(InputLayer::new([32, 32, 3]).shape()?, [32, 32, 3]);
/// let pixels = Input::named("pixels", [32, 32, 3]);
/// assert!(pixels.layer().def_as::<InputLayer>().is_some());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputLayer {
    #[serde(alias = "batch_input_shape")]
    batch_shape: Vec<Option<usize>>,
    #[serde(default = "float32")]
    dtype: String,
    #[serde(default)]
    sparse: bool,
    #[serde(default)]
    ragged: bool,
    #[serde(default)]
    optional: bool,
}

fn float32() -> String {
    "float32".into()
}

impl InputLayer {
    /// An input layer for samples of `shape`, without the batch axis.
    pub fn new(shape: impl Into<Shape>) -> Self {
        let batch_shape = std::iter::once(None).chain(shape.into().into_iter().map(Some)).collect();
        Self { batch_shape, dtype: float32(), sparse: false, ragged: false, optional: false }
    }

    /// Shape of one sample.
    ///
    /// # Errors
    /// A shape read from a file in which a size other than the batch is open (`null`).
    pub fn shape(&self) -> Result<Shape> {
        self.batch_shape.iter().skip(1).copied().collect::<Option<Shape>>().ok_or_else(|| {
            let received = serde_json::to_string(&self.batch_shape).unwrap_or_default();
            Error::new("batch_shape", "a size for every axis but the batch", received)
                .hint("build the model with a fixed input_shape")
        })
    }
}

impl LayerDef for InputLayer {
    fn class_name(&self) -> &'static str {
        "InputLayer"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, _: &[Shape]) -> Result<Shape> {
        if self.dtype != "float32" || self.sparse || self.ragged {
            return Err(Error::new("dtype", "dense float32", &self.dtype).with_kind(ErrorKind::Unsupported));
        }
        self.shape()
    }

    fn lower(&self, _: &mut Lowering<'_>, _: &[ValueId]) -> Result<ValueId> {
        Err(Error::because("input", "the caller feeds an input; no operation computes it"))
    }
}
