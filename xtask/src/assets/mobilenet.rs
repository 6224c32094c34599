//! The ImageNet weights of MobileNet 1.0, 224 pixels, with its classifier of 1001 classes (class 0 is the background).
//!
//! A package of another purpose has them in a frozen TensorFlow graph, below a head of its own.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use engraft_formats::{FloatType, atomic, safetensors};
use engraft_nn::Tensor;
use flate2::read::GzDecoder;
use prost::Message;

use super::check;
use super::download::{self, PIP_INSTALL, PIP_PROBE, Package};
use crate::TaskError;

const PACKAGE: Package = Package {
    file: "nudity-0.2.3.tar.gz",
    sha256: "d26e10346f00ad76b1166a221f1b56877d154ca343e82c6e6c8e738ca5f27d5f",
    client: &["python3", concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/sdist.py")],
    requirement: "nudity==0.2.3",
    probe: PIP_PROBE,
    install: PIP_INSTALL,
};

const GRAPH: &str = "nudity-0.2.3/nudity/files/retrained_graph.pb";
const GRAPH_SHA256: &str = "3b90af536f810f5f75e9f6d431bc2e8a3c4fc2ff4f693aa0dd4ae429816f8735";

/// The kernels and normalizations of 27 convolutions, and the kernel and bias of the classifier.
const WEIGHTS: usize = 27 * 5 + 2;

/// Largest accepted size of the graph, in bytes.
const MAX_GRAPH: u64 = 32 << 20;

/// Writes `mobilenet.safetensors` with Keras' names, unless it exists.
pub(super) fn prepare(assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    let path = assets.join("mobilenet.safetensors");
    if !path.exists() {
        let weights = weights(&graph(downloads)?)?;
        let failed = |error: &dyn std::fmt::Display| TaskError::at(GRAPH, error);
        let arrays: Vec<(&str, &Tensor)> = weights.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let bytes = safetensors::to_bytes(&arrays, FloatType::F32).map_err(|error| failed(&error))?;
        atomic::write(&path, |file| file.write_all(&bytes)).map_err(|error| failed(&error))?;
    }
    eprintln!("assets/mobilenet.safetensors: MobileNet 1.0 with its classifier of 1001 classes, ImageNet, f32");
    Ok(())
}

/// The bytes of the graph.
fn graph(downloads: &Path) -> Result<Vec<u8>, TaskError> {
    let failed = |error: &dyn std::fmt::Display| TaskError::at(PACKAGE.file, error);
    let archive = download::package(&PACKAGE, downloads)?;
    let mut archive = tar::Archive::new(GzDecoder::new(Cursor::new(archive)));
    for entry in archive.entries().map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        if entry.path().is_ok_and(|path| path == Path::new(GRAPH)) {
            let mut bytes = Vec::new();
            entry.take(MAX_GRAPH).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
            check(GRAPH, &bytes, GRAPH_SHA256)?;
            return Ok(bytes);
        }
    }
    Err(failed(&format_args!("no {GRAPH}")))
}

/// The weights of the graph by the names of Keras. Axes have Keras' order already.
fn weights(graph: &[u8]) -> Result<Vec<(String, Tensor)>, TaskError> {
    let failed = |error: &dyn std::fmt::Display| TaskError::at(GRAPH, error);
    let graph = GraphDef::decode(graph).map_err(|error| failed(&error))?;
    let mut weights = Vec::new();
    for node in graph.node.iter().filter(|node| node.op == "Const") {
        let constant = node.attr.get("value").and_then(|value| value.tensor.as_ref());
        let (Some(name), Some(constant)) = (keras_name(&node.name), constant) else { continue };
        let values =
            constant.tensor_content.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let axes = constant.tensor_shape.iter().flat_map(|shape| &shape.dim);
        let shape: Vec<usize> = axes.filter_map(|axis| usize::try_from(axis.size).ok()).collect();
        weights.push((name, Tensor::new(shape, values).map_err(|error| failed(&error))?));
    }
    match weights.len() {
        WEIGHTS => Ok(weights),
        other => Err(failed(&format_args!("expected {WEIGHTS} weights, received {other}"))),
    }
}

/// The name of a weight of Keras' MobileNet, by the name of the graph's constant; `None` for a constant of another kind.
fn keras_name(constant: &str) -> Option<String> {
    let (block, weight) = constant.strip_prefix("MobilenetV1/")?.split_once('/')?;
    let layer = match block.strip_prefix("Conv2d_") {
        Some("0") => "conv1".to_owned(),
        Some(rest) => match rest.split_once('_')? {
            (number, "depthwise") => format!("conv_dw_{number}"),
            (number, "pointwise") => format!("conv_pw_{number}"),
            _ => return None,
        },
        None if block == "Logits" => "conv_preds".to_owned(),
        None => return None,
    };
    Some(match weight {
        "weights" | "depthwise_weights" | "Conv2d_1c_1x1/weights" => format!("{layer}/kernel"),
        "Conv2d_1c_1x1/biases" => format!("{layer}/bias"),
        _ => format!("{layer}_bn/{}", weight.strip_prefix("BatchNorm/")?),
    })
}

/// The parts of TensorFlow's `GraphDef` that hold constants.
#[derive(Clone, PartialEq, Message)]
struct GraphDef {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeDef>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeDef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    op: String,
    #[prost(map = "string, message", tag = "5")]
    attr: HashMap<String, AttrValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AttrValue {
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShapeProto>,
    #[prost(bytes = "vec", tag = "4")]
    tensor_content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_the_names_of_keras() {
        for (constant, expected) in [
            ("MobilenetV1/Conv2d_13_depthwise/BatchNorm/moving_mean", Some("conv_dw_13_bn/moving_mean")),
            ("MobilenetV1/Conv2d_1_pointwise/weights", Some("conv_pw_1/kernel")),
            ("MobilenetV1/Conv2d_0/weights", Some("conv1/kernel")),
            ("MobilenetV1/Logits/Conv2d_1c_1x1/biases", Some("conv_preds/bias")),
            ("MobilenetV1/MobilenetV1/Conv2d_0/BatchNorm/batchnorm/add/y", None),
            ("MobilenetV1/Predictions/Reshape/shape", None),
            ("final_training_ops/biases/final_biases", None),
        ] {
            assert_eq!(keras_name(constant).as_deref(), expected, "{constant}");
        }
    }
}
