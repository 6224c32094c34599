//! The operators `BatchNormalization` (inference mode), `LayerNormalization`, `Softmax` and `LogSoftmax`.

use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// `BatchNormalization`: normalizes each channel with the given mean and variance.
pub(super) fn batch_norm(node: &mut Node<'_>) -> Result<Value> {
    let epsilon = node.float("epsilon", 1e-5)?;
    let mut x = node.floats(0)?.clone();
    let &[_, channels, ref rest @ ..] = x.shape() else {
        return Err(node.error("an input of two or more axes", format_args!("shape {:?}", x.shape())));
    };
    let plane = node.element_count(rest)?.max(1);
    let [scale, shift, mean, variance] =
        [node.vector(1, channels)?, node.vector(2, channels)?, node.vector(3, channels)?, node.vector(4, channels)?];
    for (index, x) in x.data_mut().chunks_exact_mut(plane).enumerate() {
        let channel = index % channels;
        let scale = scale[channel] / (variance[channel] + epsilon).sqrt();
        x.iter_mut().for_each(|x| *x = (*x - mean[channel]) * scale + shift[channel]);
    }
    Ok(Value::Floats(x))
}

/// `LayerNormalization` of the axes from `axis` on: mean 0 and variance 1, then scale and bias.
pub(super) fn layer_norm(node: &mut Node<'_>) -> Result<Value> {
    let epsilon = node.float("epsilon", 1e-5)?;
    let mut x = node.floats(0)?.clone();
    let axis = node.int("axis", -1)?;
    let axis = node.axis(axis, x.shape().len())?;
    let size = node.element_count(&x.shape()[axis..])?.max(1);
    let scale = node.vector(1, size)?;
    let bias = node.optional(2).map(|_| node.vector(2, size)).transpose()?;
    for group in x.data_mut().chunks_exact_mut(size) {
        let mean = (group.iter().map(|&x| f64::from(x)).sum::<f64>() / size as f64) as f32;
        let squares: f64 = group.iter().map(|x| f64::from((x - mean) * (x - mean))).sum();
        let divisor = ((squares / size as f64) as f32 + epsilon).sqrt();
        for (index, x) in group.iter_mut().enumerate() {
            *x = (*x - mean) / divisor * scale[index] + bias.as_ref().map_or(0.0, |bias| bias[index]);
        }
    }
    Ok(Value::Floats(x))
}

/// `LogSoftmax` along an axis.
pub(super) fn log_softmax(node: &mut Node<'_>) -> Result<Value> {
    along_axis(node, |row, block| {
        let largest = row().map(|at| block[at]).fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row().map(|at| (block[at] - largest).exp()).sum();
        row().for_each(|at| block[at] = block[at] - largest - sum.ln());
    })
}

/// `Softmax` along an axis.
pub(super) fn softmax(node: &mut Node<'_>) -> Result<Value> {
    along_axis(node, |row, block| {
        let largest = row().map(|at| block[at]).fold(f32::NEG_INFINITY, f32::max);
        row().for_each(|at| block[at] = (block[at] - largest).exp());
        let sum: f32 = row().map(|at| block[at]).sum();
        row().for_each(|at| block[at] /= sum);
    })
}

/// Calls `update` with the indices of each row along the attribute `axis`, and the block of values that they index.
fn along_axis(
    node: &mut Node<'_>,
    update: impl Fn(&dyn Fn() -> std::iter::StepBy<std::ops::Range<usize>>, &mut [f32]),
) -> Result<Value> {
    let mut x: Tensor = node.floats(0)?.clone();
    let axis = node.int("axis", -1)?;
    let axis = node.axis(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let stride = node.element_count(&x.shape()[axis + 1..])?;
    for block in x.data_mut().chunks_exact_mut((size * stride).max(1)) {
        for first in 0..stride {
            update(&|| (first..size * stride).step_by(stride), block);
        }
    }
    Ok(Value::Floats(x))
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing::{self, tensor};

    #[test]
    fn probabilities_along_any_axis() {
        let log = |share: f32| share.ln();
        let columns = tensor([2, 2], &[log(1.0), 500.0, log(3.0), 500.0]);
        let proto = GraphNode { attributes: vec![testing::int("axis", 0)], ..GraphNode::default() };
        let Value::Floats(y) = softmax(&mut Node::new(&proto, vec![Some(&columns)])).unwrap() else { panic!() };
        for (found, expected) in y.data().iter().zip([0.25, 0.5, 0.75, 0.5]) {
            assert!((found - expected).abs() < 1e-6, "{y:?}");
        }
    }

    #[test]
    fn logarithms_of_probabilities() {
        let x = tensor([1, 2], &[1000.0, 0.0]);
        let proto = GraphNode::default();
        let y = log_softmax(&mut Node::new(&proto, vec![Some(&x)])).unwrap();
        assert_eq!(y, tensor([1, 2], &[0.0, -1000.0]));
    }

    #[test]
    fn groups_have_mean_0_and_variance_1() {
        let proto = GraphNode { attributes: vec![testing::float("epsilon", 3.0)], ..GraphNode::default() };
        let x = tensor([2, 2], &[1.0, 3.0, 10.0, 10.0]);
        let [scale, bias] = [[2.0, 1.0], [0.0, 5.0]].map(|values| tensor([2], &values));
        let y = layer_norm(&mut Node::new(&proto, vec![Some(&x), Some(&scale), Some(&bias)])).unwrap();
        assert_eq!(y, tensor([2, 2], &[-1.0, 5.5, 0.0, 5.0]));
        let y = layer_norm(&mut Node::new(&proto, vec![Some(&x), Some(&scale)])).unwrap();
        assert_eq!(y, tensor([2, 2], &[-1.0, 0.5, 0.0, 0.0]));
    }

    #[test]
    fn channels_have_statistics_of_their_own() {
        let proto = GraphNode { attributes: vec![testing::float("epsilon", 1.0)], ..GraphNode::default() };
        let x = tensor([1, 2, 1, 2], &[1.0, 3.0, 10.0, 20.0]);
        let vectors = [[2.0, 1.0], [0.0, 5.0], [1.0, 10.0], [3.0, 0.0]].map(|values| tensor([2], &values));
        let inputs = std::iter::once(&x).chain(&vectors).map(Some).collect();
        let y = batch_norm(&mut Node::new(&proto, inputs)).unwrap();
        assert_eq!(y, tensor([1, 2, 1, 2], &[0.0, 2.0, 5.0, 15.0]));
    }
}
