//! [`Node`]: an operator call with its input tensors and attributes, and checked access to both.

use std::collections::HashMap;

use engraft_formats::onnx::{Attribute, AttributeValue, GraphNode};
use engraft_nn::{Error, ErrorKind, Result, Tensor};

use super::value::{MAX_ELEMENTS, Value, element_count};

/// A call of an operator.
///
/// Reading an attribute removes it, so that attributes left over at the end, which the operator doesn't know, are errors.
pub(super) struct Node<'a> {
    proto: &'a GraphNode,
    inputs: Vec<Option<&'a Value>>,
    attributes: HashMap<&'a str, &'a AttributeValue>,
    limit: usize,
}

impl<'a> Node<'a> {
    /// A call of `proto` with the tensors that its inputs name; `None` stands for an omitted input.
    pub(super) fn new(proto: &'a GraphNode, inputs: Vec<Option<&'a Value>>) -> Self {
        let attributes = proto.attributes.iter().map(|Attribute { name, value }| (name.as_str(), value)).collect();
        Self { proto, inputs, attributes, limit: MAX_ELEMENTS }
    }

    /// Sets the limit on the elements of each output.
    pub(super) fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn op_type(&self) -> &'a str {
        &self.proto.op_type
    }

    /// An error where the operator is from another operator set than ONNX' own.
    pub(super) fn require_onnx_domain(&self) -> Result<()> {
        match self.proto.domain.as_str() {
            "" => Ok(()),
            domain => Err(self.unsupported("an operator of ONNX' own", format_args!("one of `{domain}`"))),
        }
    }

    /// The number of inputs, omitted ones included.
    pub(super) fn arity(&self) -> usize {
        self.inputs.len()
    }

    /// An error of kind `Unsupported` at this node.
    pub(super) fn unsupported(&self, expected: impl std::fmt::Display, received: impl std::fmt::Display) -> Error {
        self.error(expected, received).with_kind(ErrorKind::Unsupported)
    }

    /// An error of kind `InvalidData` at this node.
    pub(super) fn error(&self, expected: impl std::fmt::Display, received: impl std::fmt::Display) -> Error {
        Error::new(format_args!("node `{}` ({})", self.proto.name, self.proto.op_type), expected, received)
            .with_kind(ErrorKind::InvalidData)
    }

    /// An optional input; `None` if the node omits it.
    pub(super) fn optional(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// A required input.
    pub(super) fn value(&self, index: usize) -> Result<&'a Value> {
        self.optional(index).ok_or_else(|| self.error(format_args!("an input {index}"), "none"))
    }

    /// A required input of f32.
    pub(super) fn floats(&self, index: usize) -> Result<&'a Tensor> {
        match self.value(index)? {
            Value::Floats(tensor) => Ok(tensor),
            other => Err(self.error(format_args!("numbers as input {index}"), other.describe())),
        }
    }

    /// A required f32 input with `N` axes, and its shape.
    pub(super) fn floats_of_rank<const N: usize>(&self, index: usize) -> Result<(&'a Tensor, [usize; N])> {
        let tensor = self.floats(index)?;
        let shape = tensor.shape().try_into().map_err(|_| {
            self.error(format_args!("{N} axes in input {index}"), format_args!("shape {:?}", tensor.shape()))
        })?;
        Ok((tensor, shape))
    }

    /// A required f32 input with one axis of size `len`.
    pub(super) fn vector(&self, index: usize, len: usize) -> Result<&'a [f32]> {
        let tensor = self.floats(index)?;
        if tensor.shape() == [len] {
            return Ok(tensor.data());
        }
        Err(self.error(format_args!("shape [{len}] of input {index}"), format_args!("{:?}", tensor.shape())))
    }

    /// A required f32 input with one element.
    pub(super) fn scalar(&self, index: usize) -> Result<f32> {
        match self.floats(index)?.data() {
            &[value] => Ok(value),
            values => Err(self.error(format_args!("one number as input {index}"), values.len())),
        }
    }

    /// A required input of integers.
    pub(super) fn ints(&self, index: usize) -> Result<&'a [i64]> {
        match self.value(index)? {
            Value::Ints(values) => Ok(values),
            other => Err(self.error(format_args!("integers as input {index}"), other.describe())),
        }
    }

    /// Removes the integer attribute `name` and returns it, or `default` if the node has none.
    pub(super) fn int(&mut self, name: &str, default: i64) -> Result<i64> {
        let int = |value: &AttributeValue| if let AttributeValue::Int(value) = value { Some(*value) } else { None };
        self.attribute(name, int).map(|found| found.unwrap_or(default))
    }

    /// Removes the float attribute `name` and returns it, or `default` if the node has none.
    pub(super) fn float(&mut self, name: &str, default: f32) -> Result<f32> {
        let float = |value: &AttributeValue| if let AttributeValue::Float(value) = value { Some(*value) } else { None };
        self.attribute(name, float).map(|found| found.unwrap_or(default))
    }

    /// Removes the attribute `name`, `N` non-negative integers, and returns it, or `default` if the node has none.
    pub(super) fn sizes<const N: usize>(&mut self, name: &str, default: [usize; N]) -> Result<[usize; N]> {
        let sizes = |value: &AttributeValue| sizes(value)?.try_into().ok();
        self.attribute(name, sizes).map(|found| found.unwrap_or(default))
    }

    /// Removes and returns a required attribute of integers, which may be negative.
    pub(super) fn ints_attribute(&mut self, name: &str) -> Result<Vec<i64>> {
        let ints =
            |value: &AttributeValue| if let AttributeValue::Ints(values) = value { Some(values.clone()) } else { None };
        self.attribute(name, ints)?.ok_or_else(|| self.error(format_args!("an attribute `{name}`"), "none"))
    }

    /// Removes and returns a required attribute that is a permutation of the axes `0..rank`.
    pub(super) fn permutation(&mut self, name: &str, rank: usize) -> Result<Vec<usize>> {
        let axes = |value: &AttributeValue| {
            sizes(value).filter(|axes| axes.len() == rank && (0..rank).all(|axis| axes.contains(&axis)))
        };
        self.attribute(name, axes)?.ok_or_else(|| self.error(format_args!("an attribute `{name}`"), "none"))
    }

    /// Removes and returns a required string attribute that is one of `words`.
    pub(super) fn word(&mut self, name: &str, words: &[&'static str]) -> Result<&'static str> {
        let known = |value: &AttributeValue| {
            let AttributeValue::String(text) = value else { return None };
            words.iter().copied().find(|word| word.as_bytes() == text)
        };
        let found = self.attribute(name, known)?;
        found.ok_or_else(|| self.error(format_args!("an attribute `{name}`"), "none"))
    }

    /// Removes the attribute `name` and converts it with `get`; `None` if the node has no such attribute.
    ///
    /// # Errors
    /// Where `get` returns `None`: the value is unsupported.
    fn attribute<T>(&mut self, name: &str, get: impl Fn(&AttributeValue) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.attributes.remove(name) else { return Ok(None) };
        let unknown = || self.unsupported(format_args!("an attribute `{name}` that is known here"), value);
        get(value).ok_or_else(unknown).map(Some)
    }

    /// The index of `axis` among `rank` axes; a negative `axis` counts from the back.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let found = from_front.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
        found.ok_or_else(|| self.error(format_args!("an axis of {rank}"), axis))
    }

    /// The number of elements of a shape, checked before anything is allocated for it.
    ///
    /// # Errors
    /// Where it exceeds the limit.
    pub(super) fn element_count(&self, shape: &[usize]) -> Result<usize> {
        let limit = self.limit;
        let too_many = || {
            self.error(format_args!("at most {limit} elements"), format_args!("shape {shape:?}"))
                .with_kind(ErrorKind::OutOfMemory)
        };
        element_count(shape, limit).ok_or_else(too_many)
    }

    /// An error where attributes are left over, which the operator doesn't know.
    pub(super) fn no_more_attributes(&self) -> Result<()> {
        match self.attributes.keys().min() {
            Some(name) => Err(self.unsupported("attributes that are known here", format_args!("`{name}`"))),
            None => Ok(()),
        }
    }
}

/// A list of integers as sizes; `None` if one is negative.
fn sizes(value: &AttributeValue) -> Option<Vec<usize>> {
    let AttributeValue::Ints(values) = value else { return None };
    values.iter().map(|&size| usize::try_from(size).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn attributes_are_taken_or_named() {
        let attributes = vec![testing::int("axis", -1), testing::string("mode", "cubic")];
        let proto = GraphNode { name: "n".into(), op_type: "Resize".into(), attributes, ..GraphNode::default() };
        let mut node = Node::new(&proto, vec![None]);
        assert_eq!((node.int("axis", 0).unwrap(), node.float("alpha", 0.5).unwrap()), (-1, 0.5));
        let error = node.no_more_attributes().unwrap_err().to_string();
        assert_eq!(error, "node `n` (Resize): expected attributes that are known here, received `mode`");
        let error = node.word("mode", &["linear", "nearest"]).unwrap_err().to_string();
        assert!(error.contains("an attribute `mode` that is known here, received \"cubic\""), "{error}");
        node.no_more_attributes().unwrap();
        assert!(node.floats(0).is_err());
    }

    #[test]
    fn axes_and_sizes_have_bounds() {
        let proto = GraphNode::default();
        let node = Node::new(&proto, Vec::new());
        assert_eq!((node.axis(-1, 4).unwrap(), node.axis(1, 4).unwrap()), (3, 1));
        for axis in [4, -5, i64::MIN, i64::MAX] {
            assert!(node.axis(axis, 4).is_err(), "{axis}");
        }
        assert_eq!(node.element_count(&[2, 3]).unwrap(), 6);
        for shape in [&[MAX_ELEMENTS + 1][..], &[usize::MAX, 2], &[0, MAX_ELEMENTS, 2]] {
            assert!(node.element_count(shape).is_err(), "{shape:?}");
        }
    }
}
