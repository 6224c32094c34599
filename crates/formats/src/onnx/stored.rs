//! The initializers of a graph as they lie in a file, and where its nodes use them.

use std::collections::HashMap;

use super::OnnxError;
use super::proto::{DATA_TYPES, EXTERNAL, FLOAT, FLOAT16, GRAPH, INITIALIZER, INT64, RAW_DATA};
use super::wire::{Content, fields, packed};
use crate::numbers::Number;
use crate::pickle::is_pickle;

/// A tensor of no bytes takes two in the file and a hundred in memory; no model has this many.
pub(super) const MAX_INITIALIZERS: usize = 1 << 16;

/// No weight has more axes.
const MAX_AXES: usize = 8;

/// `GraphProto.node`, `NodeProto.input` and `.attribute`, `AttributeProto.name` and `.i`.
const NODE: u32 = 1;
const NODE_INPUT: u32 = 1;
const NODE_ATTRIBUTE: u32 = 5;
const ATTRIBUTE_NAME: u32 = 1;
const ATTRIBUTE_INT: u32 = 3;

/// `TensorProto.dims`, `.data_type`, `.float_data`, `.name` and `.data_location`.
const DIMS: u32 = 1;
const DATA_TYPE: u32 = 2;
const FLOAT_DATA: u32 = 4;
const NAME: u32 = 8;
const DATA_LOCATION: u32 = 14;

/// A tensor whose numbers haven't been looked at.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) name: &'a str,
    dims: Vec<i64>,
    data_type: i64,
    external: bool,
    raw: &'a [u8],
    message: &'a [u8],
}

/// The initializers of all graphs in a model (there is one), in the file's order.
///
/// # Errors
/// A file that isn't an ONNX model, or is damaged.
pub(crate) fn stored(model: &[u8]) -> Result<Vec<Stored<'_>>, OnnxError> {
    if is_pickle(model) {
        return Err(OnnxError::Pickle);
    }
    let mut found = Vec::new();
    let mut graphs = 0;
    for graph in contents(model, GRAPH) {
        graphs += 1;
        for tensor in contents(graph?, INITIALIZER) {
            if found.len() == MAX_INITIALIZERS {
                return Err(OnnxError::TooMany);
            }
            found.push(Stored::read(tensor?)?);
        }
    }
    if graphs == 0 { Err(OnnxError::NoGraph) } else { Ok(found) }
}

/// Where a node uses an initializer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// Which of those stored.
    pub(super) index: usize,
    /// Whether the node is a Gemm that transposes its second matrix.
    pub(super) transposed: bool,
}

/// The initializers in the order in which the nodes first use them, which is the order of the layers: that of the
/// file may be any.
///
/// # Errors
/// A damaged file.
pub(super) fn in_order_of_use(model: &[u8], stored: &[Stored<'_>]) -> Result<Vec<Use>, OnnxError> {
    let mut unused: HashMap<&[u8], usize> =
        stored.iter().enumerate().map(|(index, tensor)| (tensor.name.as_bytes(), index)).collect();
    let mut uses = Vec::new();
    for graph in contents(model, GRAPH) {
        for node in contents(graph?, NODE) {
            let node = node?;
            let first = uses.len();
            for input in contents(node, NODE_INPUT) {
                uses.extend(unused.remove(input?).map(|index| Use { index, transposed: false }));
            }
            if uses.len() > first && transposes(node)? {
                uses[first..].iter_mut().for_each(|used| used.transposed = true);
            }
        }
    }
    Ok(uses)
}

/// Whether a node has the attribute `transB` set.
fn transposes(node: &[u8]) -> Result<bool, OnnxError> {
    let mut transposes = false;
    for attribute in contents(node, NODE_ATTRIBUTE) {
        let (mut named, mut set) = (false, false);
        for field in fields(attribute?) {
            match field? {
                (ATTRIBUTE_NAME, Content::Bytes(name)) => named = name == b"transB",
                (ATTRIBUTE_INT, Content::Number(value)) => set = value != 0,
                _ => {}
            }
        }
        transposes |= named && set;
    }
    Ok(transposes)
}

/// The contents of each field of this number that holds bytes.
pub(super) fn contents(message: &[u8], wanted: u32) -> impl Iterator<Item = Result<&[u8], OnnxError>> {
    fields(message).filter_map(move |field| match field {
        Ok((number, Content::Bytes(bytes))) if number == wanted => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

impl<'a> Stored<'a> {
    fn read(message: &'a [u8]) -> Result<Self, OnnxError> {
        let mut tensor = Self { name: "", dims: Vec::new(), data_type: 0, external: false, raw: &[], message };
        for field in fields(message) {
            match field? {
                (NAME, Content::Bytes(name)) => {
                    tensor.name = std::str::from_utf8(name).map_err(|_| OnnxError::Field { field: NAME.into() })?;
                }
                (DIMS, Content::Number(size)) => tensor.dims.push(size as i64),
                (DIMS, Content::Bytes(sizes)) => {
                    for size in packed(sizes).take(MAX_AXES + 1) {
                        tensor.dims.push(size? as i64);
                    }
                }
                (DATA_TYPE, Content::Number(data_type)) => tensor.data_type = data_type as i64,
                (DATA_LOCATION, Content::Number(location)) => tensor.external = location == EXTERNAL as u64,
                (RAW_DATA, Content::Bytes(raw)) => tensor.raw = raw,
                _ => {}
            }
            if tensor.dims.len() > MAX_AXES {
                return Err(tensor.unfit(0));
            }
        }
        Ok(tensor)
    }

    /// Whether it is a list of sizes or positions: nothing else is stored as such integers.
    pub(crate) fn is_ints(&self) -> bool {
        self.data_type == i64::from(INT64)
    }

    /// What ONNX calls the type of its numbers.
    pub(crate) fn data_type(&self) -> String {
        let known = usize::try_from(self.data_type).ok().and_then(|index| DATA_TYPES.get(index));
        known.map_or_else(|| format!("data type {}", self.data_type), |&name| name.to_owned())
    }

    /// Whether its numbers are f32, or f16, which are read as f32.
    pub(crate) fn is_float(&self) -> bool {
        [FLOAT, FLOAT16].map(i64::from).contains(&self.data_type)
    }

    /// Its shape.
    ///
    /// # Errors
    /// A negative size.
    pub(crate) fn shape(&self) -> Result<Vec<usize>, OnnxError> {
        let shape: Option<_> = self.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
        shape.ok_or_else(|| self.unfit(0))
    }

    /// Its numbers.
    ///
    /// # Errors
    /// They stand in another file, or don't fill the shape.
    pub(crate) fn values(&self) -> Result<Vec<f32>, OnnxError> {
        self.must_be_here()?;
        let values = if self.data_type == i64::from(FLOAT16) {
            self.raw_values(Number::F16)?
        } else if self.raw.is_empty() {
            self.float_data()?
        } else {
            self.raw_values(Number::F32)?
        };
        self.must_hold(values.len()).map(|()| values)
    }

    /// Its numbers, where they are 64-bit integers and stand as bytes.
    ///
    /// # Errors
    /// They stand in another file, or don't fill the shape.
    pub(super) fn ints(&self) -> Result<Vec<i64>, OnnxError> {
        self.must_be_here()?;
        let (numbers, _) = self.raw.as_chunks();
        self.must_hold(numbers.len())?;
        Ok(numbers.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
    }

    /// An error where its numbers stand in another file.
    pub(crate) fn must_be_here(&self) -> Result<(), OnnxError> {
        if self.external { Err(OnnxError::External { name: self.name.to_owned() }) } else { Ok(()) }
    }

    fn must_hold(&self, values: usize) -> Result<(), OnnxError> {
        let count =
            self.dims.iter().try_fold(1usize, |product, &size| product.checked_mul(usize::try_from(size).ok()?));
        if count == Some(values) { Ok(()) } else { Err(self.unfit(values)) }
    }

    fn raw_values(&self, number: Number) -> Result<Vec<f32>, OnnxError> {
        let values = number.to_f32(self.raw);
        if self.raw.len().is_multiple_of(number.size()) { Ok(values) } else { Err(self.unfit(values.len())) }
    }

    fn float_data(&self) -> Result<Vec<f32>, OnnxError> {
        let mut values = Vec::new();
        for data in contents(self.message, FLOAT_DATA) {
            let (numbers, rest) = data?.as_chunks();
            values.extend(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            if !rest.is_empty() {
                return Err(self.unfit(values.len()));
            }
        }
        Ok(values)
    }

    fn unfit(&self, received: usize) -> OnnxError {
        OnnxError::Shape { name: self.name.to_owned(), shape: self.dims.clone(), received }
    }
}
