//! [`Graph`]: a parsed ONNX file as plain values, for programs that run or inspect it.
//!
//! The graph that [`save`](fn@super::save) builds is another type, [`GraphBuilder`](super::graph_builder::GraphBuilder).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use engraft_nn::{Error, ErrorKind, Result, Tensor};

use super::decode::{decode_graph, decode_model};
use super::error::OnnxError;
use super::initializer_reader::read_file;
use super::messages::{AttributeProto, AttributeType, Dimension as DimensionProto, NodeProto, Size, ValueInfoProto};
use super::raw_initializer::{RawInitializer, raw_initializers};
use crate::error::{at, within_file};

/// A parsed ONNX file: its operators, the tensors that connect them, and its constants.
///
/// ```
/// use engraft_formats::onnx::{self, ConstantValue, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("sum.onnx");
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1).named("sum")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
///
/// let graph = Graph::load(&path)?;
/// assert_eq!((graph.nodes[0].op_type.as_str(), graph.nodes[0].inputs[1].as_str()), ("Gemm", "sum/kernel"));
/// assert!(matches!(&graph.constants["sum/kernel"], ConstantValue::Floats(kernel) if kernel.shape() == [2, 1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Operator sets as pairs of domain and version. The empty domain is ONNX' own.
    pub opsets: Vec<(String, i64)>,
    /// Metadata entries by key.
    pub metadata: BTreeMap<String, String>,
    /// Inputs in the graph's order.
    pub inputs: Vec<GraphValue>,
    /// Outputs in the graph's order.
    pub outputs: Vec<GraphValue>,
    /// Operators in the graph's order. ONNX requires that each comes after those that it depends on; this is not checked here.
    pub nodes: Vec<GraphNode>,
    /// Initializers by name.
    pub constants: HashMap<String, ConstantValue>,
}

/// An operator of a graph.
///
/// ```
/// use engraft_formats::onnx::{self, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let node = &Graph::load(&path)?.nodes[0];
/// assert_eq!((node.op_type.as_str(), node.domain.as_str()), ("Gemm", ""));
/// assert_eq!(node.inputs[1..], ["top/kernel", "top/bias"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphNode {
    /// Its name, which may be empty.
    pub name: String,
    /// The operator's type, such as `Conv`.
    pub op_type: String,
    /// The domain of the operator's set. The empty domain is ONNX' own.
    pub domain: String,
    /// Names of its input tensors. An omitted optional input is an empty name.
    pub inputs: Vec<String>,
    /// Names of its output tensors.
    pub outputs: Vec<String>,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// A named attribute of an operator, such as the strides of a convolution.
///
/// ```
/// use engraft_formats::onnx::{self, AttributeValue, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("edges.onnx");
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let graph = Graph::load(&path)?;
/// let conv = graph.nodes.iter().find(|node| node.op_type == "Conv").ok_or("no convolution")?;
/// let strides = conv.attributes.iter().find(|attribute| attribute.name == "strides").ok_or("no strides")?;
/// assert_eq!(strides.value, AttributeValue::Ints(vec![1, 1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name, such as `strides`.
    pub name: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an [`Attribute`].
///
/// ```
/// use engraft_formats::onnx::AttributeValue;
/// assert_eq!(AttributeValue::Ints(vec![3, 3]).to_string(), "[3, 3]");
/// assert_eq!(AttributeValue::String(b"VALID".to_vec()).to_string(), r#""VALID""#);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f32),
    /// A string as raw bytes: ONNX does not guarantee valid UTF-8.
    String(Vec<u8>),
    /// A list of integers.
    Ints(Vec<i64>),
    /// An attribute of another type: a tensor, a graph, or a list of floats or strings. Its value is not read.
    Other,
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::String(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
            Self::Ints(values) => write!(f, "{values:?}"),
            Self::Other => f.write_str("a value of unsupported type"),
        }
    }
}

/// The name and shape of an input or output of a graph.
///
/// ```
/// use engraft_formats::onnx::{self, Dimension, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let output = &Graph::load(&path)?.outputs[0];
/// assert_eq!(output.name, "top");
/// assert_eq!(output.shape, [Dimension::Named("batch".to_owned()), Dimension::Size(2)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GraphValue {
    /// Its name.
    pub name: String,
    /// Its shape; empty for a scalar, and if the graph declares none.
    pub shape: Vec<Dimension>,
}

/// The size of one axis in the shape of a [`GraphValue`].
///
/// ```
/// use engraft_formats::onnx::{self, Dimension, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let shape = &Graph::load(&path)?.inputs[0].shape;
/// assert!(matches!(&shape[0], Dimension::Named(name) if name == "batch"));
/// assert_eq!(shape[1], Dimension::Size(4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A fixed size as declared. A damaged file may declare a negative one.
    Size(i64),
    /// A symbolic size, such as `batch`, that is known when the graph runs.
    Named(String),
    /// A size that the graph doesn't declare.
    Unknown,
}

/// The values of a constant (an initializer) of a graph.
///
/// ```
/// use engraft_formats::onnx::{self, ConstantValue, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// match &Graph::load(&path)?.constants["top/bias"] {
///     ConstantValue::Floats(bias) => assert_eq!(bias.data(), [0.0, 0.0]),
///     ConstantValue::Ints(sizes) => panic!("a bias of sizes: {sizes:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ConstantValue {
    /// A tensor of f32 values; f16 is widened.
    Floats(Tensor),
    /// 64-bit integers in row-major order, such as a shape or indices. The shape of the constant itself is dropped.
    Ints(Vec<i64>),
}

impl Graph {
    /// Reads and parses an ONNX file.
    ///
    /// # Errors
    /// Where the file can't be read, isn't an ONNX model, stores weights in another file, or has initializers of other types than
    /// f32, f16 and i64.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_file(path).map_err(|error| at(path.display(), error))?;
        Self::from_bytes(&bytes).map_err(|error| within_file(path, error))
    }

    /// Parses an ONNX model in memory.
    ///
    /// ```
    /// use engraft_formats::onnx::{self, Graph, OnnxOptions};
    /// # use engraft_nn::prelude::*;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("flowers.onnx");
    /// # let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// # onnx::save(&model, &path, &OnnxOptions::default())?;
    /// // `path` is an exported model.
    /// let bytes = std::fs::read(&path)?;
    /// assert_eq!(Graph::from_bytes(&bytes)?.nodes[0].op_type, "Gemm");
    /// assert!(Graph::from_bytes(&bytes[..100]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: OnnxError| at("ONNX", error);
        let model = decode_model(bytes).map_err(damaged)?;
        let mut constants = HashMap::new();
        for tensor in raw_initializers(bytes).map_err(damaged)? {
            constants.insert(tensor.name.to_owned(), constant(&tensor)?);
        }
        let graph = decode_graph(bytes).map_err(damaged)?;
        Ok(Self {
            opsets: model.opset_import.into_iter().map(|set| (set.domain, set.version)).collect(),
            metadata: model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
            inputs: graph.input.into_iter().map(GraphValue::from).collect(),
            outputs: graph.output.into_iter().map(GraphValue::from).collect(),
            nodes: graph.node.into_iter().map(GraphNode::from).collect(),
            constants,
        })
    }
}

fn constant(tensor: &RawInitializer<'_>) -> Result<ConstantValue> {
    let damaged = |error: OnnxError| at("ONNX", error);
    if tensor.is_ints() {
        return tensor.ints().map(ConstantValue::Ints).map_err(damaged);
    }
    if !tensor.is_float() {
        let expected = "an initializer of FLOAT, FLOAT16 or INT64";
        return Err(Error::new(format_args!("initializer `{}`", tensor.name), expected, "another type")
            .with_kind(ErrorKind::Unsupported));
    }
    let values = tensor.values().map_err(damaged)?;
    Tensor::new(tensor.shape().map_err(damaged)?, values).map(ConstantValue::Floats)
}

impl From<NodeProto> for GraphNode {
    fn from(node: NodeProto) -> Self {
        Self {
            name: node.name,
            op_type: node.op_type,
            domain: node.domain,
            inputs: node.input,
            outputs: node.output,
            attributes: node.attribute.into_iter().map(Attribute::from).collect(),
        }
    }
}

impl From<AttributeProto> for Attribute {
    /// Converts the value that is set, whatever `type` says: files of IR version 1 have no `type`.
    fn from(attribute: AttributeProto) -> Self {
        let is_list = attribute.r#type() == AttributeType::Ints || !attribute.ints.is_empty();
        let value = match (attribute.i, attribute.f, attribute.s) {
            (Some(value), _, _) => AttributeValue::Int(value),
            (None, Some(value), _) => AttributeValue::Float(value),
            (None, None, Some(text)) => AttributeValue::String(text),
            (None, None, None) if is_list => AttributeValue::Ints(attribute.ints),
            (None, None, None) => AttributeValue::Other,
        };
        Self { name: attribute.name, value }
    }
}

impl From<ValueInfoProto> for GraphValue {
    fn from(value: ValueInfoProto) -> Self {
        let shape = value.r#type.and_then(|of| of.tensor_type?.shape);
        let sizes = shape.map(|shape| shape.dim).unwrap_or_default();
        Self { name: value.name, shape: sizes.into_iter().map(Dimension::from).collect() }
    }
}

impl From<DimensionProto> for Dimension {
    fn from(size: DimensionProto) -> Self {
        match size.value {
            Some(Size::Value(size)) => Self::Size(size),
            Some(Size::Param(name)) => Self::Named(name),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Python package `onnx` wrote the file (`tests/data/generate.py`).
    #[test]
    fn a_file_of_the_onnx_package() {
        let found = Graph::from_bytes(include_bytes!("../../tests/data/small.onnx")).unwrap();
        assert_eq!((found.opsets[0].0.as_str(), found.metadata.len()), ("", 0));
        let shape = vec![Dimension::Named("batch".into()), Dimension::Size(2)];
        assert_eq!(found.inputs, [GraphValue { name: "x".into(), shape }]);
        assert_eq!(found.outputs[0].name, "z");
        let node = |op_type: &str, inputs: &[&str], output: &str| GraphNode {
            op_type: op_type.into(),
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            outputs: vec![output.into()],
            ..GraphNode::default()
        };
        let expected = [node("Gemm", &["x", "kernel", "bias"], "y"), node("Reshape", &["y", "shape"], "z")];
        assert_eq!(found.nodes, expected);
        let kernel = Tensor::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(found.constants["kernel"], ConstantValue::Floats(kernel));
        assert_eq!(found.constants["shape"], ConstantValue::Ints(vec![-1, 3]));
        assert_eq!(found.constants.len(), 3);
    }

    #[test]
    fn initializers_of_other_types_are_refused() {
        // The kernel is declared as INT32 (6) instead of FLOAT (1): dimension 3, then the type.
        let mut bytes = include_bytes!("../../tests/data/small.onnx").to_vec();
        let at = bytes.windows(4).position(|window| window == [0x08, 3, 0x10, 1]).unwrap();
        bytes[at + 3] = 6;
        let error = Graph::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains("initializer `kernel`: expected an initializer of FLOAT, FLOAT16 or INT64"), "{error}");
    }

    #[test]
    fn an_attribute_is_what_is_set() {
        let value = |attribute: AttributeProto| Attribute::from(attribute).value;
        for (attribute, expected, text) in [
            (AttributeProto::int("a", 0), AttributeValue::Int(0), "0"),
            (AttributeProto::float("a", 2.0), AttributeValue::Float(2.0), "2.0"),
            (AttributeProto::string("a", "linear"), AttributeValue::String(b"linear".to_vec()), "\"linear\""),
            (AttributeProto::ints("a", &[1, 2]), AttributeValue::Ints(vec![1, 2]), "[1, 2]"),
            (AttributeProto::ints("a", &[]), AttributeValue::Ints(vec![]), "[]"),
            (AttributeProto::default(), AttributeValue::Other, "a value of unsupported type"),
        ] {
            let untyped = AttributeProto { r#type: 0, ..attribute.clone() };
            assert_eq!(value(attribute), expected);
            assert_eq!(expected.to_string(), text);
            if expected != AttributeValue::Ints(vec![]) {
                assert_eq!(value(untyped), expected);
            }
        }
    }
}
