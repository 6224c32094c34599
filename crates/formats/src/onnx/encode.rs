//! Encodes a model as an ONNX file. The weights are streamed one by one, so that the encoded file is never in memory
//! as a whole.

use std::io::{self, Write};

use prost::Message;

use super::initializer_writer::Constant;
use super::messages::{GRAPH, GraphProto, INITIALIZER, ModelProto};
use super::protobuf::field_prefix;

/// A model ready to be written. Weights are handles to those of the model; their values are read while they are written.
#[derive(Debug)]
pub(super) struct ModelFile {
    pub(super) model: ModelProto,
    pub(super) graph: GraphProto,
    pub(super) constants: Vec<Constant>,
}

impl ModelFile {
    /// The length of the encoded file in bytes.
    pub(super) fn len(&self) -> usize {
        let graph = self.graph_len();
        self.model.encoded_len() + field_prefix(GRAPH, graph).len() + graph
    }

    fn graph_len(&self) -> usize {
        let field = |constant: &Constant| {
            let len = constant.encoded_len();
            field_prefix(INITIALIZER, len).len() + len
        };
        self.graph.encoded_len() + self.constants.iter().map(field).sum::<usize>()
    }

    /// Encodes the file into `out`.
    ///
    /// Protobuf allows fields in any order: the initializers come after the other fields of the graph.
    ///
    /// # Errors
    /// The errors of `out`.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.model.encode_to_vec())?;
        out.write_all(&field_prefix(GRAPH, self.graph_len()))?;
        out.write_all(&self.graph.encode_to_vec())?;
        self.constants.iter().try_for_each(|constant| {
            out.write_all(&field_prefix(INITIALIZER, constant.encoded_len()))?;
            constant.write_to(out)
        })
    }
}
