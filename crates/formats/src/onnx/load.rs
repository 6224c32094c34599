//! Weights of a graph into a model of the same layers.

use std::collections::HashSet;
use std::path::Path;

use engraft_ir::Op;
use engraft_nn::strided::transpose;
use engraft_nn::{Error, ErrorKind, Model, Program, Result, Weight};

use super::kernel::{FROM_ONNX, OnnxKernel, onnx_kernel};
use super::read::{OnnxError, read_file};
use super::stored::{Stored, Use, in_order_of_use, stored};
use crate::error::at;

/// Loads the weights of an ONNX file into a model of the same layers: a backbone, in most cases.
///
/// Names differ from one exporter to the next, so weights are matched by order and shape: those of
/// the model in the order in which it computes, those of the file in the order in which its nodes
/// use them. What stands in the file before and after, such as another head, is passed over, and so
/// are single numbers and vectors between; a kernel that has no place in the model is an error. Kernels
/// of convolutions are brought from `[out, in, height, width]` to Keras' order.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_nn::prelude::*;
///
/// let backbone = || {
///     let inputs = Input::new([8, 8, 3]);
///     let outputs = Conv2D::new(4, 3).call(&inputs)?;
///     Model::new(&inputs, &outputs)
/// };
/// let (trained, fresh) = (backbone()?, backbone()?);
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("backbone.onnx");
/// onnx::save(&trained, &path, &OnnxOptions::default())?;
/// onnx::load_weights(&path, &fresh)?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or isn't an ONNX model; it keeps weights in another file; a weight has no
/// counterpart, or a kernel in between is left over; a Dense kernel stands behind a Flatten of
/// images, whose order the graph doesn't tell. Nothing is changed then.
pub fn load_weights(path: &Path, model: &Model) -> Result<()> {
    let bytes = read_file(path).map_err(|error| at(path.display(), error))?;
    load_weights_from_bytes(&bytes, model).map_err(|error| error.within(path.display()))
}

/// Loads the weights of an ONNX model held in memory. See [`load_weights`].
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build();
/// let (trained, fresh) = (model()?, model()?);
/// onnx::save(&trained, &path, &OnnxOptions::default())?;
/// onnx::load_weights_from_bytes(&std::fs::read(&path)?, &fresh)?;
/// assert_eq!(*fresh.weights()[0].values(), *trained.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`load_weights`].
pub fn load_weights_from_bytes(bytes: &[u8], model: &Model) -> Result<()> {
    let damaged = |error: OnnxError| at("ONNX", error);
    let program = Program::of(model, false, 0)?;
    refuse_flattened(&program)?;
    let stored = stored(bytes).map_err(damaged)?;
    let uses = in_order_of_use(bytes, &stored).map_err(damaged)?;
    let wanted = wanted(&program);
    let matched = matched(&wanted, &stored, &uses)?;
    let values: Vec<Vec<f32>> =
        matched.iter().map(|found| found.values()).collect::<std::result::Result<_, _>>().map_err(damaged)?;
    wanted.iter().zip(values).try_for_each(|(wanted, values)| wanted.weight.set(values))
}

/// Where images are flattened, rows of the next kernel stand in an order that depends on the layout of the graph.
fn refuse_flattened(program: &Program) -> Result<()> {
    let flattens = |input: &[usize]| matches!(input, &[height, width, channels] if height * width > 1 && channels > 1);
    let flatten =
        program.steps.iter().position(|step| step.op == Op::Reshape && flattens(&program.shapes[step.inputs[0]]));
    let dense = flatten.and_then(|flatten| program.steps[flatten..].iter().find(|step| step.op == Op::Dense));
    match dense {
        None => Ok(()),
        Some(dense) => Err(Error::because(
            format_args!("layer `{}`", dense.layer),
            "the order of its inputs, flattened images, can't be told from an ONNX graph",
        )
        .with_kind(ErrorKind::Unsupported)
        .hint("load the weights into the model without its head")),
    }
}

/// An initializer that is a weight's, and the order of its axes as the weight has them.
struct Match<'a> {
    tensor: &'a Stored<'a>,
    shape: Vec<usize>,
    axes: &'static [usize],
}

impl Match<'_> {
    fn values(&self) -> std::result::Result<Vec<f32>, OnnxError> {
        let values = self.tensor.values()?;
        Ok(if self.axes.is_sorted() { values } else { transpose(&values, &self.shape, self.axes) })
    }
}

/// A weight to be found, and its shape in ONNX if it is a convolution's kernel.
struct Wanted<'a> {
    weight: &'a Weight,
    kernel: Option<OnnxKernel>,
}

impl Wanted<'_> {
    /// How the axes of an initializer follow each other in the weight; `None` where the shapes don't fit.
    fn axes(&self, stored: &[usize], transposed: bool) -> Option<&'static [usize]> {
        match (self.kernel, self.weight.shape()) {
            (Some(kernel), _) => (stored == kernel.dims).then_some(FROM_ONNX),
            (None, &[inputs, outputs]) if transposed => (stored == [outputs, inputs]).then_some(&[1, 0]),
            (None, shape) => (stored == shape).then_some(&[]),
        }
    }
}

/// Every weight once, in the order in which it is first used.
fn wanted(program: &Program) -> Vec<Wanted<'_>> {
    let mut seen = HashSet::new();
    let weights = program.steps.iter().flat_map(|step| step.weights.iter().map(move |param| (step, &param.weight)));
    weights
        .filter(|(_, weight)| seen.insert(weight.id()))
        .map(|(step, weight)| Wanted { weight, kernel: onnx_kernel(program, step, weight) })
        .collect()
}

/// The initializer of each weight.
fn matched<'a>(wanted: &[Wanted<'_>], stored: &'a [Stored<'a>], uses: &[Use]) -> Result<Vec<Match<'a>>> {
    let mut uses = uses.iter().filter(|used| stored[used.index].is_float());
    let mut found: Vec<Match<'a>> = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let place = format!("weight `{}`", wanted.weight.path());
        let expected = format!("an initializer for shape {:?}", wanted.weight.shape());
        loop {
            let Some(used) = uses.next() else {
                return Err(Error::new(place, expected, "none after those of the layers before")
                    .with_kind(ErrorKind::InvalidData));
            };
            let tensor = &stored[used.index];
            let shape = tensor.shape().map_err(|error| at(&place, error))?;
            if let Some(axes) = wanted.axes(&shape, used.transposed) {
                found.push(Match { tensor, shape, axes });
                break;
            }
            if !found.is_empty() && is_kernel(&shape) {
                let received = format!("`{}` of shape {shape:?}", tensor.name);
                return Err(Error::new(place, expected, received)
                    .with_kind(ErrorKind::InvalidData)
                    .hint("the file's layers are others than the model's"));
            }
        }
    }
    Ok(found)
}

/// More than a number or a vector, however many axes it is seen with.
fn is_kernel(shape: &[usize]) -> bool {
    shape.iter().filter(|&&size| size > 1).count() > 1
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use prost::Message;

    use super::*;
    use crate::onnx::file::field_prefix;
    use crate::onnx::proto::{AttributeProto, FLOAT, GRAPH, GraphProto, INITIALIZER, NodeProto, TensorProto};

    /// A graph of nodes with one or two weights each, whose initializers stand in the opposite order.
    fn graph(nodes: &[(&str, &[&[i64]])]) -> Vec<u8> {
        let mut graph = GraphProto::default();
        let mut tensors = Vec::new();
        for (op_type, weights) in nodes {
            let name = |index| format!("{}_{index}", graph.node.len());
            let names: Vec<String> = (0..weights.len()).map(name).collect();
            tensors.extend(names.iter().zip(*weights).map(|(name, dims)| {
                let count = dims.iter().product::<i64>() as u16;
                let float_data = (0..count).map(f32::from).collect();
                TensorProto {
                    name: name.clone(),
                    dims: dims.to_vec(),
                    data_type: FLOAT,
                    float_data,
                    ..Default::default()
                }
            }));
            let attribute = (*op_type == "Gemm").then(|| AttributeProto::int("transB", 1));
            let input = std::iter::once("x".to_owned()).chain(names).collect();
            graph.node.push(NodeProto { input, attribute: attribute.into_iter().collect(), ..Default::default() });
        }
        let mut bytes = graph.encode_to_vec();
        for tensor in tensors.iter().rev() {
            let tensor = tensor.encode_to_vec();
            bytes.extend(field_prefix(INITIALIZER, tensor.len()));
            bytes.extend(tensor);
        }
        [field_prefix(GRAPH, bytes.len()), bytes].concat()
    }

    fn backbone() -> Model {
        let x = Input::new([6, 6, 3]);
        let y = Conv2D::new(2, [1, 2]).named("first").call(&x).unwrap();
        let y = Conv2D::new(2, 1).use_bias(false).named("second").call(&y).unwrap();
        Model::new(&x, &Dense::new(2).named("third").call(&y).unwrap()).unwrap()
    }

    const LAYERS: [(&str, &[&[i64]]); 3] =
        [("Conv", &[&[2, 3, 1, 2], &[2]]), ("Conv", &[&[2, 2, 1, 1]]), ("Gemm", &[&[2, 2], &[2]])];

    #[test]
    fn weights_are_found_by_their_use_and_brought_into_order() {
        let preprocessing: (&str, &[&[i64]]) = ("Add", &[&[3, 1, 1]]);
        let head: (&str, &[&[i64]]) = ("MatMul", &[&[2, 9]]);
        let model = backbone();
        let nodes = [&[preprocessing][..], &LAYERS, &[head]].concat();
        load_weights_from_bytes(&graph(&nodes), &model).unwrap();
        let values: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
        let kernel = [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0];
        let expected: [&[f32]; 5] = [&kernel, &[0.0, 1.0], &[0.0, 2.0, 1.0, 3.0], &[0.0, 2.0, 1.0, 3.0], &[0.0, 1.0]];
        assert_eq!(values, expected);
    }

    #[test]
    fn other_layers_are_refused_and_nothing_is_changed() {
        let model = backbone();
        let before: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
        let wider: (&str, &[&[i64]]) = ("Conv", &[&[2, 2, 3, 3]]);
        for (nodes, expected) in [
            (
                vec![LAYERS[0], wider, LAYERS[1], LAYERS[2]],
                "weight `second/kernel`: expected an initializer for shape [1, 1, 2, 2], received `1_0` of shape [2, 2, 3, 3]",
            ),
            (LAYERS[..2].to_vec(), "weight `third/kernel`: expected an initializer for shape [2, 2], received none"),
        ] {
            let error = load_weights_from_bytes(&graph(&nodes), &model).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let after: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn a_dense_behind_flattened_images_is_refused() {
        let x = Input::new([2, 2, 3]);
        let y = Dense::new(2).named("top").call(&Flatten::new().call(&x).unwrap()).unwrap();
        let error = load_weights_from_bytes(&[], &Model::new(&x, &y).unwrap()).unwrap_err().to_string();
        assert!(error.contains("layer `top`") && error.contains("without its head"), "{error}");
    }
}
