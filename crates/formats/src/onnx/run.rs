//! Computing what an ONNX file says, to find out whether it says what a model does.
//!
//! Each operator is computed by its definition in ONNX, channels first and one after the other, by
//! nothing of the way in which models are run here: a second opinion, not a fast one.

mod axes;
mod conv;
mod elementwise;
mod function;
mod held;
mod matrix;
mod node;
mod normalize;
mod operator;
mod resize;
mod value;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use engraft_nn::{Error, Result, Tensor};

use self::held::Held;
use self::node::Node;
use self::operator::operator;
use self::value::{MAX_VALUES, Value, count};
use super::model::{graph, model};
use super::proto::{GraphProto, Size, ValueInfoProto};
use super::read::{OnnxError, read_file};
use super::save::OPSET;
use super::stored::stored;

/// An ONNX file that can be run, as [`save`](fn@super::save) writes them.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxModel, OnnxOptions};
/// use engraft_nn::prelude::*;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("sum.onnx");
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// model.weights()[0].set(vec![1.0, 10.0])?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
///
/// let written = OnnxModel::load(&path)?;
/// let outputs = written.run(&[&Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?])?;
/// assert_eq!(outputs, [Tensor::new([2, 1], vec![21.0, 43.0])?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OnnxModel {
    graph: GraphProto,
    constants: HashMap<String, Value>,
    metadata: BTreeMap<String, String>,
    limit: usize,
}

impl OnnxModel {
    /// Reads a file.
    ///
    /// # Errors
    /// The file can't be read or isn't an ONNX model, is of another opset than 17, or keeps weights in
    /// another file.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_file(path).map_err(|error| Error::because(path.display(), error))?;
        Self::from_bytes(&bytes).map_err(|error| error.within(path.display()))
    }

    /// Reads an ONNX model held in memory. See [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: OnnxError| Error::because("ONNX", error);
        let model = model(bytes).map_err(damaged)?;
        let opsets: Vec<_> = model.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect();
        if opsets != [("", OPSET)] {
            return Err(Error::new(
                "operators",
                format_args!("ONNX' own of version {OPSET}"),
                format_args!("{opsets:?}"),
            ));
        }
        let mut constants = HashMap::new();
        for tensor in stored(bytes).map_err(damaged)? {
            let value = if tensor.is_ints() {
                Value::Ints(tensor.ints().map_err(damaged)?)
            } else {
                let values = tensor.values().map_err(damaged)?;
                Value::Floats(Tensor::new(tensor.shape().map_err(damaged)?, values)?)
            };
            within_bounds(tensor.name, &value, MAX_VALUES)?;
            constants.insert(tensor.name.to_owned(), value);
        }
        let metadata = model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect();
        Ok(Self { graph: graph(bytes).map_err(damaged)?, constants, metadata, limit: MAX_VALUES })
    }

    /// Sets how many values [`run`](Self::run) may hold at a time, beside those in the file: 2^29 otherwise, which a
    /// graph of a few bytes can ask for.
    #[must_use]
    pub fn with_limit(self, values: usize) -> Self {
        Self { limit: values, ..self }
    }

    /// The entries of its metadata; [`save`](fn@super::save) says which it writes.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The outputs of a batch, in the graph's order.
    ///
    /// # Errors
    /// Inputs that aren't as many, or of other shapes, than the graph declares; an operator or attribute
    /// that [`save`](fn@super::save) doesn't write; shapes that don't fit; outputs that aren't as declared.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.graph.input.len() {
            return Err(Error::new("inputs", self.graph.input.len(), inputs.len()));
        }
        let mut held = Held::new(&self.graph, self.limit);
        for (declared, &input) in self.graph.input.iter().zip(inputs) {
            must_be_as_declared("input", declared, input)?;
            let value = Value::Floats(input.clone());
            within_bounds(&declared.name, &value, self.limit)?;
            held.keep(&declared.name, value)?;
        }
        for proto in &self.graph.node {
            let [output] = &proto.output[..] else {
                return Err(Error::new(format_args!("node `{}`", proto.name), "one output", proto.output.len()));
            };
            let inputs = proto.input.iter().map(|name| match name.as_str() {
                "" => Ok(None),
                name => self.tensor(&held, name).map(Some),
            });
            let mut node = Node::new(proto, inputs.collect::<Result<_>>()?).within(self.limit);
            let value = operator(&mut node)?;
            proto.input.iter().for_each(|name| held.read(name));
            held.keep(output, value)?;
        }
        self.graph.output.iter().map(|declared| self.output(&held, declared)).collect()
    }

    fn output(&self, held: &Held<'_>, declared: &ValueInfoProto) -> Result<Tensor> {
        match self.tensor(held, &declared.name)? {
            Value::Floats(tensor) => must_be_as_declared("output", declared, tensor).map(|()| tensor.clone()),
            other => Err(Error::new(format_args!("output `{}`", declared.name), "numbers", other.describe())),
        }
    }

    fn tensor<'a>(&'a self, held: &'a Held<'_>, name: &str) -> Result<&'a Value> {
        let found = held.get(name).or_else(|| self.constants.get(name));
        found.ok_or_else(|| Error::because(format_args!("tensor `{name}`"), "used before a node makes it"))
    }
}

/// An error where a tensor hasn't the shape that the graph declares.
fn must_be_as_declared(kind: &str, declared: &ValueInfoProto, tensor: &Tensor) -> Result<()> {
    let shape = declared.r#type.as_ref().and_then(|of| of.tensor_type.as_ref()?.shape.as_ref());
    let sizes: Vec<&Option<Size>> =
        shape.map(|shape| shape.dim.iter().map(|size| &size.value).collect()).unwrap_or_default();
    let fits = |(declared, &size): (&&Option<Size>, &usize)| match declared {
        Some(Size::Value(value)) => usize::try_from(*value) == Ok(size),
        Some(Size::Param(_)) | None => true,
    };
    if sizes.len() == tensor.shape().len() && sizes.iter().zip(tensor.shape()).all(fits) {
        return Ok(());
    }
    let sizes: Vec<String> = sizes
        .iter()
        .map(|size| match size {
            Some(Size::Value(value)) => value.to_string(),
            Some(Size::Param(name)) => name.clone(),
            None => "?".into(),
        })
        .collect();
    let expected = format!("shape [{}]", sizes.join(", "));
    Err(Error::new(format_args!("{kind} `{}`", declared.name), expected, format_args!("{:?}", tensor.shape())))
}

fn within_bounds(name: &str, value: &Value, limit: usize) -> Result<()> {
    match value {
        Value::Floats(tensor) if count(tensor.shape(), limit).is_none() => {
            let expected = format!("at most {limit} values");
            Err(Error::new(format_args!("tensor `{name}`"), expected, value.describe()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::onnx::file::ModelFile;
    use crate::onnx::proto::{AttributeProto, OperatorSetIdProto};
    use crate::onnx::save::{OnnxOptions, model_file};

    fn file() -> ModelFile {
        let x = Input::named("photos", [6, 6, 3]);
        let y = Conv2D::new(2, 3).padding(Padding::Same).activation(Relu).named("conv").call(&x).unwrap();
        let y = Flatten::new().call(&MaxPooling2D::new(2).call(&y).unwrap()).unwrap();
        let y = Dense::new(2).activation(Softmax).named("top").call(&y).unwrap();
        model_file(&Model::new(&x, &y).unwrap(), &OnnxOptions::default()).unwrap()
    }

    fn bytes(file: &ModelFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.write_to(&mut bytes).unwrap();
        bytes
    }

    fn run(file: &ModelFile) -> Result<Vec<Tensor>> {
        OnnxModel::from_bytes(&bytes(file))?.run(&[&Tensor::zeros([2, 6, 6, 3])])
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(run(&file()).unwrap()[0].shape(), [2, 2]);
        let failed = |change: fn(&mut ModelFile)| {
            let mut file = file();
            change(&mut file);
            run(&file).unwrap_err().to_string()
        };
        for (change, expected) in [
            (
                (|file| file.graph.node[2].op_type = "Hardmax".into()) as fn(&mut ModelFile),
                "node `conv` (Hardmax): expected an operator",
            ),
            (
                |file| file.graph.node[2].domain = "com.example".into(),
                "node `conv` (Relu): expected an operator of ONNX' own",
            ),
            (
                |file| file.graph.node[2].attribute.push(AttributeProto::int("axis", 1)),
                "node `conv` (Relu): expected attributes",
            ),
            (|file| file.graph.node[2].input[0] = "y".into(), "tensor `y`: used before a node makes it"),
            (
                |file| file.graph.input[0] = ValueInfoProto::batch("photos", &[6, 7, 3]),
                "input `photos`: expected shape [batch, 6, 7, 3], received [2, 6, 6, 3]",
            ),
            (
                |file| file.graph.output[0] = ValueInfoProto::batch("top", &[3]),
                "output `top`: expected shape [batch, 3], received [2, 2]",
            ),
            (|file| file.model.opset_import[0].version = 21, "operators: expected ONNX' own of version 17"),
            (
                |file| file.model.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 3 }),
                "ai.onnx.ml",
            ),
        ] {
            let error = failed(change);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_another_answer() {
        let whole = bytes(&file());
        let x = Tensor::zeros([1, 6, 6, 3]);
        let survived = |bytes: &[u8]| OnnxModel::from_bytes(bytes).and_then(|model| model.run(&[&x])).is_ok();
        assert!((0..whole.len()).all(|len| !survived(&whole[..len])));
        let damaged = (0..whole.len()).flat_map(|at| [0, 3, 7].map(|bit| (at, bit)));
        let answers = damaged.filter(|&(at, bit)| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            survived(&bytes)
        });
        assert!(answers.count() > 0, "a weight may be any number");
    }
}
