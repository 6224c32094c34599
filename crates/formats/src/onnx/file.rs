//! A model's bytes: small messages as a whole, the weights between them one after the other.

use std::io::{self, Write};

use prost::{Message, encode_length_delimiter};

use super::constant::Constant;
use super::proto::{GRAPH, GraphProto, INITIALIZER, ModelProto};

/// A model to be written. Nothing of its weights is copied before they are.
#[derive(Debug)]
pub(super) struct ModelFile {
    pub(super) model: ModelProto,
    pub(super) graph: GraphProto,
    pub(super) constants: Vec<Constant>,
}

impl ModelFile {
    /// Bytes of the file.
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

    /// Writes the file. Fields of a message may come in any order, so the weights come last.
    ///
    /// # Errors
    /// What can't be written.
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

/// What stands before a field that holds `len` bytes: its number and wire type, and the length.
pub(super) fn field_prefix(number: u32, len: usize) -> Vec<u8> {
    const LENGTH_DELIMITED: usize = 2;
    let mut prefix = Vec::new();
    for value in [(number as usize) << 3 | LENGTH_DELIMITED, len] {
        encode_length_delimiter(value, &mut prefix).expect("a vector has room");
    }
    prefix
}
