//! The operators `MatMul` and `Gemm`.

use engraft_kernels::{MatMul, Matrix};
use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// `MatMul` of a tensor with a matrix, along the tensor's last axis, or of two tensors of matrices.
pub(super) fn matmul(node: &Node<'_>) -> Result<Value> {
    match node.floats(1)?.shape().len() {
        2 => product(node).map(Value::Floats),
        _ => products(node).map(Value::Floats),
    }
}

/// The products of two tensors of matrices with as many axes, broadcast along axes of size 1 before the last two.
fn products(node: &Node<'_>) -> Result<Tensor> {
    let (a, b) = (node.floats(0)?, node.floats(1)?);
    let Some(shape) = shape_of_products(a.shape(), b.shape()) else {
        let received = format!("{:?} and {:?}", a.shape(), b.shape());
        return Err(node.error("two tensors of matrices that can be multiplied", received));
    };
    let mut y = vec![0.0; node.element_count(&shape)?];
    MatMul::new(a.shape(), b.shape(), [false; 2]).multiply(a.data(), b.data(), &mut y);
    Tensor::new(shape, y)
}

/// The shape of the products; `None` if the shapes don't fit each other.
fn shape_of_products(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let leading = a.len().checked_sub(2).filter(|_| a.len() == b.len())?;
    let broadcast = |(&a, &b): (&usize, &usize)| match (a, b) {
        (1, size) | (size, 1) => Some(size),
        (a, b) => (a == b).then_some(a),
    };
    let mut shape = a[..leading].iter().zip(&b[..leading]).map(broadcast).collect::<Option<Vec<_>>>()?;
    shape.extend([a[leading], b[leading + 1]]);
    (a[leading + 1] == b[leading]).then_some(shape)
}

/// Input 0 times input 1, a matrix.
fn product(node: &Node<'_>) -> Result<Tensor> {
    let x = node.floats(0)?;
    let (kernel, [inputs, units]) = node.floats_of_rank(1)?;
    let Some((&last, before)) = x.shape().split_last().filter(|(last, _)| **last == inputs) else {
        return Err(node.error(format_args!("{inputs} values in the last axis"), format_args!("{:?}", x.shape())));
    };
    let mut shape = before.to_vec();
    shape.push(units);
    let mut y = vec![0.0; node.element_count(&shape)?];
    let rows = node.element_count(before)?;
    engraft_kernels::gemm(
        rows,
        last,
        units,
        Matrix::row_major(x.data(), last),
        Matrix::row_major(kernel.data(), units),
        false,
        &mut y,
    );
    Tensor::new(shape, y)
}

/// `Gemm`: the product of two matrices, plus an optional bias per column.
pub(super) fn gemm(node: &Node<'_>) -> Result<Value> {
    node.floats_of_rank::<2>(0)?;
    let mut y = product(node)?;
    let units = y.shape()[1];
    if node.optional(2).is_some() {
        let bias = node.vector(2, units)?;
        y.data_mut().chunks_exact_mut(units.max(1)).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    }
    Ok(Value::Floats(y))
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing::tensor;

    #[test]
    fn tensors_of_matrices() {
        let proto = GraphNode::default();
        let a = tensor([2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let multiplied = |b: &Value| matmul(&Node::new(&proto, vec![Some(&a), Some(b)]));
        let each = tensor([2, 2, 1], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(multiplied(&each).unwrap(), tensor([2, 1, 1], &[1.0, 4.0]));
        let shared = tensor([1, 2, 2], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(multiplied(&shared).unwrap(), a);
        for shape in [[3, 2, 1], [1, 1, 4]] {
            let b = tensor(shape, &vec![0.0; shape.iter().product()]);
            assert!(multiplied(&b).unwrap_err().to_string().contains("that can be multiplied"));
        }
        assert!(multiplied(&tensor([0], &[])).is_err());
    }

    #[test]
    fn rows_and_a_bias() {
        let proto = GraphNode::default();
        let kernel = tensor([2, 3], &[1.0, 0.0, 2.0, 0.0, 1.0, 3.0]);
        let x = tensor([1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let node = Node::new(&proto, vec![Some(&x), Some(&kernel)]);
        assert_eq!(matmul(&node).unwrap(), tensor([1, 2, 3], &[1.0, 2.0, 8.0, 3.0, 4.0, 18.0]));
        assert!(gemm(&node).is_err(), "Gemm needs two axes");
        let (x, bias) = (tensor([1, 2], &[1.0, 2.0]), tensor([3], &[10.0, 20.0, 30.0]));
        let node = Node::new(&proto, vec![Some(&x), Some(&kernel), Some(&bias)]);
        assert_eq!(gemm(&node).unwrap(), tensor([1, 3], &[11.0, 22.0, 38.0]));
        let node = Node::new(&proto, vec![Some(&kernel), Some(&kernel)]);
        assert!(matmul(&node).unwrap_err().to_string().contains("2 values in the last axis, received [2, 3]"));
    }
}
