//! The parts of a file that are no weights, decoded whole.

use prost::Message;

use super::OnnxError;
use super::proto::{GRAPH, GraphProto, INITIALIZER, ModelProto};
use super::stored::contents;
use super::wire::{Content, fields};
use crate::pickle::is_pickle;

/// Bytes of a file that aren't weights, [`FIELD`] more counted for each of their fields: a thousand nodes come to three
/// millions.
const MAX_LEN: usize = 16 << 20;

/// A message of nothing takes two bytes in the file and up to so many in memory.
const FIELD: usize = 144;

/// A number takes one byte in the file where others stand beside it, and so many in memory.
const NUMBER: usize = 8;

/// What a field holds that doesn't take its own length in memory.
enum Holds {
    /// Nothing that is decoded.
    Weights,
    /// Numbers, one beside the other.
    Numbers,
    /// Messages; their fields of these numbers hold such things in turn.
    Messages(&'static [(u32, Holds)]),
}

use Holds::{Messages, Numbers, Weights};

/// `ModelProto.opset_import` and `.metadata_props`.
const OF_MODEL: &[(u32, Holds)] = &[(GRAPH, Weights), (8, Messages(&[])), (14, Messages(&[]))];

/// `GraphProto.node` with `NodeProto.attribute` and `AttributeProto.ints`, `GraphProto.input` and `.output`.
const OF_GRAPH: &[(u32, Holds)] = &[
    (INITIALIZER, Weights),
    (1, Messages(&[(5, Messages(&[(8, Numbers)]))])),
    (11, Messages(OF_VALUE)),
    (12, Messages(OF_VALUE)),
];

/// From `ValueInfoProto.type` down to `TensorShapeProto.dim`.
const OF_VALUE: &[(u32, Holds)] = &[(2, Messages(&[(1, Messages(&[(2, Messages(&[(1, Messages(&[]))]))]))]))];

/// A model without its graph.
///
/// # Errors
/// A file that isn't an ONNX model, or is damaged, or holds too much beside its graph.
pub(crate) fn model(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if is_pickle(bytes) {
        return Err(OnnxError::Pickle);
    }
    must_be_small(bytes, OF_MODEL)?;
    Ok(ModelProto::decode(bytes)?)
}

/// The graph of a model, without its initializers.
///
/// # Errors
/// A file that isn't an ONNX model, or is damaged, or holds too much beside its weights.
pub(super) fn graph(bytes: &[u8]) -> Result<GraphProto, OnnxError> {
    let graph = contents(bytes, GRAPH).next().ok_or(OnnxError::NoGraph)??;
    must_be_small(graph, OF_GRAPH)?;
    Ok(GraphProto::decode(graph)?)
}

/// An error where the fields of a message are more, or longer, than they ever are.
fn must_be_small(message: &[u8], known: &[(u32, Holds)]) -> Result<(), OnnxError> {
    let mut len = 0;
    count(message, known, &mut len)?;
    if len > MAX_LEN { Err(OnnxError::TooMuch) } else { Ok(()) }
}

/// Adds the fields of a message to `len`, and those in them as deep as messages are known to hold others.
fn count(message: &[u8], known: &[(u32, Holds)], len: &mut usize) -> Result<(), OnnxError> {
    for field in fields(message) {
        let (number, content) = field?;
        *len += FIELD;
        let Content::Bytes(bytes) = content else { continue };
        match known.iter().find(|(known, _)| *known == number) {
            Some((_, Messages(inside))) => count(bytes, inside, len)?,
            Some((_, Numbers)) => *len += bytes.len() * NUMBER,
            Some((_, Weights)) => {}
            None => *len += bytes.len(),
        }
    }
    Ok(())
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
