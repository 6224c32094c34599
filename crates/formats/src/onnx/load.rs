//! Loads the weights of an ONNX file into a model with the same layers.

use std::collections::HashSet;
use std::path::Path;

use engraft_ir::Op;
use engraft_nn::strided::transpose;
use engraft_nn::{Error, ErrorKind, Model, Program, Result, Weight};

use super::conv_kernel::{ONNX_TO_KERAS, OnnxKernel, onnx_kernel};
use super::error::OnnxError;
use super::initializer_reader::read_file;
use super::raw_initializer::{InitializerUse, RawInitializer, in_order_of_use, raw_initializers};
use crate::error::at;

/// Loads the weights of an ONNX file into a model with the same layers, typically a backbone.
///
/// Exporters name weights differently, so weights are matched by order and shape. The model's weights are taken in the order of
/// computation, the file's initializers in the order in which the nodes use them.
///
/// Initializers before the first match and after the last, such as those of another head, are skipped. Between two matches,
/// scalars and vectors are skipped, and a kernel that doesn't match is an error.
///
/// Convolution kernels are transposed from `[out, in, height, width]` to Keras' `[height, width, in, out]`.
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
/// Where the file can't be read, isn't an ONNX model, or stores weights in another file; where a weight of the model has no
/// match, or a kernel between two matches has none; where a Dense of the model follows a Flatten of images, since the file
/// doesn't tell whether its exporter flattened channels first or channels last. On an error, no weight is changed.
pub fn load_weights(path: &Path, model: &Model) -> Result<()> {
    let bytes = read_file(path).map_err(|error| at(path.display(), error))?;
    load_weights_from_bytes(&bytes, model).map_err(|error| error.within(path.display()))
}

/// Loads the weights of an ONNX model in memory into a model with the same layers. See [`load_weights`].
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
/// Those of [`load_weights`].
pub fn load_weights_from_bytes(bytes: &[u8], model: &Model) -> Result<()> {
    let damaged = |error: OnnxError| at("ONNX", error);
    let program = Program::of(model, false, 0)?;
    refuse_flattened_images(&program)?;
    let initializers = raw_initializers(bytes).map_err(damaged)?;
    let uses = in_order_of_use(bytes, &initializers).map_err(damaged)?;
    let targets = targets(&program);
    let matches = match_targets(&targets, &initializers, &uses)?;
    let values: Vec<Vec<f32>> =
        matches.iter().map(|found| found.values()).collect::<std::result::Result<_, _>>().map_err(damaged)?;
    targets.iter().zip(values).try_for_each(|(target, values)| target.weight.set(values))
}

/// Returns an error if a Dense follows a Flatten of images.
///
/// The order of the Dense kernel's rows depends on whether the exporter flattened channels first or channels last.
fn refuse_flattened_images(program: &Program) -> Result<()> {
    let flattens = |input: &[usize]| matches!(input, &[height, width, channels] if height * width > 1 && channels > 1);
    let flatten =
        program.steps.iter().position(|step| step.op == Op::Reshape && flattens(&program.shapes[step.inputs[0]]));
    let dense = flatten.and_then(|flatten| program.steps[flatten..].iter().find(|step| step.op == Op::Dense));
    match dense {
        None => Ok(()),
        Some(dense) => Err(Error::because(
            format_args!("layer `{}`", dense.layer),
            "its inputs are flattened images, whose order can't be told from an ONNX graph",
        )
        .with_kind(ErrorKind::Unsupported)
        .hint("load the weights into the model without its head")),
    }
}

/// An initializer that matches a weight.
struct Match<'a> {
    initializer: &'a RawInitializer<'a>,
    shape: Vec<usize>,
    /// The permutation that transposes the initializer to the weight's order of axes; empty if the orders are the same.
    axes: &'static [usize],
}

impl Match<'_> {
    fn values(&self) -> std::result::Result<Vec<f32>, OnnxError> {
        let values = self.initializer.values()?;
        Ok(if self.axes.is_sorted() { values } else { transpose(&values, &self.shape, self.axes) })
    }
}

/// A weight of the model to be loaded, with its ONNX layout if it is a convolution's kernel.
struct Target<'a> {
    weight: &'a Weight,
    kernel: Option<OnnxKernel>,
}

impl Target<'_> {
    /// The permutation that transposes an initializer of shape `found` to the weight's order of axes, as in [`Match::axes`].
    ///
    /// `None` if the shapes don't match. `transposed` says whether a `Gemm` transposes the initializer (`transB`).
    fn axes(&self, found: &[usize], transposed: bool) -> Option<&'static [usize]> {
        match (self.kernel, self.weight.shape()) {
            (Some(kernel), _) => (found == kernel.dims).then_some(ONNX_TO_KERAS),
            (None, &[inputs, outputs]) if transposed => (found == [outputs, inputs]).then_some(&[1, 0]),
            (None, shape) => (found == shape).then_some(&[]),
        }
    }
}

/// Every weight of the program once, in the order of first use.
fn targets(program: &Program) -> Vec<Target<'_>> {
    let mut seen = HashSet::new();
    let weights = program.steps.iter().flat_map(|step| step.weights.iter().map(move |param| (step, &param.weight)));
    weights
        .filter(|(_, weight)| seen.insert(weight.id()))
        .map(|(step, weight)| Target { weight, kernel: onnx_kernel(program, step, weight) })
        .collect()
}

/// Finds the initializer of each target, by order and shape as [`load_weights`] describes.
fn match_targets<'a>(
    targets: &[Target<'_>],
    initializers: &'a [RawInitializer<'a>],
    uses: &[InitializerUse],
) -> Result<Vec<Match<'a>>> {
    let mut uses = uses.iter().filter(|used| initializers[used.index].is_float());
    let mut found: Vec<Match<'a>> = Vec::with_capacity(targets.len());
    for target in targets {
        let place = format!("weight `{}`", target.weight.path());
        let expected = format!("an initializer for shape {:?}", target.weight.shape());
        loop {
            let Some(used) = uses.next() else {
                return Err(Error::new(
                    place,
                    expected,
                    "no further matching initializer: the model has more layers than the file",
                )
                .with_kind(ErrorKind::InvalidData));
            };
            let initializer = &initializers[used.index];
            let shape = initializer.shape().map_err(|error| at(&place, error))?;
            if let Some(axes) = target.axes(&shape, used.transposed) {
                found.push(Match { initializer, shape, axes });
                break;
            }
            if !found.is_empty() && is_kernel(&shape) {
                let received = format!("`{}` of shape {shape:?}", initializer.name);
                return Err(Error::new(place, expected, received)
                    .with_kind(ErrorKind::InvalidData)
                    .hint("the file has other layers than the model"));
            }
        }
    }
    Ok(found)
}

/// Whether a shape has more than one axis of a size above 1, unlike scalars and vectors.
fn is_kernel(shape: &[usize]) -> bool {
    shape.iter().filter(|&&size| size > 1).count() > 1
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use prost::Message;

    use super::*;
    use crate::onnx::messages::{AttributeProto, FLOAT, GRAPH, GraphProto, INITIALIZER, NodeProto, TensorProto};
    use crate::onnx::protobuf::field_prefix;

    /// An encoded graph of nodes with these weight shapes. The initializers are in reverse order of use.
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
    fn weights_are_found_by_their_use_and_transposed() {
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
            (
                LAYERS[..2].to_vec(),
                "weight `third/kernel`: expected an initializer for shape [2, 2], received no further matching initializer",
            ),
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
