//! The operator `ConvTranspose` of images, one group: each input pixel pastes its kernel into the output.

use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

pub(super) fn conv_transpose(node: &mut Node<'_>) -> Result<Value> {
    let (x, [images, channels, height, width]) = node.floats_of_rank(0)?;
    let (kernel, [depth, filters, kernel_height, kernel_width]) = node.floats_of_rank(1)?;
    let bias = node.optional(2).is_some().then(|| node.vector(2, filters)).transpose()?;
    let size = node.sizes("kernel_shape", [kernel_height, kernel_width])?;
    let [strides, dilations] = [node.sizes("strides", [1, 1])?, node.sizes("dilations", [1, 1])?];
    let (pads, rest) = (node.sizes("pads", [0; 4])?, node.sizes("output_padding", [0; 2])?);
    let input = [height, width];
    if depth != channels || size != [kernel_height, kernel_width] || size.contains(&0) || input.contains(&0) {
        let received = format!("a kernel of shape {:?}", kernel.shape());
        return Err(node.error(format_args!("a kernel for images of shape {:?}", x.shape()), received));
    }
    let pasted = |axis: usize| {
        let last = (input[axis] - 1).checked_mul(strides[axis])?;
        let extent = (size[axis] - 1).checked_mul(dilations[axis])?;
        last.checked_add(extent)?
            .checked_add(1)?
            .checked_add(rest[axis])?
            .checked_sub(pads[axis])?
            .checked_sub(pads[2 + axis])
    };
    let (Some(rows), Some(columns)) = (pasted(0), pasted(1)) else {
        return Err(node.error("pads within the output", format_args!("{pads:?}")));
    };
    let shape = [images, filters, rows, columns];
    let mut y = vec![0.0; node.element_count(&shape)?];
    let (pixels, taps) = (rows * columns, kernel_height * kernel_width);
    if let Some(bias) = bias {
        y.chunks_exact_mut(pixels.max(1)).zip(bias.iter().cycle()).for_each(|(plane, bias)| plane.fill(*bias));
    }
    // Where a tap of a window lands; `None` outside the output.
    let land = |axis: usize, at: usize, tap: usize, size: usize| {
        (at * strides[axis] + tap * dilations[axis]).checked_sub(pads[axis]).filter(|&at| at < size)
    };
    let image = channels * height * width;
    for (y, x) in y.chunks_exact_mut((filters * pixels).max(1)).zip(x.data().chunks_exact(image.max(1))) {
        for (channel, x) in x.chunks_exact(height * width).enumerate() {
            for (filter, y) in y.chunks_exact_mut(pixels.max(1)).enumerate() {
                let kernel = &kernel.data()[(channel * filters + filter) * taps..][..taps];
                for (at, x) in x.iter().enumerate() {
                    for (tap, weight) in kernel.iter().enumerate() {
                        let row = land(0, at / width, tap / kernel_width, rows);
                        let column = land(1, at % width, tap % kernel_width, columns);
                        if let (Some(row), Some(column)) = (row, column) {
                            y[row * columns + column] += x * weight;
                        }
                    }
                }
            }
        }
    }
    Tensor::new(shape, y).map(Value::Floats)
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing::{self, tensor};

    #[test]
    fn kernels_are_pasted_and_added_up() {
        let attributes = vec![testing::ints("strides", &[1, 2]), testing::ints("pads", &[0, 1, 0, 0])];
        let proto = GraphNode { attributes, ..GraphNode::default() };
        let x = tensor([1, 1, 1, 2], &[1.0, 10.0]);
        let kernel = tensor([1, 2, 1, 3], &[1.0, 2.0, 3.0, 0.0, 1.0, 0.0]);
        let bias = tensor([2], &[0.5, 0.0]);
        let y = conv_transpose(&mut Node::new(&proto, vec![Some(&x), Some(&kernel), Some(&bias)])).unwrap();
        assert_eq!(y, tensor([1, 2, 1, 4], &[2.5, 13.5, 20.5, 30.5, 1.0, 0.0, 10.0, 0.0]));
    }

    #[test]
    fn pads_beyond_the_output_are_an_error() {
        let proto = GraphNode { attributes: vec![testing::ints("pads", &[0, 9, 0, 0])], ..GraphNode::default() };
        let (x, kernel) = (tensor([1, 1, 1, 1], &[1.0]), tensor([1, 1, 1, 1], &[1.0]));
        assert!(conv_transpose(&mut Node::new(&proto, vec![Some(&x), Some(&kernel)])).is_err());
    }
}
