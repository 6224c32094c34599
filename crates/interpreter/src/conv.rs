//! The operator `Conv`, by im2col and a matrix product per image and group.

use engraft_kernels::{Matrix, gemm};
use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;
use super::window::Windows;

pub(super) fn conv(node: &mut Node<'_>) -> Result<Value> {
    let (x, [images, channels, height, width]) = node.floats_of_rank(0)?;
    let (kernel, [filters, depth, kernel_height, kernel_width]) = node.floats_of_rank(1)?;
    let bias = node.optional(2).is_some().then(|| node.vector(2, filters)).transpose()?;
    let groups = usize::try_from(node.int("group", 1)?).unwrap_or(0).max(1);
    let windows = Windows::take(node, [height, width], [kernel_height, kernel_width])?;
    let fits = depth.checked_mul(groups) == Some(channels) && filters.is_multiple_of(groups);
    if !fits || windows.size != [kernel_height, kernel_width] {
        let received = format!("a kernel of shape {:?}, {groups} groups", kernel.shape());
        return Err(node.error(format_args!("a kernel for images of shape {:?}", x.shape()), received));
    }
    let [rows, columns] = windows.output;
    let shape = [images, filters, rows, columns];
    let mut y = vec![0.0; node.element_count(&shape)?];
    let (pixels, taps) = (rows * columns, node.element_count(&[depth, kernel_height, kernel_width])?);
    let (filters, plane) = (filters / groups, height * width);
    let mut columns_matrix = vec![0.0; node.element_count(&[taps, pixels])?];
    for (index, y) in y.chunks_exact_mut((filters * pixels).max(1)).enumerate() {
        im2col(&windows, &x.data()[index * depth * plane..][..depth * plane], plane, &mut columns_matrix);
        let kernel = &kernel.data()[index % groups * filters * taps..];
        gemm(
            filters,
            taps,
            pixels,
            Matrix::row_major(kernel, taps),
            Matrix::row_major(&columns_matrix, pixels),
            false,
            y,
        );
    }
    if let Some(bias) = bias {
        let planes = y.chunks_exact_mut(pixels.max(1)).zip(bias.iter().cycle());
        planes.for_each(|(y, bias)| y.iter_mut().for_each(|y| *y += bias));
    }
    Tensor::new(shape, y).map(Value::Floats)
}

/// Fills the im2col matrix: one row per channel and kernel element, one column per window, zeros in the padding.
fn im2col(windows: &Windows, channels: &[f32], plane: usize, matrix: &mut [f32]) {
    let ([height, width], [rows, columns]) = (windows.size, windows.output);
    let image_width = windows.image[1];
    let mut matrix_rows = matrix.chunks_exact_mut(columns.max(1));
    for channel in channels.chunks_exact(plane.max(1)) {
        for (tap_row, tap_column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            for (row, matrix_row) in (0..rows).zip(&mut matrix_rows) {
                let image_row = windows.at(0, row, tap_row).map(|at| &channel[at * image_width..][..image_width]);
                for (column, value) in matrix_row.iter_mut().enumerate() {
                    let at = windows.at(1, column, tap_column);
                    *value = image_row.zip(at).map_or(0.0, |(image_row, at)| image_row[at]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing::{self, tensor};

    #[test]
    fn two_groups_padded_on_one_side() {
        let attributes = vec![testing::int("group", 2), testing::ints("pads", &[0, 1, 0, 0])];
        let proto = GraphNode { attributes, ..GraphNode::default() };
        let x = tensor([1, 2, 1, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let kernel = tensor([2, 1, 1, 2], &[1.0, -1.0, 2.0, 1.0]);
        let bias = Value::Floats(Tensor::new([2], vec![0.5, 0.0]).unwrap());
        let y = conv(&mut Node::new(&proto, vec![Some(&x), Some(&kernel), Some(&bias)])).unwrap();
        assert_eq!(y, tensor([1, 2, 1, 3], &[-0.5, -0.5, -0.5, 10.0, 40.0, 70.0]));
    }

    #[test]
    fn a_kernel_for_other_images_is_an_error() {
        let proto = GraphNode::default();
        let (x, kernel) = (tensor([1, 2, 1, 1], &[1.0, 2.0]), tensor([1, 1, 1, 1], &[1.0]));
        let error = conv(&mut Node::new(&proto, vec![Some(&x), Some(&kernel)])).unwrap_err().to_string();
        assert!(error.contains("a kernel for images of shape [1, 2, 1, 1]"), "{error}");
    }
}
