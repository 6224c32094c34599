//! Writing a model as an ONNX file.

use std::path::Path;

use engraft_nn::Program;
use engraft_nn::{Error, ErrorKind, Model, Result};
use serde_json::json;

use super::MAX_FILE_LEN;
use super::file::ModelFile;
use super::graph::GraphBuilder;
use super::operation::operation;
use super::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::error::at;
use crate::{Precision, atomic};

/// The version of ONNX' operators that [`save`] writes, from 2022: nothing here needs a later one.
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

/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;

/// What [`save`] writes beside layers and weights, and how.
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
    /// In which numbers kernels are stored. They are cast to f32 before use, which onnxruntime does
    /// once, when it loads the file: few processors compute with f16, and where they don't each
    /// operation would cast its operands.
    pub precision: Precision,
    /// Names of the classes in the order of the first output: a JSON list under `class_names` in the
    /// file's metadata.
    pub class_names: &'a [String],
    /// Further entries of the metadata, by key.
    pub metadata: &'a [(String, String)],
}

/// Writes a model to an ONNX file: what it computes when it predicts, with its weights.
///
/// Inputs and outputs keep the layout they have here, channels last, and the names of their layers.
/// Metadata beside the options': `engraft_version`, and for images `input_size`, a JSON list of height
/// and width. Weights are laid down as they are, without a second copy in memory; the file takes its
/// place only when it is whole.
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
/// The file would reach the 2 GiB that ONNX files stay below; a weight that f16 can't hold; class
/// names that are not as many as outputs; an entry of the metadata that is taken; a file that can't
/// be written.
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

pub(super) fn model_file(model: &Model, options: &OnnxOptions<'_>) -> Result<ModelFile> {
    let metadata_props = metadata(model, options)?;
    options.precision.check(&model.weights())?;
    let program = Program::of(model, false, 0)?;
    let mut builder = GraphBuilder::new(&program, options.precision);
    let layers: Vec<_> = model.inputs().iter().map(|input| input.layer().clone()).collect();
    let input = builder.inputs(&layers.iter().map(|layer| layer.name()).collect::<Vec<_>>());
    for (index, step) in program.steps.iter().enumerate() {
        builder.enter(&step.layer);
        let (mut tensor, layout) = operation(&mut builder, step)?;
        if program.steps.get(index + 1).is_none_or(|next| next.layer != step.layer) {
            tensor = builder.name_output(tensor);
        }
        builder.hold(step.output, (tensor, layout));
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

/// One name an output, or two for a single one, which is the share of the second.
fn check_class_names(model: &Model, names: &[String]) -> Result<()> {
    let outputs = model.output_shape().last().copied().unwrap_or(1);
    match (outputs, names.len()) {
        (1, 2) => Ok(()),
        (outputs, names) if outputs == names => Ok(()),
        (outputs, names) => Err(Error::new("class names", format_args!("{outputs}, one an output"), names)),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::onnx::proto::{GraphProto, Size};

    fn written(model: &Model) -> GraphProto {
        model_file(model, &OnnxOptions::default()).unwrap().graph
    }

    /// Names of the nodes and of what they read.
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
        for precision in [Precision::F32, Precision::F16] {
            let file = model_file(&classifier(), &OnnxOptions { precision, ..OnnxOptions::default() }).unwrap();
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
        assert_eq!(error, "class names: expected 5, one an output, received 4");
        let taken = [("input_size".to_owned(), "2".to_owned())];
        let error = failed(&OnnxOptions { metadata: &taken, ..OnnxOptions::default() });
        assert!(error.contains("`input_size` twice"), "{error}");
    }
}
