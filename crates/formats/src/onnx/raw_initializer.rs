//! The initializers of an ONNX file in undecoded form, and the order in which the graph's nodes use them.
//!
//! The readers of weights and the inspection of files use this module: only the requested tensors are decoded, one at a time.

use std::collections::HashMap;

use super::error::OnnxError;
use super::limits::MAX_INITIALIZERS;
use super::messages::{DATA_TYPES, EXTERNAL, FLOAT, FLOAT16, GRAPH, INITIALIZER, INT64, RAW_DATA};
use super::protobuf::{FieldValue, fields, packed_varints};
use crate::element_type::ElementType;
use crate::pickle::is_pickle;

/// The most axes that an initializer may have; no weight has more.
const MAX_AXES: usize = 8;

/// Field numbers: `GraphProto.node`, `NodeProto.input` and `.attribute`, `AttributeProto.name` and `.i`.
const NODE: u32 = 1;
const NODE_INPUT: u32 = 1;
const NODE_ATTRIBUTE: u32 = 5;
const ATTRIBUTE_NAME: u32 = 1;
const ATTRIBUTE_INT: u32 = 3;

/// Field numbers: `TensorProto.dims`, `.data_type`, `.float_data`, `.name` and `.data_location`.
const DIMS: u32 = 1;
const DATA_TYPE: u32 = 2;
const FLOAT_DATA: u32 = 4;
const NAME: u32 = 8;
const DATA_LOCATION: u32 = 14;

/// An initializer (`TensorProto`) whose values are not decoded yet.
#[derive(Debug)]
pub(crate) struct RawInitializer<'a> {
    pub(crate) name: &'a str,
    dims: Vec<i64>,
    data_type: i64,
    /// Whether the values are stored in another file.
    external: bool,
    raw_data: &'a [u8],
    /// The whole encoded message. `float_data` is looked up in it when the values are requested.
    message: &'a [u8],
}

/// Finds the initializers of an encoded model, in the file's order.
///
/// # Errors
/// A file that isn't an ONNX model, is damaged, or has more than [`MAX_INITIALIZERS`] initializers.
pub(crate) fn raw_initializers(model: &[u8]) -> Result<Vec<RawInitializer<'_>>, OnnxError> {
    if is_pickle(model) {
        return Err(OnnxError::Pickle);
    }
    let mut found = Vec::new();
    let mut graphs = 0;
    for graph in bytes_fields(model, GRAPH) {
        graphs += 1;
        for tensor in bytes_fields(graph?, INITIALIZER) {
            if found.len() == MAX_INITIALIZERS {
                return Err(OnnxError::TooManyInitializers);
            }
            found.push(RawInitializer::decode(tensor?)?);
        }
    }
    if graphs == 0 { Err(OnnxError::NoGraph) } else { Ok(found) }
}

/// The first use of an initializer by a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitializerUse {
    /// The initializer's index in file order.
    pub(super) index: usize,
    /// Whether the node is a `Gemm` with `transB` set, so that a kernel is `[outputs, inputs]`.
    pub(super) transposed: bool,
}

/// Lists the initializers that a node uses, in the order in which the nodes first use them.
///
/// The order of use is the order of the layers, while the order of the initializers in the file is arbitrary.
///
/// # Errors
/// A damaged file.
pub(super) fn in_order_of_use(
    model: &[u8],
    initializers: &[RawInitializer<'_>],
) -> Result<Vec<InitializerUse>, OnnxError> {
    let mut unused: HashMap<&[u8], usize> =
        initializers.iter().enumerate().map(|(index, tensor)| (tensor.name.as_bytes(), index)).collect();
    let mut uses = Vec::new();
    for graph in bytes_fields(model, GRAPH) {
        for node in bytes_fields(graph?, NODE) {
            let node = node?;
            let first = uses.len();
            for input in bytes_fields(node, NODE_INPUT) {
                uses.extend(unused.remove(input?).map(|index| InitializerUse { index, transposed: false }));
            }
            if uses.len() > first && has_trans_b(node)? {
                uses[first..].iter_mut().for_each(|used| used.transposed = true);
            }
        }
    }
    Ok(uses)
}

/// Whether an encoded node has the attribute `transB` with a value other than 0.
fn has_trans_b(node: &[u8]) -> Result<bool, OnnxError> {
    let mut trans_b = false;
    for attribute in bytes_fields(node, NODE_ATTRIBUTE) {
        let (mut named, mut set) = (false, false);
        for field in fields(attribute?) {
            match field? {
                (ATTRIBUTE_NAME, FieldValue::Bytes(name)) => named = name == b"transB",
                (ATTRIBUTE_INT, FieldValue::Varint(value)) => set = value != 0,
                _ => {}
            }
        }
        trans_b |= named && set;
    }
    Ok(trans_b)
}

/// The length-delimited fields of a message that have this field number.
pub(super) fn bytes_fields(message: &[u8], field_number: u32) -> impl Iterator<Item = Result<&[u8], OnnxError>> {
    fields(message).filter_map(move |field| match field {
        Ok((number, FieldValue::Bytes(bytes))) if number == field_number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

impl<'a> RawInitializer<'a> {
    /// Decodes a `TensorProto` except for its values.
    fn decode(message: &'a [u8]) -> Result<Self, OnnxError> {
        let mut tensor = Self { name: "", dims: Vec::new(), data_type: 0, external: false, raw_data: &[], message };
        for field in fields(message) {
            match field? {
                (NAME, FieldValue::Bytes(name)) => {
                    tensor.name = std::str::from_utf8(name).map_err(|_| OnnxError::Field { field: NAME.into() })?;
                }
                (DIMS, FieldValue::Varint(size)) => tensor.dims.push(size as i64),
                (DIMS, FieldValue::Bytes(sizes)) => {
                    for size in packed_varints(sizes).take(MAX_AXES + 1) {
                        tensor.dims.push(size? as i64);
                    }
                }
                (DATA_TYPE, FieldValue::Varint(data_type)) => tensor.data_type = data_type as i64,
                (DATA_LOCATION, FieldValue::Varint(location)) => tensor.external = location == EXTERNAL as u64,
                (RAW_DATA, FieldValue::Bytes(raw_data)) => tensor.raw_data = raw_data,
                _ => {}
            }
            if tensor.dims.len() > MAX_AXES {
                return Err(tensor.shape_error(0));
            }
        }
        Ok(tensor)
    }

    /// Whether its data type is INT64, as of shapes and indices. Weights are never INT64.
    pub(crate) fn is_ints(&self) -> bool {
        self.data_type == i64::from(INT64)
    }

    /// ONNX' name of its data type, such as `FLOAT16`.
    pub(crate) fn data_type(&self) -> String {
        let known = usize::try_from(self.data_type).ok().and_then(|index| DATA_TYPES.get(index));
        known.map_or_else(|| format!("data type {}", self.data_type), |&name| name.to_owned())
    }

    /// Whether its data type is FLOAT or FLOAT16, both of which [`values`](Self::values) gives as f32.
    pub(crate) fn is_float(&self) -> bool {
        [FLOAT, FLOAT16].map(i64::from).contains(&self.data_type)
    }

    /// Its shape.
    ///
    /// # Errors
    /// A negative size.
    pub(crate) fn shape(&self) -> Result<Vec<usize>, OnnxError> {
        let shape: Option<_> = self.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
        shape.ok_or_else(|| self.shape_error(0))
    }

    /// Decodes its values as f32. FLOAT16 is widened; every other data type is read as FLOAT.
    ///
    /// # Errors
    /// The values are in another file, or not as many as the shape says.
    pub(crate) fn values(&self) -> Result<Vec<f32>, OnnxError> {
        self.require_internal()?;
        let values = if self.data_type == i64::from(FLOAT16) {
            self.raw_values(ElementType::F16)?
        } else if self.raw_data.is_empty() {
            self.float_data()?
        } else {
            self.raw_values(ElementType::F32)?
        };
        self.check_count(values.len()).map(|()| values)
    }

    /// Decodes its values as i64, from `raw_data` alone.
    ///
    /// # Errors
    /// The values are in another file, or not as many as the shape says.
    pub(super) fn ints(&self) -> Result<Vec<i64>, OnnxError> {
        self.require_internal()?;
        let (numbers, _) = self.raw_data.as_chunks();
        self.check_count(numbers.len())?;
        Ok(numbers.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
    }

    /// Returns an error if its values are stored in another file.
    pub(crate) fn require_internal(&self) -> Result<(), OnnxError> {
        if self.external { Err(OnnxError::External { name: self.name.to_owned() }) } else { Ok(()) }
    }

    /// Returns an error unless the shape has `values` elements.
    fn check_count(&self, values: usize) -> Result<(), OnnxError> {
        let count =
            self.dims.iter().try_fold(1usize, |product, &size| product.checked_mul(usize::try_from(size).ok()?));
        if count == Some(values) { Ok(()) } else { Err(self.shape_error(values)) }
    }

    fn raw_values(&self, element_type: ElementType) -> Result<Vec<f32>, OnnxError> {
        let values = element_type.to_f32(self.raw_data);
        if self.raw_data.len().is_multiple_of(element_type.size()) {
            Ok(values)
        } else {
            Err(self.shape_error(values.len()))
        }
    }

    fn float_data(&self) -> Result<Vec<f32>, OnnxError> {
        let mut values = Vec::new();
        for data in bytes_fields(self.message, FLOAT_DATA) {
            let (numbers, rest) = data?.as_chunks();
            values.extend(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            if !rest.is_empty() {
                return Err(self.shape_error(values.len()));
            }
        }
        Ok(values)
    }

    /// The error that the shape doesn't fit `received` values.
    fn shape_error(&self, received: usize) -> OnnxError {
        OnnxError::Shape { name: self.name.to_owned(), shape: self.dims.clone(), received }
    }
}
