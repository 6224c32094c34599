//! Decodes an ONNX file except for its initializers: the model's header, and the graph's nodes, inputs and outputs.
//!
//! Sizes are checked before `prost` decodes: a field of 2 bytes in the file can take 144 bytes in memory. So a limit on the
//! file's length would not limit the memory.

use prost::Message;

use super::error::OnnxError;
use super::messages::{GRAPH, GraphProto, INITIALIZER, ModelProto};
use super::protobuf::{FieldValue, fields};
use super::raw_initializer::bytes_fields;
use crate::pickle::is_pickle;

/// Limit on the estimate of the bytes that a model or graph takes in memory, initializers excluded. A graph of a thousand nodes
/// takes about 3 million.
const MAX_DECODED_BYTES: usize = 16 << 20;

/// The most bytes that a field takes in memory beside its content. An empty message takes 2 bytes in the file, but up to 144 in
/// memory.
const FIELD_BYTES: usize = 144;

/// Bytes that an integer of a packed list takes in memory; in the file it takes 1 or more.
const NUMBER_BYTES: usize = 8;

/// The content of a field whose size in memory is not its length in the file.
enum FieldContent {
    /// Initializers, which are not decoded here.
    Weights,
    /// A packed list of integers.
    Numbers,
    /// Nested messages, with their own fields of this kind by field number.
    Messages(&'static [(u32, FieldContent)]),
}

use FieldContent::{Messages, Numbers, Weights};

/// The fields of `ModelProto` whose size in memory is not their length in the file: `graph`, `opset_import`, `metadata_props`.
const MODEL_FIELDS: &[(u32, FieldContent)] = &[(GRAPH, Weights), (8, Messages(&[])), (14, Messages(&[]))];

/// The fields of `GraphProto` whose size in memory is not their length in the file: `initializer`, `node` (with
/// `NodeProto.attribute` and `AttributeProto.ints`), `input` and `output`.
const GRAPH_FIELDS: &[(u32, FieldContent)] = &[
    (INITIALIZER, Weights),
    (1, Messages(&[(5, Messages(&[(8, Numbers)]))])),
    (11, Messages(VALUE_FIELDS)),
    (12, Messages(VALUE_FIELDS)),
];

/// The fields of `ValueInfoProto` whose size in memory is not their length in the file: `type`, down to `TensorShapeProto.dim`.
const VALUE_FIELDS: &[(u32, FieldContent)] =
    &[(2, Messages(&[(1, Messages(&[(2, Messages(&[(1, Messages(&[]))]))]))]))];

/// Decodes a model without its graph.
///
/// # Errors
/// A file that isn't an ONNX model, is damaged, or has metadata beyond [`MAX_DECODED_BYTES`].
pub(crate) fn decode_model(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if is_pickle(bytes) {
        return Err(OnnxError::Pickle);
    }
    check_decoded_size(bytes, MODEL_FIELDS)?;
    Ok(ModelProto::decode(bytes)?)
}

/// Decodes the graph of an encoded model, without its initializers.
///
/// # Errors
/// A file that isn't an ONNX model, is damaged, or has a graph beyond [`MAX_DECODED_BYTES`].
pub(super) fn decode_graph(bytes: &[u8]) -> Result<GraphProto, OnnxError> {
    let graph = bytes_fields(bytes, GRAPH).next().ok_or(OnnxError::NoGraph)??;
    check_decoded_size(graph, GRAPH_FIELDS)?;
    Ok(GraphProto::decode(graph)?)
}

/// Returns an error if a message could take more than [`MAX_DECODED_BYTES`] in memory.
fn check_decoded_size(message: &[u8], known: &[(u32, FieldContent)]) -> Result<(), OnnxError> {
    let mut bytes = 0;
    add_decoded_size(message, known, &mut bytes)?;
    if bytes > MAX_DECODED_BYTES { Err(OnnxError::GraphTooLarge) } else { Ok(()) }
}

/// Adds an upper bound on a message's size in memory to `total`. The recursion is no deeper than the nesting of `known`.
fn add_decoded_size(message: &[u8], known: &[(u32, FieldContent)], total: &mut usize) -> Result<(), OnnxError> {
    for field in fields(message) {
        let (number, content) = field?;
        *total += FIELD_BYTES;
        let FieldValue::Bytes(bytes) = content else { continue };
        match known.iter().find(|(known, _)| *known == number) {
            Some((_, Messages(inside))) => add_decoded_size(bytes, inside, total)?,
            Some((_, Numbers)) => *total += bytes.len() * NUMBER_BYTES,
            Some((_, Weights)) => {}
            None => *total += bytes.len(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::protobuf::field_prefix;

    #[test]
    fn everything_but_weights_is_decoded_and_limited() {
        let small = include_bytes!("../../tests/data/small.onnx");
        assert_eq!(decode_model(small).unwrap().opset_import.len(), 1);
        assert!(!decode_graph(small).unwrap().node.is_empty());
        let tensor = [field_prefix(INITIALIZER, MAX_DECODED_BYTES + 1), vec![0; MAX_DECODED_BYTES + 1]].concat();
        let with_weights = [field_prefix(GRAPH, tensor.len()), tensor].concat();
        assert_eq!(decode_graph(&with_weights).unwrap(), GraphProto::default());
        let nodes = [field_prefix(GRAPH, MAX_DECODED_BYTES + 2), [10, 0].repeat(MAX_DECODED_BYTES / 2 + 1)].concat();
        assert!(matches!(decode_graph(&nodes), Err(OnnxError::GraphTooLarge)));
        assert!(matches!(decode_model(&[130, 1, 0].repeat(MAX_DECODED_BYTES / 2 + 1)), Err(OnnxError::GraphTooLarge)));
        assert!(matches!(decode_graph(b""), Err(OnnxError::NoGraph)));
    }
}
