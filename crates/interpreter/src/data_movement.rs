//! Operators that only move values: `Transpose`, `Reshape`, `Concat`, `Gather`, `Slice`, `Pad` and others.

use engraft_nn::strided::{offsets, row_major, transpose};
use engraft_nn::{Result, Tensor};

use super::elementwise::{broadcast_shape, broadcast_strides};
use super::node::Node;
use super::value::Value;

/// `Transpose`.
pub(super) fn transposed(node: &mut Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let axes = node.permutation("perm", x.shape().len())?;
    let shape: Vec<usize> = axes.iter().map(|&axis| x.shape()[axis]).collect();
    Tensor::new(shape, transpose(x.data(), x.shape(), &axes)).map(Value::Floats)
}

/// `Flatten`: merges all axes after the first.
pub(super) fn flatten(node: &Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let (&first, rest) = x.shape().split_first().ok_or_else(|| node.error("an axis to keep", "a single number"))?;
    Tensor::new([first, node.element_count(rest)?], x.data().to_vec()).map(Value::Floats)
}

/// `Reshape`. A size of 0 keeps the input's size of that axis; -1 is not supported.
pub(super) fn reshape(node: &Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let size = |(axis, &size): (usize, &i64)| match size {
        0 => x.shape().get(axis).copied(),
        size => usize::try_from(size).ok(),
    };
    let shape: Option<Vec<usize>> = node.ints(1)?.iter().enumerate().map(size).collect();
    let fitting = shape.filter(|shape| {
        shape.iter().try_fold(1, |count: usize, &size| count.checked_mul(size)) == Some(x.data().len())
    });
    let Some(shape) = fitting else {
        let received = format!("{:?} for {:?}", node.ints(1)?, x.shape());
        return Err(node.error("a shape of as many values", received));
    };
    node.element_count(&shape)?;
    Tensor::new(shape, x.data().to_vec()).map(Value::Floats)
}

/// `Concat`.
pub(super) fn concat(node: &mut Node<'_>) -> Result<Value> {
    let axis = node.int("axis", i64::MIN)?;
    if matches!(node.value(0)?, Value::Ints(_)) {
        node.axis(axis, 1)?;
        let parts: Vec<&[i64]> = (0..node.arity()).map(|index| node.ints(index)).collect::<Result<_>>()?;
        node.element_count(&[parts.iter().map(|part| part.len()).sum()])?;
        return Ok(Value::Ints(parts.concat()));
    }
    let parts: Vec<&Tensor> = (0..node.arity()).map(|index| node.floats(index)).collect::<Result<_>>()?;
    let mut shape = parts[0].shape().to_vec();
    let axis = node.axis(axis, shape.len())?;
    let fits = |part: &[usize]| {
        part.len() == shape.len() && (0..part.len()).all(|other| other == axis || part[other] == shape[other])
    };
    if let Some(part) = parts.iter().find(|part| !fits(part.shape())) {
        let expected = format!("shapes like {shape:?} but for axis {axis}");
        return Err(node.error(expected, format_args!("{:?}", part.shape())));
    }
    shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
    let mut values = Vec::with_capacity(node.element_count(&shape)?);
    for outer in 0..shape[..axis].iter().product() {
        for part in &parts {
            let block: usize = part.shape()[axis..].iter().product();
            values.extend_from_slice(&part.data()[outer * block..][..block]);
        }
    }
    Tensor::new(shape, values).map(Value::Floats)
}

/// `Gather`: selects entries along an axis by index. Indices with several axes are f32.
pub(super) fn gather(node: &mut Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let axis = node.int("axis", 0)?;
    let axis = node.axis(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let (indices, axes) = match node.value(1)? {
        Value::Ints(indices) => (indices.clone(), vec![indices.len()]),
        Value::Floats(indices) => {
            (indices.data().iter().map(|&index| index as i64).collect(), indices.shape().to_vec())
        }
    };
    let entries: Vec<usize> = indices.into_iter().map(|entry| node.axis(entry, size)).collect::<Result<_>>()?;
    let mut shape = x.shape().to_vec();
    shape.splice(axis..=axis, axes);
    let mut values = Vec::with_capacity(node.element_count(&shape)?);
    let block: usize = x.shape()[axis + 1..].iter().product();
    for outer in x.data().chunks_exact((size * block).max(1)) {
        entries.iter().for_each(|&entry| values.extend_from_slice(&outer[entry * block..][..block]));
    }
    Tensor::new(shape, values).map(Value::Floats)
}

/// `Slice`: from a start to an exclusive end along each of the given axes, with a step that may be negative.
pub(super) fn slice(node: &Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let [starts, ends, axes, steps] = [node.ints(1)?, node.ints(2)?, node.ints(3)?, node.ints(4)?];
    let lists = || format!("{starts:?}, {ends:?}, {axes:?}, {steps:?}");
    if [ends, axes, steps].iter().any(|list| list.len() != starts.len()) {
        return Err(node.error("as many starts, ends, axes and steps", lists()));
    }
    let (mut shape, mut strides, mut from) = (x.shape().to_vec(), row_major(x.shape()), 0);
    let mut sliced = Vec::new();
    for (index, &step) in steps.iter().enumerate() {
        let axis = node.axis(axes[index], shape.len())?;
        if step == 0 || sliced.contains(&axis) {
            return Err(node.error("steps that aren't 0 along axes that differ", lists()));
        }
        sliced.push(axis);
        let (start, count) = slice_range(starts[index], ends[index], step, shape[axis]);
        from += start * strides[axis] as usize;
        strides[axis] = if count > 1 { strides[axis] * step as isize } else { 0 };
        shape[axis] = count;
    }
    let values = offsets(&shape, &strides, from).map(|at| x.data()[at]).collect();
    Tensor::new(shape, values).map(Value::Floats)
}

/// The first index of a slice along an axis of `size` entries, and the number of its entries.
///
/// A negative `start` or `end` counts from the back.
fn slice_range(start: i64, end: i64, step: i64, size: usize) -> (usize, usize) {
    let size = size as i64;
    // A backward slice may end just before index 0.
    let (lowest, highest) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let place = |place: i64| (if place < 0 { place.saturating_add(size) } else { place }).max(lowest).min(highest);
    let (start, end) = (place(start), place(end));
    let span = if step > 0 { end - start } else { start - end };
    match span.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) {
        0 => (0, 0),
        count => (start as usize, count as usize),
    }
}

/// `Expand`: broadcasts a tensor to the shape that it and the second input have in common.
pub(super) fn expand(node: &Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let sizes: Option<Vec<usize>> = node.ints(1)?.iter().map(|&size| usize::try_from(size).ok()).collect();
    let shape = sizes.and_then(|sizes| broadcast_shape(x.shape(), &sizes));
    let received = || format!("{:?} for {:?}", node.ints(1).unwrap_or_default(), x.shape());
    let shape = shape.ok_or_else(|| node.error("a shape to broadcast to", received()))?;
    node.element_count(&shape)?;
    let values = offsets(&shape, &broadcast_strides(x.shape(), &shape), 0).map(|at| x.data()[at]).collect();
    Tensor::new(shape, values).map(Value::Floats)
}

/// `Pad` with zeros, or with the number that is the third input.
pub(super) fn pad(node: &Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let rank = x.shape().len();
    let pads: Option<Vec<usize>> = node.ints(1)?.iter().map(|&pad| usize::try_from(pad).ok()).collect();
    let Some(pads) = pads.filter(|pads| pads.len() == 2 * rank) else {
        return Err(node.error(format_args!("{} sizes to pad by", 2 * rank), format_args!("{:?}", node.ints(1)?)));
    };
    let sizes = x.shape().iter().zip(pads[..rank].iter().zip(&pads[rank..]));
    let shape: Vec<usize> =
        sizes.map(|(size, (before, after))| size.saturating_add(*before).saturating_add(*after)).collect();
    let value = if node.optional(2).is_some() { node.scalar(2)? } else { 0.0 };
    let mut padded = vec![value; node.element_count(&shape)?];
    let strides = row_major(&shape);
    let start = strides.iter().zip(&pads).map(|(&stride, &before)| stride as usize * before).sum();
    offsets(x.shape(), &strides, start).zip(x.data()).for_each(|(at, &value)| padded[at] = value);
    Tensor::new(shape, padded).map(Value::Floats)
}

/// `Shape`: the sizes of the axes before `end`.
pub(super) fn shape(node: &mut Node<'_>) -> Result<Value> {
    let shape = node.floats(0)?.shape();
    let end = node.int("end", shape.len() as i64)?;
    let sizes = usize::try_from(end).ok().and_then(|end| shape.get(..end));
    let sizes = sizes.ok_or_else(|| node.error(format_args!("an end within {} axes", shape.len()), end))?;
    Ok(Value::Ints(sizes.iter().map(|&size| size as i64).collect()))
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{Attribute, GraphNode};

    use super::*;
    use crate::testing::{self, tensor};

    fn with(attribute: Attribute) -> GraphNode {
        GraphNode { attributes: vec![attribute], ..GraphNode::default() }
    }

    fn six() -> Value {
        tensor([2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    }

    #[test]
    fn slices_count_from_both_ends_and_go_both_ways() {
        let sliced = |start: i64, end: i64, step: i64| {
            let lists = [vec![start], vec![end], vec![1], vec![step]].map(Value::Ints);
            let x = six();
            let inputs = std::iter::once(&x).chain(&lists).map(Some).collect();
            let Value::Floats(y) = slice(&Node::new(&GraphNode::default(), inputs)).unwrap() else { panic!() };
            y.into_data()
        };
        assert_eq!(sliced(1, 3, 1), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(sliced(0, i64::MAX, 2), [0.0, 2.0, 3.0, 5.0]);
        assert_eq!(sliced(2, i64::MIN, -1), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        assert_eq!(sliced(-1, -2, -1), [2.0, 5.0]);
        assert_eq!(sliced(i64::MIN, i64::MAX, i64::MAX), [0.0, 3.0]);
        assert!(sliced(2, 1, 1).is_empty());
    }

    #[test]
    fn tensors_are_concatenated_and_gathered_along_an_axis() {
        let (x, proto) = (six(), with(testing::int("axis", -1)));
        let column = tensor([2, 1], &[9.0, 8.0]);
        let joined = concat(&mut Node::new(&proto, vec![Some(&x), Some(&column)])).unwrap();
        assert_eq!(joined, tensor([2, 4], &[0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 8.0]));
        assert!(concat(&mut Node::new(&proto, vec![Some(&x), Some(&tensor([1, 3], &[0.0; 3]))])).is_err());
        let backwards = Value::Ints(vec![2, 0]);
        let taken = gather(&mut Node::new(&proto, vec![Some(&x), Some(&backwards)])).unwrap();
        assert_eq!(taken, tensor([2, 2], &[2.0, 0.0, 5.0, 3.0]));
        assert!(gather(&mut Node::new(&proto, vec![Some(&x), Some(&Value::Ints(vec![3]))])).is_err());
        // Indices with several axes are f32.
        let rows = with(testing::int("axis", 0));
        let indices = tensor([2, 2, 1], &[0.0, 1.0, 1.0, 0.0]);
        let taken = gather(&mut Node::new(&rows, vec![Some(&tensor([2, 1], &[5.0, 6.0])), Some(&indices)])).unwrap();
        assert_eq!(taken, tensor([2, 2, 1, 1], &[5.0, 6.0, 6.0, 5.0]));
    }

    #[test]
    fn zeros_all_around() {
        let (x, proto) = (six(), GraphNode::default());
        let padded = |pads: &[i64]| pad(&Node::new(&proto, vec![Some(&x), Some(&Value::Ints(pads.to_vec()))]));
        let expected = [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(padded(&[0, 0, 1, 1]).unwrap(), tensor([3, 4], &expected));
        let (pads, value) = (Value::Ints(vec![1, 0, 0, 0]), tensor([], &[7.0]));
        let sevens = pad(&Node::new(&proto, vec![Some(&x), Some(&pads), Some(&value)])).unwrap();
        assert_eq!(sevens, tensor([3, 3], &[7.0, 7.0, 7.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        for pads in [&[0, 0, 1][..], &[-1, 0, 0, 0], &[i64::MAX; 4]] {
            assert!(padded(pads).is_err(), "{pads:?}");
        }
    }

    #[test]
    fn axes_of_size_1_are_expanded() {
        let (x, proto) = (tensor([1, 2], &[1.0, 2.0]), GraphNode::default());
        let expanded = |sizes: &[i64]| expand(&Node::new(&proto, vec![Some(&x), Some(&Value::Ints(sizes.to_vec()))]));
        assert_eq!(expanded(&[2, 2]).unwrap(), tensor([2, 2], &[1.0, 2.0, 1.0, 2.0]));
        assert!(expanded(&[2, 3]).is_err() && expanded(&[-1, 2]).is_err() && expanded(&[i64::MAX, 2]).is_err());
    }

    #[test]
    fn shapes_change_and_values_do_not() {
        let (x, proto) = (six(), GraphNode::default());
        let reshaped = |sizes: &[i64]| reshape(&Node::new(&proto, vec![Some(&x), Some(&Value::Ints(sizes.to_vec()))]));
        assert_eq!(reshaped(&[0, 1, 3]).unwrap(), tensor([2, 1, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!(reshaped(&[0, 4]).is_err() && reshaped(&[-1]).is_err() && reshaped(&[i64::MAX, 4]).is_err());
        let flat = flatten(&Node::new(&proto, vec![Some(&tensor([2, 3, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))]));
        assert_eq!(flat.unwrap(), x);
        let end = with(testing::int("end", 1));
        assert_eq!(shape(&mut Node::new(&end, vec![Some(&x)])).unwrap(), Value::Ints(vec![2]));
    }
}
