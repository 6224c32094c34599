//! `Input` and `InputLayer`: the inputs of models.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::config_of;
use crate::Shape;
use crate::graph::SymbolicTensor;
use crate::layer::{IntoLayer, Layer};
use crate::layer_def::{LayerDef, LayerDefExt};
use crate::lowering::Lowering;
use crate::{DType, Error, ErrorKind, Result};

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

    /// The input of a layer of open size, such as one of a file, for samples of this shape.
    ///
    /// ```
    /// use engraft_nn::{prelude::*, layers::from_config};
    /// let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
    /// let photo = from_config("InputLayer", config.as_object().unwrap().clone())?;
    /// assert_eq!(Input::of(&photo, vec![64, 96, 3])?.shape(), &[64, 96, 3]);
    /// assert!(Input::of(&photo, vec![64, 96, 1]).is_err(), "the number of channels is fixed");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A layer that isn't an [`InputLayer`], or a shape that differs in an axis that isn't open.
    pub fn of(layer: &Layer, shape: Shape) -> Result<SymbolicTensor> {
        if layer.def_as::<InputLayer>().is_none() {
            return Err(Error::new("input", "an InputLayer", layer.class_name()));
        }
        layer.build(std::slice::from_ref(&shape))?;
        Ok(SymbolicTensor::of_input(layer, shape))
    }

    fn from_layer(layer: Layer) -> SymbolicTensor {
        layer.call(&Vec::new()).expect("a new input layer has a supported shape and dtype")
    }
}

/// The dtypes of inputs. Values are f32 here, which holds the values 0 to 255 of pixels of every dtype exactly.
const DTYPES: [&str; 12] = [
    "float32", "float16", "bfloat16", "float64", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32",
    "int64",
];

/// The layer that produces an [`Input`]'s tensor (Keras' `InputLayer`).
///
/// The dtype is kept for files of Keras. Values are f32 here.
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

    /// The axes of a sample whose size is open (`null` in a file), counted without the batch.
    ///
    /// ```
    /// use engraft_nn::layers::InputLayer;
    /// assert!(InputLayer::new([32, 32, 3]).open_axes().is_empty());
    /// ```
    pub fn open_axes(&self) -> Vec<usize> {
        let sizes = self.batch_shape.iter().skip(1).enumerate();
        sizes.filter(|(_, size)| size.is_none()).map(|(axis, _)| axis).collect()
    }

    /// Whether samples may have this shape: the declared sizes, and any size for an open axis.
    pub(crate) fn allows(&self, shape: &[usize]) -> bool {
        let declared = self.batch_shape.iter().skip(1);
        declared.len() == shape.len()
            && declared.zip(shape).all(|(declared, size)| declared.is_none_or(|declared| declared == *size))
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

    /// The declared shape, or the shape in `inputs`, if there is one, with a size for every open axis.
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if !DTYPES.contains(&&*self.dtype) || self.sparse || self.ragged {
            return Err(
                Error::new("dtype", "dense numbers such as float32", &self.dtype).with_kind(ErrorKind::Unsupported)
            );
        }
        match inputs {
            [] => self.shape(),
            [shape] if self.allows(shape) => Ok(shape.clone()),
            other => {
                let expected = serde_json::to_string(&self.batch_shape).unwrap_or_default();
                Err(Error::new("batch_shape", expected, format_args!("{other:?}")))
            }
        }
    }

    fn output_dtype(&self, _: &[DType]) -> Result<DType> {
        Ok(DType::parse(&self.dtype).unwrap_or(DType::Float))
    }

    fn lower(&self, _: &mut Lowering<'_>, _: &[ValueId]) -> Result<ValueId> {
        Err(Error::because("input", "the caller feeds an input; no operation computes it"))
    }
}
