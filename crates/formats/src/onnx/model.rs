//! The parts of a file that are no weights, decoded whole.

use prost::Message;

use super::OnnxError;
use super::proto::{GRAPH, GraphProto, INITIALIZER, ModelProto};
use super::stored::contents;
use super::wire::{Content, fields};
use crate::pickle::is_pickle;

/// Bytes of a file that aren't weights: a thousand nodes take a hundred thousand. Small messages take many times their
/// bytes in memory.
const MAX_LEN: usize = 16 << 20;

/// A model without its graph.
///
/// # Errors
/// A file that isn't an ONNX model, or is damaged, or holds too much beside its graph.
pub(crate) fn model(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if is_pickle(bytes) {
        return Err(OnnxError::Pickle);
    }
    must_be_small(bytes, GRAPH)?;
    Ok(ModelProto::decode(bytes)?)
}

/// The graph of a model, without its initializers.
///
/// # Errors
/// A file that isn't an ONNX model, or is damaged, or holds too much beside its weights.
pub(super) fn graph(bytes: &[u8]) -> Result<GraphProto, OnnxError> {
    let graph = contents(bytes, GRAPH).next().ok_or(OnnxError::NoGraph)??;
    must_be_small(graph, INITIALIZER)?;
    Ok(GraphProto::decode(graph)?)
}

/// An error where the fields of a message but for one are longer than they ever are.
fn must_be_small(message: &[u8], but_for: u32) -> Result<(), OnnxError> {
    let mut len = 0;
    for field in fields(message) {
        match field? {
            (number, Content::Bytes(bytes)) if number != but_for => len += bytes.len() + 2,
            _ => len += 2,
        }
    }
    if len > MAX_LEN { Err(OnnxError::TooMuch) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::file::field_prefix;

    #[test]
    fn what_is_no_weight_is_decoded_and_small() {
        let small = include_bytes!("../../tests/data/small.onnx");
        assert_eq!(model(small).unwrap().opset_import.len(), 1);
        assert!(!graph(small).unwrap().node.is_empty());
        let tensor = [field_prefix(INITIALIZER, MAX_LEN + 1), vec![0; MAX_LEN + 1]].concat();
        let with_weights = [field_prefix(GRAPH, tensor.len()), tensor].concat();
        assert_eq!(graph(&with_weights).unwrap(), GraphProto::default());
        let nodes = [field_prefix(GRAPH, MAX_LEN + 2), [10, 0].repeat(MAX_LEN / 2 + 1)].concat();
        assert!(matches!(graph(&nodes), Err(OnnxError::TooMuch)));
        assert!(matches!(model(&[130, 1, 0].repeat(MAX_LEN / 2 + 1)), Err(OnnxError::TooMuch)));
        assert!(matches!(graph(b""), Err(OnnxError::NoGraph)));
    }
}
