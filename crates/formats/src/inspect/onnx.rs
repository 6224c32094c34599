//! ONNX files: their weights, who made them, and what they say of themselves.

use std::path::Path;

use engraft_nn::{Error, Result};
use prost::Message;

use super::{Contents, array_info};
use crate::onnx;

/// The parts of `ModelProto` that are no graph; that one is passed over.
#[derive(Clone, PartialEq, Message)]
struct ModelFacts {
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// What an ONNX file holds.
pub(super) fn contents(path: &Path) -> Result<Contents> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(
            path.display(),
            "a .keras, .h5, .weights.h5, .safetensors, .onnx, .npy or .npz file",
            format_args!("none: read as ONNX, {error}"),
        )
    };
    // It is read within limits there; the file is small enough to be held twice.
    let initializers = onnx::initializers(path).map_err(|error| failed(&error))?;
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let facts = ModelFacts::decode(&bytes[..]).map_err(|error| failed(&error))?;
    let arrays = initializers.into_iter().map(|array| array_info(array.name, &array.shape, "float"));
    Ok(Contents {
        format: "ONNX model (.onnx)".into(),
        written_by: Some(format!("{} {}", facts.producer_name, facts.producer_version).trim().to_owned())
            .filter(|name| !name.is_empty()),
        arrays: arrays.collect(),
        texts: facts.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        ..Contents::default()
    })
}
