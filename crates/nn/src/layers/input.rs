//! Where a model begins.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::config_of;
use crate::Shape;
use crate::graph::SymbolicTensor;
use crate::layer::{IntoLayer, Layer, LayerDef, LayerDefExt};
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

/// A symbolic input (Keras' `Input`), of one sample's shape.
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Input::new([256, 256, 3]).shape(), &[256, 256, 3]);
/// ```
pub struct Input;

impl Input {
    /// An input for samples of `shape`, the batch axis left out.
    #[expect(clippy::new_ret_no_self, reason = "Keras' Input is a function, too: it gives a tensor")]
    pub fn new(shape: impl Into<Shape>) -> SymbolicTensor {
        Self::from_layer(InputLayer::new(shape).into_layer())
    }

    /// Like [`new`](Self::new), called `name`.
    pub fn named(name: impl Into<String>, shape: impl Into<Shape>) -> SymbolicTensor {
        Self::from_layer(InputLayer::new(shape).named(name))
    }

    fn from_layer(layer: Layer) -> SymbolicTensor {
        layer.call(&Vec::new()).expect("an input needs nothing that could be missing")
    }
}

/// The layer behind an [`Input`].
///
/// ```
/// use engraft_nn::layers::{Input, InputLayer};
/// let pixels = Input::named("pixels", [32, 32, 3]);
/// let layer = pixels.layer().def_as::<InputLayer>().expect("the layer of an input");
/// assert_eq!(layer.shape()?, [32, 32, 3]);
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
    /// For samples of `shape`.
    pub fn new(shape: impl Into<Shape>) -> Self {
        let batch_shape = std::iter::once(None).chain(shape.into().into_iter().map(Some)).collect();
        Self { batch_shape, dtype: float32(), sparse: false, ragged: false, optional: false }
    }

    /// The sample's shape; an error for a shape with an open size.
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
        Err(Error::because("input", "an input is fed, not computed"))
    }
}
