//! Element-wise functions, reductions and resizing, most of which have an equivalent layer.

use engraft_ir::Activation as Elementwise;
use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::options::single;
use super::super::{ELU, GlobalAveragePooling2D, GlobalMaxPooling2D, LeakyReLU, ReLU, Resizing, Softmax};
use super::arithmetic::NoOptions;
use super::{one_tensor, options};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// An element-wise function.
#[derive(Debug)]
struct Function(Elementwise);

impl LayerDef for Function {
    fn class_name(&self) -> &'static str {
        "Function"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if self.0 == Elementwise::Linear {
            return Ok(inputs[0]);
        }
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Activation(self.0), inputs, shape))
    }
}

fn function(config: &Map<String, Value>, arguments: &[Value], f: Elementwise) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    one_tensor(arguments)?;
    Ok(Box::new(Function(f)))
}

pub(super) fn relu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    function(config, arguments, Elementwise::Relu)
}

pub(super) fn relu6(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    function(config, arguments, Elementwise::Relu6)
}

pub(super) fn sigmoid(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    function(config, arguments, Elementwise::Sigmoid)
}

pub(super) fn silu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    function(config, arguments, Elementwise::Silu)
}

pub(super) fn tanh(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    function(config, arguments, Elementwise::Tanh)
}

pub(super) fn gelu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        approximate: bool,
    }
    let Options { approximate } = options(config)?;
    function(&Map::new(), arguments, Elementwise::Gelu { approximate })
}

/// A cast; only float32 is supported, which every tensor has already.
pub(super) fn cast(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        dtype: String,
    }
    let Options { dtype } = options(config)?;
    if dtype != "float32" {
        return Err(Error::new("dtype", "float32", dtype));
    }
    function(&Map::new(), arguments, Elementwise::Linear)
}

/// A layer that has the same config as the operation.
fn layer<D: LayerDef + serde::de::DeserializeOwned>(
    config: &Map<String, Value>,
    arguments: &[Value],
) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    Ok(Box::new(options::<D>(config)?))
}

pub(super) fn elu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<ELU>(config, arguments)
}

pub(super) fn leaky_relu(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<LeakyReLU>(config, arguments)
}

pub(super) fn relu_with_options(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<ReLU>(config, arguments)
}

pub(super) fn softmax(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    layer::<Softmax>(config, arguments)
}

/// Reads `keepdims` of a reduction, which must be over height and width.
fn keepdims(config: &Map<String, Value>, arguments: &[Value]) -> Result<bool> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis: Option<Vec<i64>>,
        keepdims: bool,
        #[serde(default)]
        initial: Value,
    }
    one_tensor(arguments)?;
    let Options { axis, keepdims, initial } = options(config)?;
    if !initial.is_null() {
        return Err(Error::new("initial", "none", initial));
    }
    match axis.as_deref() {
        Some([1, 2] | [2, 1] | [-3, -2] | [-2, -3]) => Ok(keepdims),
        other => Err(Error::new("axis", "height and width of images: [1, 2]", format_args!("{other:?}"))),
    }
}

pub(super) fn mean(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    Ok(Box::new(GlobalAveragePooling2D::new().keepdims(keepdims(config, arguments)?)))
}

pub(super) fn max(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    Ok(Box::new(GlobalMaxPooling2D::new().keepdims(keepdims(config, arguments)?)))
}

pub(super) fn resize(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    let mut config = config.clone();
    match config.remove("size").as_ref().and_then(Value::as_array).map(Vec::as_slice) {
        Some([height, width]) => {
            config.insert("height".into(), height.clone());
            config.insert("width".into(), width.clone());
        }
        _ => return Err(Error::new("size", "height and width", Value::Object(config))),
    }
    if config.get("data_format").is_some_and(Value::is_null) {
        config.remove("data_format");
    }
    Ok(Box::new(options::<Resizing>(&config)?))
}
