//! ONNX files: their weights, who made them, and what they say of themselves.

use std::path::Path;

use engraft_nn::{Error, Result};

use super::{ArrayInfo, Contents};
use crate::onnx::{self, OnnxError, Stored};

/// What an ONNX file holds.
pub(super) fn contents(path: &Path) -> Result<Contents> {
    read(path).map_err(|error| {
        Error::new(
            path.display(),
            "a .keras, .h5, .weights.h5, .safetensors, .onnx, .npy or .npz file",
            format_args!("none: read as ONNX, {error}"),
        )
        .with_kind(error.kind())
        .caused_by(error)
    })
}

fn read(path: &Path) -> std::result::Result<Contents, OnnxError> {
    let bytes = onnx::read_file(path)?;
    let model = onnx::model(&bytes)?;
    let (mut arrays, mut problems) = (Vec::new(), Vec::new());
    for tensor in onnx::stored(&bytes)?.iter().filter(|tensor| !tensor.is_ints()) {
        arrays.push(array(tensor)?);
        match tensor.must_be_here() {
            Err(error) => problems.push(error.to_string()),
            Ok(()) if tensor.is_float() => drop(tensor.values()?),
            Ok(()) => {}
        }
    }
    let producer = format!("{} {}", model.producer_name, model.producer_version).trim().to_owned();
    Ok(Contents {
        format: "ONNX model (.onnx)".into(),
        written_by: Some(producer).filter(|name| !name.is_empty()),
        // Other sets have names.
        opset: model.opset_import.iter().find(|set| ["", "ai.onnx"].contains(&&*set.domain)).map(|set| set.version),
        arrays,
        texts: model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        problems,
        ..Contents::default()
    })
}

fn array(tensor: &Stored<'_>) -> std::result::Result<ArrayInfo, OnnxError> {
    Ok(ArrayInfo { name: tensor.name.to_owned(), shape: tensor.shape()?, kind: tensor.data_type() })
}
