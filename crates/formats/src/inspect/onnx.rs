//! Inspects ONNX files: their weights, producer, operator set and metadata.

use std::path::Path;

use engraft_nn::{Error, Result};

use super::{ArrayInfo, Contents, FORMATS};
use crate::onnx::{self, OnnxError, RawInitializer};

/// Inspects the ONNX file at `path`.
///
/// ONNX has no signature, so every file without a known signature is read as ONNX. The error therefore names all supported
/// formats.
pub(super) fn contents(path: &Path) -> Result<Contents> {
    read(path).map_err(|error| {
        Error::new(path.display(), FORMATS, format_args!("a file that can't be read as ONNX either: {error}"))
            .with_kind(error.kind())
            .caused_by(error)
    })
}

fn read(path: &Path) -> std::result::Result<Contents, OnnxError> {
    let bytes = onnx::read_file(path)?;
    let model = onnx::decode_model(&bytes)?;
    let (mut arrays, mut problems) = (Vec::new(), Vec::new());
    for tensor in onnx::raw_initializers(&bytes)?.iter().filter(|tensor| !tensor.is_ints()) {
        arrays.push(array(tensor)?);
        match tensor.require_internal() {
            Err(error) => problems.push(error.to_string()),
            // The values are decoded only to find out whether the tensor is damaged.
            Ok(()) if tensor.is_float() => drop(tensor.values()?),
            Ok(()) => {}
        }
    }
    let producer = format!("{} {}", model.producer_name, model.producer_version).trim().to_owned();
    Ok(Contents {
        format: "ONNX model (.onnx)".into(),
        written_by: Some(producer).filter(|name| !name.is_empty()),
        // ONNX' own operator set has an empty domain, or its alias `ai.onnx`.
        opset: model.opset_import.iter().find(|set| ["", "ai.onnx"].contains(&&*set.domain)).map(|set| set.version),
        arrays,
        texts: model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        problems,
        ..Contents::default()
    })
}

fn array(tensor: &RawInitializer<'_>) -> std::result::Result<ArrayInfo, OnnxError> {
    Ok(ArrayInfo { name: tensor.name.to_owned(), shape: tensor.shape()?, kind: tensor.data_type() })
}
