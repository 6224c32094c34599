//! Reductions along axes: `ReduceSum`, `ReduceMean`, `ReduceMax`, `ReduceMin`, `ReduceProd`, `ReduceL2`.

use engraft_nn::strided::{offsets, row_major};
use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// A reduction along the axes that the attribute `axes` names; those of a sum are its second input.
pub(super) fn reduce(node: &mut Node<'_>) -> Result<Value> {
    let x = node.floats(0)?;
    let rank = x.shape().len();
    let keepdims = node.int("keepdims", 1)? != 0;
    let named = if node.op_type() == "ReduceSum" { node.ints(1)?.to_vec() } else { node.ints_attribute("axes")? };
    let axes: Vec<usize> = named.iter().map(|&axis| node.axis(axis, rank)).collect::<Result<_>>()?;
    let [kept, reduced] = [false, true]
        .map(|is_reduced| (0..rank).filter(|axis| axes.contains(axis) == is_reduced).collect::<Vec<usize>>());
    let sizes = |of: &[usize]| of.iter().map(|&axis| x.shape()[axis]).collect::<Vec<usize>>();
    let all = row_major(x.shape());
    let strides = |of: &[usize]| of.iter().map(|&axis| all[axis]).collect::<Vec<isize>>();
    let (reduced_sizes, reduced_strides) = (sizes(&reduced), strides(&reduced));
    let results = offsets(&sizes(&kept), &strides(&kept), 0)
        .map(|start| {
            let values = offsets(&reduced_sizes, &reduced_strides, start).map(|at| f64::from(x.data()[at]));
            result(node.op_type(), values, reduced_sizes.iter().product()) as f32
        })
        .collect();
    let size = |axis: usize| (!axes.contains(&axis)).then(|| x.shape()[axis]).or(keepdims.then_some(1));
    Tensor::new((0..rank).filter_map(size).collect::<Vec<usize>>(), results).map(Value::Floats)
}

fn result(op_type: &str, values: impl Iterator<Item = f64>, count: usize) -> f64 {
    match op_type {
        "ReduceMean" => values.sum::<f64>() / count as f64,
        "ReduceMax" => values.fold(f64::NEG_INFINITY, |most, x| if x > most || x.is_nan() { x } else { most }),
        "ReduceMin" => values.fold(f64::INFINITY, |least, x| if x < least || x.is_nan() { x } else { least }),
        "ReduceProd" => values.product(),
        "ReduceL2" => values.map(|x| x * x).sum::<f64>().sqrt(),
        _ => values.sum(),
    }
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{Attribute, AttributeValue, GraphNode};

    use super::*;
    use crate::testing::{int, tensor};

    fn reduced(op_type: &str, axes: &[i64], keepdims: i64) -> Value {
        let axes_attribute = Attribute { name: "axes".into(), value: AttributeValue::Ints(axes.to_vec()) };
        let mut attributes = vec![int("keepdims", keepdims)];
        attributes.extend((op_type != "ReduceSum").then_some(axes_attribute));
        let proto = GraphNode { op_type: op_type.into(), attributes, ..GraphNode::default() };
        let (x, axes) = (tensor([2, 3], &[1.0, 5.0, 3.0, 4.0, 2.0, 6.0]), Value::Ints(axes.to_vec()));
        let mut node = Node::new(&proto, vec![Some(&x), Some(&axes).filter(|_| op_type == "ReduceSum")]);
        let value = reduce(&mut node).unwrap();
        node.no_more_attributes().unwrap();
        value
    }

    #[test]
    fn each_reduction_along_each_axis() {
        assert_eq!(reduced("ReduceSum", &[0], 0), tensor([3], &[5.0, 7.0, 9.0]));
        assert_eq!(reduced("ReduceMean", &[-1], 1), tensor([2, 1], &[3.0, 4.0]));
        assert_eq!(reduced("ReduceMax", &[1], 0), tensor([2], &[5.0, 6.0]));
        assert_eq!(reduced("ReduceMin", &[0, 1], 1), tensor([1, 1], &[1.0]));
        assert_eq!(reduced("ReduceProd", &[0, 1], 0), tensor([], &[720.0]));
        assert_eq!(reduced("ReduceL2", &[1], 0), tensor([2], &[35.0f32.sqrt(), 56.0f32.sqrt()]));
    }
}
