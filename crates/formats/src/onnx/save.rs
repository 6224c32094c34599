//! Exports a model as an ONNX file: [`save`], its options and metadata.

use std::path::Path;

use engraft_nn::Program;
use engraft_nn::{Error, ErrorKind, Model, Result};
use serde_json::json;

use super::encode::ModelFile;
use super::graph_builder::GraphBuilder;
use super::limits::MAX_FILE_LEN;
use super::messages::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::operation::operation;
use crate::error::at;
use crate::{FloatType, atomic};

/// The version of ONNX' operator set that [`save`] writes. It is from 2022; no layer needs a later one.
///
/// ```
/// use engraft_formats::onnx::{self, Graph, OPSET, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// assert_eq!(Graph::load(&path)?.opsets, [(String::new(), OPSET)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const OPSET: i64 = 17;

/// The version of the file format (`ir_version`) that was released with [`OPSET`].
const IR_VERSION: i64 = 8;

/// Options of [`save`]: float type of the stored weights, class names, metadata.
///
/// ```
/// use engraft_formats::onnx::{self, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// let class_names = ["daisy".to_owned(), "tulip".to_owned()];
/// onnx::save(&model, &path, &OnnxOptions { class_names: &class_names, ..OnnxOptions::default() })?;
/// assert_eq!(Graph::load(&path)?.metadata["class_names"], r#"["daisy","tulip"]"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OnnxOptions<'a> {
    /// The float type in which kernels are stored; biases and other vectors stay f32.
    ///
    /// The graph casts f16 kernels to f32, and onnxruntime does so once, when it loads the file. Computing in f16 would be
    /// slower: few CPUs have instructions for it, and on others each operation would cast its operands.
    pub float_type: FloatType,
    /// Class names in the order of the units of the first output, or empty. They are stored as a JSON list in the metadata entry
    /// `class_names`.
    pub class_names: &'a [String],
    /// Further metadata entries as pairs of key and value.
    pub metadata: &'a [(String, String)],
}

/// Exports a model as an ONNX file: its forward pass in inference mode, with its weights.
///
/// Inputs and outputs stay channels-last, and have the names of their layers. Beside the options' metadata, the entry
/// `engraft_version` is written. A model of images also gets `input_size`, a JSON list of height and width.
///
/// Weights are streamed to the file without a second copy in memory. The file is written under a temporary name and renamed when
/// it is complete, so that an error never leaves a partial file.
///
/// ```
/// use engraft_formats::onnx::{self, Graph, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("edges.onnx");
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// assert_eq!(Graph::load(&path)?.metadata["input_size"], "[8,8]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the file would reach 2 GiB, the limit of ONNX files; a weight to be stored as f16 exceeds its range; the number of class
/// names differs from the units of the first output (two names for a single unit are allowed); a metadata key occurs twice; or
/// the file can't be written.
pub fn save(model: &Model, path: &Path, options: &OnnxOptions<'_>) -> Result<()> {
    let file = model_file(model, options).map_err(|error| error.within(path.display()))?;
    let len = file.len() as u64;
    if len >= MAX_FILE_LEN {
        let parameters = model.count_params();
        return Err(Error::new(
            path.display(),
            format_args!("less than {MAX_FILE_LEN} bytes, as ONNX files have"),
            format_args!("{len} for {parameters} parameters"),
        )
        .with_kind(ErrorKind::Unsupported)
        .hint("store its weights as f16, or export another format"));
    }
    atomic::write(path, |out| file.write_to(out)).map_err(|error| at("model", error))
}

/// Builds the graph of `model` and everything else that the file holds.
pub(super) fn model_file(model: &Model, options: &OnnxOptions<'_>) -> Result<ModelFile> {
    let metadata_props = metadata(model, options)?;
    options.float_type.check(&model.weights())?;
    let mut program = Program::of(model, false, 0)?;
    program.cancel_transpositions(&[]);
    let mut builder = GraphBuilder::new(&program, options.float_type);
    let layers: Vec<_> = model.inputs().iter().map(|input| input.layer().clone()).collect();
    let input = builder.inputs(&layers.iter().map(|layer| layer.name()).collect::<Vec<_>>());
    for (index, step) in program.steps.iter().enumerate() {
        builder.enter_layer(&step.layer);
        let (mut tensor, layout) = operation(&mut builder, step)?;
        if program.steps.get(index + 1).is_none_or(|next| next.layer != step.layer) {
            tensor = builder.name_output(tensor);
        }
        builder.define(step.output, (tensor, layout));
    }
    let (graph, constants) = builder.finish(model.name(), input);
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "engraft".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        metadata_props,
    };
    Ok(ModelFile { model, graph, constants })
}

/// The metadata entries of the file: `engraft_version`, `input_size` and `class_names`, then those of the options.
fn metadata(model: &Model, options: &OnnxOptions<'_>) -> Result<Vec<StringStringEntryProto>> {
    let mut entries = vec![("engraft_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let [height, width, _] = model.input_shape()[..] {
        entries.push(("input_size".into(), json!([height, width]).to_string()));
    }
    let classes = options.class_names;
    if !classes.is_empty() {
        check_class_names(model, classes)?;
        entries.push(("class_names".into(), json!(classes).to_string()));
    }
    for (key, value) in options.metadata {
        if entries.iter().any(|(taken, _)| taken == key) {
            return Err(Error::new("metadata", "keys that differ", format_args!("`{key}` twice")));
        }
        entries.push((key.clone(), value.clone()));
    }
    Ok(entries.into_iter().map(|(key, value)| StringStringEntryProto { key, value }).collect())
}

/// Returns an error unless there is one class name per unit of the first output, or two names for a single unit.
///
/// The value of a single unit (a sigmoid) is the probability of the second class.
fn check_class_names(model: &Model, names: &[String]) -> Result<()> {
    let outputs = model.output_shape().last().copied().unwrap_or(1);
    match (outputs, names.len()) {
        (1, 2) => Ok(()),
        (outputs, names) if outputs == names => Ok(()),
        (outputs, names) => Err(Error::new("class names", format_args!("{outputs}, one per output"), names)),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::onnx::messages::{GraphProto, Size};

    fn written(model: &Model) -> GraphProto {
        model_file(model, &OnnxOptions::default()).unwrap().graph
    }

    /// The name and the inputs of every node.
    fn nodes(graph: &GraphProto) -> Vec<(&str, Vec<&str>)> {
        graph.node.iter().map(|node| (node.name.as_str(), node.input.iter().map(String::as_str).collect())).collect()
    }

    fn classifier() -> Model {
        let x = Input::named("photos", [8, 8, 3]);
        let y = Rescaling::new(2.0).offset([1.0, 2.0, 3.0]).named("rescaling").call(&x).unwrap();
        let y = RandomFlip::horizontal().call(&y).unwrap();
        let y = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).named("conv").call(&y).unwrap();
        let y = MaxPooling2D::new(2).named("pool").call(&y).unwrap();
        let y = Dropout::new(0.5).call(&Flatten::new().named("flatten").call(&y).unwrap()).unwrap();
        Model::new(&x, &Dense::new(5).activation(Softmax).named("top").call(&y).unwrap()).unwrap()
    }

    #[test]
    fn two_transpositions_and_the_layers_names() {
        let graph = written(&classifier());
        let expected: [(&str, &[&str]); 10] = [
            ("rescaling/Mul", &["photos", "2"]),
            ("rescaling", &["rescaling/Mul", "rescaling/shift"]),
            ("rescaling/NCHW", &["rescaling"]),
            ("conv/Conv", &["rescaling/NCHW", "conv/kernel", "conv/bias"]),
            ("conv", &["conv/Conv"]),
            ("pool", &["conv"]),
            ("pool/NHWC", &["pool"]),
            ("flatten", &["pool/NHWC"]),
            ("top/Gemm", &["flatten", "top/kernel", "top/bias"]),
            ("top", &["top/Gemm"]),
        ];
        let found = nodes(&graph);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.0, &found.1[..]), expected);
        }
        assert_eq!((graph.input[0].name.as_str(), graph.output[0].name.as_str()), ("photos", "top"));
        let shape = graph.input[0].r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap();
        let sizes: Vec<Size> = shape.dim.into_iter().map(|size| size.value.unwrap()).collect();
        assert_eq!(sizes, [Size::Param("batch".into()), Size::Value(8), Size::Value(8), Size::Value(3)]);
    }

    #[test]
    fn outputs_have_names_of_their_own() {
        let x = Input::named("x", [4]);
        let y = Dense::new(2).named("y").call(&x).unwrap();
        let graph = written(&Model::new(&x, [&y, &x, &y]).unwrap());
        let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(names, ["y", "x/output", "y/output"]);
    }

    #[test]
    fn a_shared_layer_has_its_weights_once() {
        let shared = Dense::new(4).named("shared").into_layer();
        let x = Input::named("x", [4]);
        let inner = Input::new([4]);
        let nested = Model::new(&inner, &shared.call(&inner).unwrap()).unwrap();
        let y = shared.call(&nested.call(&x).unwrap()).unwrap();
        let file = model_file(&Model::new(&x, &y).unwrap(), &OnnxOptions::default()).unwrap();
        let expected = [
            ("shared/Gemm", vec!["x", "shared/kernel", "shared/bias"]),
            ("shared", vec!["shared/Gemm", "shared/kernel", "shared/bias"]),
        ];
        assert_eq!(nodes(&file.graph), expected);
        assert_eq!(file.constants.len(), 2);
    }

    #[test]
    fn the_length_is_known_before_a_byte_is_written() {
        for float_type in [FloatType::F32, FloatType::F16] {
            let file = model_file(&classifier(), &OnnxOptions { float_type, ..OnnxOptions::default() }).unwrap();
            let mut bytes = Vec::new();
            file.write_to(&mut bytes).unwrap();
            assert_eq!(bytes.len(), file.len());
        }
    }

    #[test]
    fn more_than_a_message_can_hold_is_refused_before_it_is_written() {
        let x = Input::new([1 << 15]);
        let model = Model::new(&x, &Dense::new(1 << 14).named("huge").call(&x).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = save(&model, &folder.path().join("huge.onnx"), &OnnxOptions::default()).unwrap_err().to_string();
        assert!(error.contains("less than 2147483648 bytes") && error.contains("as f16"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn metadata_is_checked() {
        let model = classifier();
        let names = |count: usize| (0..count).map(|index| index.to_string()).collect::<Vec<_>>();
        let failed = |options: &OnnxOptions<'_>| metadata(&model, options).unwrap_err().to_string();
        let error = failed(&OnnxOptions { class_names: &names(4), ..OnnxOptions::default() });
        assert_eq!(error, "class names: expected 5, one per output, received 4");
        let taken = [("input_size".to_owned(), "2".to_owned())];
        let error = failed(&OnnxOptions { metadata: &taken, ..OnnxOptions::default() });
        assert!(error.contains("`input_size` twice"), "{error}");
    }
}
