//! [`OnnxModel`]: runs a graph node by node, and checks its inputs and outputs against their declared shapes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use engraft_formats::onnx::{ConstantValue, Dimension, Graph, GraphValue, OPSET};
use engraft_nn::{Error, ErrorKind, Result, Tensor};

use super::liveness::LiveTensors;
use super::node::Node;
use super::operator::operator;
use super::value::{MAX_ELEMENTS, Value, element_count};

/// A runnable ONNX model, of the operators that [`save`](fn@engraft_formats::onnx::save) writes.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_interpreter::OnnxModel;
/// use engraft_nn::prelude::*;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("sum.onnx");
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// model.weights()[0].set(vec![1.0, 10.0])?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
///
/// let exported = OnnxModel::load(&path)?;
/// let outputs = exported.run(&[&Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?])?;
/// assert_eq!(outputs, [Tensor::new([2, 1], vec![21.0, 43.0])?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OnnxModel {
    graph: Graph,
    constants: HashMap<String, Value>,
    limit: usize,
}

impl OnnxModel {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// Where the file can't be read, isn't an ONNX model, has another opset than 17, stores weights in another file, or has a
    /// constant of more than 2^29 elements.
    pub fn load(path: &Path) -> Result<Self> {
        Self::new(Graph::load(path)?).map_err(|error| error.within(path.display()))
    }

    /// Loads an ONNX model from the bytes of a file.
    ///
    /// ```
    /// use engraft_formats::onnx::{self, OnnxOptions};
    /// use engraft_interpreter::OnnxModel;
    /// use engraft_nn::prelude::*;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("sum.onnx");
    /// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
    /// onnx::save(&model, &path, &OnnxOptions::default())?;
    /// let bytes = std::fs::read(&path)?;
    /// let outputs = OnnxModel::from_bytes(&bytes)?.run(&[&Tensor::zeros([1, 2])])?;
    /// assert_eq!(outputs, [Tensor::zeros([1, 1])]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the bytes aren't an ONNX model, or the model has another opset than 17, stores weights in another file, or has a
    /// constant of more than 2^29 elements.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::new(Graph::from_bytes(bytes)?)
    }

    /// Makes a model of a parsed graph.
    ///
    /// ```
    /// use engraft_formats::onnx::{self, Graph, OnnxOptions};
    /// use engraft_interpreter::OnnxModel;
    /// use engraft_nn::prelude::*;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("sum.onnx");
    /// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
    /// onnx::save(&model, &path, &OnnxOptions::default())?;
    /// let mut graph = Graph::load(&path)?;
    /// // Without its last node, the graph doesn't compute its output.
    /// graph.nodes.pop();
    /// let error = OnnxModel::new(graph)?.run(&[&Tensor::zeros([1, 2])]).unwrap_err();
    /// assert!(error.to_string().contains("used before any node computes it"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the graph has another opset than 17, or a constant of more than 2^29 elements.
    pub fn new(mut graph: Graph) -> Result<Self> {
        let opsets: Vec<_> = graph.opsets.iter().map(|(domain, version)| (domain.as_str(), *version)).collect();
        if opsets != [("", OPSET)] {
            return Err(Error::new(
                "operator sets",
                format_args!("ONNX' own, version {OPSET}"),
                format_args!("{opsets:?}"),
            )
            .with_kind(ErrorKind::Unsupported));
        }
        let mut constants = HashMap::new();
        for (name, constant) in std::mem::take(&mut graph.constants) {
            let value = match constant {
                ConstantValue::Floats(tensor) => Value::Floats(tensor),
                ConstantValue::Ints(values) => Value::Ints(values),
            };
            check_element_count(&name, &value, MAX_ELEMENTS)?;
            constants.insert(name, value);
        }
        Ok(Self { graph, constants, limit: MAX_ELEMENTS })
    }

    /// Limits the tensor elements that [`run`](Self::run) holds at a time, constants excluded. The default is 2^29.
    ///
    /// Use a smaller limit for untrusted files: a graph of a few bytes can declare tensors of any size.
    ///
    /// ```
    /// use engraft_formats::onnx::{self, OnnxOptions};
    /// use engraft_interpreter::OnnxModel;
    /// use engraft_nn::prelude::*;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("sum.onnx");
    /// let model = Sequential::new().add(Input::new([8, 8, 3])).add(UpSampling2D::new(64)).build()?;
    /// onnx::save(&model, &path, &OnnxOptions::default())?;
    /// // 8 x 8 pixels become 512 x 512.
    /// let error = OnnxModel::load(&path)?.with_limit(100_000).run(&[&Tensor::zeros([1, 8, 8, 3])]).unwrap_err();
    /// assert_eq!(error.kind(), engraft_nn::ErrorKind::OutOfMemory);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_limit(self, elements: usize) -> Self {
        Self { limit: elements, ..self }
    }

    /// The file's metadata. See [`save`](fn@engraft_formats::onnx::save) for the entries that it writes.
    ///
    /// ```
    /// use engraft_formats::onnx::{self, OnnxOptions};
    /// use engraft_interpreter::OnnxModel;
    /// use engraft_nn::prelude::*;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("sum.onnx");
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let class_names = ["daisy".to_owned(), "tulip".to_owned()];
    /// onnx::save(&model, &path, &OnnxOptions { class_names: &class_names, ..OnnxOptions::default() })?;
    /// assert_eq!(OnnxModel::load(&path)?.metadata()["class_names"], r#"["daisy","tulip"]"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.graph.metadata
    }

    /// Runs the graph on a batch; returns the outputs in the graph's order.
    ///
    /// # Errors
    /// Where the inputs or outputs differ from the declared ones in number or shape; where the graph has an operator or attribute
    /// that [`save`](fn@engraft_formats::onnx::save) doesn't write; where operands have incompatible shapes; where a tensor is
    /// read before it is computed, or computed twice; where the limit of [`with_limit`](Self::with_limit) is exceeded.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.graph.inputs.len() {
            return Err(Error::new("inputs", self.graph.inputs.len(), inputs.len()));
        }
        let mut live = LiveTensors::new(&self.graph, self.limit);
        for (declared, &input) in self.graph.inputs.iter().zip(inputs) {
            check_shape("input", declared, input)?;
            let value = Value::Floats(input.clone());
            check_element_count(&declared.name, &value, self.limit)?;
            live.insert(&declared.name, value)?;
        }
        for node in &self.graph.nodes {
            let [output] = &node.outputs[..] else {
                return Err(Error::new(format_args!("node `{}`", node.name), "one output", node.outputs.len())
                    .with_kind(ErrorKind::Unsupported));
            };
            let inputs = node.inputs.iter().map(|name| match name.as_str() {
                "" => Ok(None),
                name => self.tensor(&live, name).map(Some),
            });
            let mut call = Node::new(node, inputs.collect::<Result<_>>()?).with_limit(self.limit);
            let value = operator(&mut call)?;
            node.inputs.iter().for_each(|name| live.mark_read(name));
            live.insert(output, value)?;
        }
        self.graph.outputs.iter().map(|declared| self.output(&live, declared)).collect()
    }

    fn output(&self, live: &LiveTensors<'_>, declared: &GraphValue) -> Result<Tensor> {
        match self.tensor(live, &declared.name)? {
            Value::Floats(tensor) => {
                check_shape("output", declared, tensor).map(|()| tensor.clone()).map_err(Error::into_invalid_data)
            }
            other => Err(Error::new(format_args!("output `{}`", declared.name), "numbers", other.describe())
                .with_kind(ErrorKind::InvalidData)),
        }
    }

    fn tensor<'a>(&'a self, live: &'a LiveTensors<'_>, name: &str) -> Result<&'a Value> {
        let found = live.get(name).or_else(|| self.constants.get(name));
        found.ok_or_else(|| {
            Error::because(format_args!("tensor `{name}`"), "used before any node computes it")
                .with_kind(ErrorKind::InvalidData)
        })
    }
}

/// An error where a tensor's shape differs from the declared one.
fn check_shape(kind: &str, declared: &GraphValue, tensor: &Tensor) -> Result<()> {
    let fits = |(declared, &size): (&Dimension, &usize)| match declared {
        Dimension::Size(value) => usize::try_from(*value) == Ok(size),
        Dimension::Named(_) | Dimension::Unknown => true,
    };
    let sizes = &declared.shape;
    if sizes.len() == tensor.shape().len() && sizes.iter().zip(tensor.shape()).all(fits) {
        return Ok(());
    }
    let sizes: Vec<String> = sizes
        .iter()
        .map(|size| match size {
            Dimension::Size(value) => value.to_string(),
            Dimension::Named(name) => name.clone(),
            Dimension::Unknown => "?".into(),
        })
        .collect();
    let expected = format!("shape [{}]", sizes.join(", "));
    Err(Error::new(format_args!("{kind} `{}`", declared.name), expected, format_args!("{:?}", tensor.shape())))
}

/// An error where a tensor has more than `limit` elements.
fn check_element_count(name: &str, value: &Value, limit: usize) -> Result<()> {
    match value {
        Value::Floats(tensor) if element_count(tensor.shape(), limit).is_none() => {
            let expected = format!("at most {limit} values");
            Err(Error::new(format_args!("tensor `{name}`"), expected, value.describe())
                .with_kind(ErrorKind::OutOfMemory))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{self, OnnxOptions};
    use engraft_nn::prelude::*;

    use super::*;
    use crate::testing;

    fn bytes() -> Vec<u8> {
        let x = Input::named("photos", [6, 6, 3]);
        let y = Conv2D::new(2, 3).padding(Padding::Same).activation(Relu).named("conv").call(&x).unwrap();
        let y = Flatten::new().call(&MaxPooling2D::new(2).call(&y).unwrap()).unwrap();
        let y = Dense::new(2).activation(Softmax).named("top").call(&y).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        onnx::save(&Model::new(&x, &y).unwrap(), &path, &OnnxOptions::default()).unwrap();
        std::fs::read(path).unwrap()
    }

    fn run(graph: Graph) -> Result<Vec<Tensor>> {
        OnnxModel::new(graph)?.run(&[&Tensor::zeros([2, 6, 6, 3])])
    }

    fn batch(name: &str, sample: &[i64]) -> GraphValue {
        let sizes = sample.iter().map(|&size| Dimension::Size(size));
        GraphValue {
            name: name.into(),
            shape: std::iter::once(Dimension::Named("batch".into())).chain(sizes).collect(),
        }
    }

    #[test]
    fn unknown_operators_attributes_and_shapes_are_named() {
        let graph = Graph::from_bytes(&bytes()).unwrap();
        assert_eq!(run(graph.clone()).unwrap()[0].shape(), [2, 2]);
        let failed = |change: fn(&mut Graph)| {
            let mut graph = graph.clone();
            change(&mut graph);
            run(graph).unwrap_err().to_string()
        };
        for (change, expected) in [
            (
                (|graph| graph.nodes[2].op_type = "Hardmax".into()) as fn(&mut Graph),
                "node `conv` (Hardmax): expected an operator",
            ),
            (
                |graph| graph.nodes[2].domain = "com.example".into(),
                "node `conv` (Relu): expected an operator of ONNX' own",
            ),
            (
                |graph| graph.nodes[2].attributes.push(testing::int("axis", 1)),
                "node `conv` (Relu): expected attributes",
            ),
            (|graph| graph.nodes[2].inputs[0] = "y".into(), "tensor `y`: used before any node computes it"),
            (
                |graph| graph.inputs[0] = batch("photos", &[6, 7, 3]),
                "input `photos`: expected shape [batch, 6, 7, 3], received [2, 6, 6, 3]",
            ),
            (|graph| graph.outputs[0] = batch("top", &[3]), "output `top`: expected shape [batch, 3], received [2, 2]"),
            (|graph| graph.opsets[0].1 = 21, "operator sets: expected ONNX' own, version 17"),
            (|graph| graph.opsets.push(("ai.onnx.ml".into(), 3)), "ai.onnx.ml"),
        ] {
            let error = failed(change);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_another_answer() {
        let intact = bytes();
        let x = Tensor::zeros([1, 6, 6, 3]);
        let survived = |bytes: &[u8]| OnnxModel::from_bytes(bytes).and_then(|model| model.run(&[&x])).is_ok();
        assert!((0..intact.len()).all(|len| !survived(&intact[..len])));
        let damaged = (0..intact.len()).flat_map(|at| [0, 3, 7].map(|bit| (at, bit)));
        let answers = damaged.filter(|&(at, bit)| {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << bit;
            survived(&bytes)
        });
        assert!(answers.count() > 0, "a weight may be any number");
    }
}
