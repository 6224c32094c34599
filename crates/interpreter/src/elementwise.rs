//! Elementwise operators of one and more operands, with ONNX' (NumPy's) broadcasting.

use engraft_nn::strided::{offsets, row_major};
use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// Applies a function to each element of the input.
pub(super) fn map(node: &Node<'_>, function: impl Fn(f32) -> f32) -> Result<Value> {
    let x = node.floats(0)?;
    Tensor::new(x.shape(), x.data().iter().map(|&x| function(x)).collect()).map(Value::Floats)
}

/// Combines all inputs elementwise, from the first to the last, with a function of two numbers.
pub(super) fn fold(node: &Node<'_>, function: impl Fn(f32, f32) -> f32) -> Result<Value> {
    let mut result = node.floats(0)?.clone();
    for index in 1..node.arity() {
        result = binary(node, &result, node.floats(index)?, &function)?;
    }
    Ok(Value::Floats(result))
}

/// Compares two inputs elementwise: 1 for true, 0 for false.
pub(super) fn compare(node: &Node<'_>, holds: impl Fn(f32, f32) -> bool) -> Result<Value> {
    fold(node, |a, b| if holds(a, b) { 1.0 } else { 0.0 })
}

/// `Where`: elements of the second input where the first is true, else of the third.
pub(super) fn select(node: &Node<'_>) -> Result<Value> {
    let (condition, yes, no) = (node.floats(0)?, node.floats(1)?, node.floats(2)?);
    // Each branch is set to 0 where it isn't selected, and the branches are added. A multiplication by 0 or 1 instead would make
    // NaN of an infinity that isn't selected.
    let yes = binary(node, condition, yes, |condition, yes| if condition != 0.0 { yes } else { 0.0 })?;
    let no = binary(node, condition, no, |condition, no| if condition != 0.0 { 0.0 } else { no })?;
    binary(node, &yes, &no, |yes, no| yes + no).map(Value::Floats)
}

/// Combines two tensors elementwise. Shapes are aligned at their last axes; an axis that is missing or of size 1 is broadcast.
fn binary(node: &Node<'_>, a: &Tensor, b: &Tensor, function: impl Fn(f32, f32) -> f32) -> Result<Tensor> {
    let shape = broadcast_shape(a.shape(), b.shape()).ok_or_else(|| {
        node.error("shapes that can be broadcast", format_args!("{:?} and {:?}", a.shape(), b.shape()))
    })?;
    node.element_count(&shape)?;
    let [strides_a, strides_b] = [a, b].map(|tensor| broadcast_strides(tensor.shape(), &shape));
    let pairs = offsets(&shape, &strides_a, 0).zip(offsets(&shape, &strides_b, 0));
    let values = pairs.map(|(at_a, at_b)| function(a.data()[at_a], b.data()[at_b])).collect();
    Tensor::new(shape, values)
}

/// The shape of two broadcast tensors; `None` if their shapes are incompatible.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let common = |axis| match (size(a, axis), size(b, axis)) {
        (1, size) | (size, 1) => Some(size),
        (a, b) => (a == b).then_some(a),
    };
    (0..rank).map(common).collect()
}

/// The strides that broadcast a tensor of shape `own` to `shape`: 0 along broadcast axes.
pub(super) fn broadcast_strides(own: &[usize], shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len() - own.len()];
    strides.extend(row_major(own).into_iter().zip(own).map(|(stride, &size)| if size == 1 { 0 } else { stride }));
    strides
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing::tensor;

    #[test]
    fn a_tensor_is_expanded() {
        let (proto, x) = (GraphNode::default(), tensor([2, 1], &[1.0, 2.0]));
        let expanded = |sizes: &[i64]| {
            crate::data_movement::expand(&Node::new(&proto, vec![Some(&x), Some(&Value::Ints(sizes.to_vec()))]))
        };
        assert_eq!(expanded(&[2, 1, 2]).unwrap(), tensor([2, 2, 2], &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]));
        assert!(expanded(&[3, 1]).is_err() && expanded(&[-1, 1]).is_err() && expanded(&[i64::MAX, 2, 1]).is_err());
    }

    #[test]
    fn axes_are_broadcast() {
        let proto = GraphNode::default();
        let a = tensor([2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = tensor([3, 2], &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        let sum = fold(&Node::new(&proto, vec![Some(&a), Some(&b)]), |a, b| a + b).unwrap();
        let expected = [1.0, 11.0, 22.0, 32.0, 43.0, 53.0, 4.0, 14.0, 25.0, 35.0, 46.0, 56.0];
        assert_eq!(sum, tensor([2, 3, 2], &expected));
        let scalar = tensor([], &[2.0]);
        let twice = fold(&Node::new(&proto, vec![Some(&scalar), Some(&b)]), |a, b| a * b).unwrap();
        assert_eq!(twice, tensor([3, 2], &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]));
        let error = fold(&Node::new(&proto, vec![Some(&a), Some(&tensor([2, 2], &[0.0; 4]))]), |a, _| a).unwrap_err();
        assert!(error.to_string().contains("[2, 3, 1] and [2, 2]"), "{error}");
    }

    #[test]
    fn elements_that_are_not_selected_do_not_show() {
        let proto = GraphNode::default();
        let inputs = [tensor([2], &[1.0, 0.0]), tensor([2], &[5.0, f32::NAN]), tensor([2], &[f32::INFINITY, 7.0])];
        let node = Node::new(&proto, inputs.iter().map(Some).collect());
        assert_eq!(select(&node).unwrap(), tensor([2], &[5.0, 7.0]));
    }
}
