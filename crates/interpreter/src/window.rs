//! The sliding windows of convolutions and poolings, and the pooling operators.

use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// The windows of a convolution or pooling. Each field has one number for the rows (height), then one for the columns (width).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Windows {
    pub(super) image: [usize; 2],
    pub(super) size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Padding at the top and on the left.
    pad: [usize; 2],
    /// Number of windows.
    pub(super) output: [usize; 2],
}

impl Windows {
    /// Removes the window attributes from a node, and computes its windows. `size` is the default of `kernel_shape`.
    pub(super) fn take(node: &mut Node<'_>, image: [usize; 2], size: [usize; 2]) -> Result<Self> {
        let size = node.sizes("kernel_shape", size)?;
        let (stride, dilation) = (node.sizes("strides", [1, 1])?, node.sizes("dilations", [1, 1])?);
        let pads: [usize; 4] = node.sizes("pads", [0; 4])?;
        let count = |axis: usize| {
            let padded = image[axis].checked_add(pads[axis])?.checked_add(pads[axis + 2])?;
            let dilation = Some(dilation[axis]).filter(|&dilation| dilation > 0)?;
            let extent = size[axis].checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
            Some(padded.checked_sub(extent)?.checked_div(stride[axis])? + 1)
        };
        let (Some(rows), Some(columns)) = (count(0), count(1)) else {
            let received = format!("size {size:?}, strides {stride:?}, dilations {dilation:?}, pads {pads:?}");
            return Err(node.error(format_args!("windows that fit an image of {image:?}"), received));
        };
        Ok(Self { image, size, stride, dilation, pad: [pads[0], pads[1]], output: [rows, columns] })
    }

    /// The input row (or column, by `axis`) that kernel element `tap` of window `output` reads; `None` in the padding.
    pub(super) fn at(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let padded = output * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.pad[axis]).filter(|&at| at < self.image[axis])
    }

    /// The pixels that a window reads, as offsets into a plane, without the padding.
    fn pixels(&self, row: usize, column: usize) -> impl Iterator<Item = usize> {
        self.inside(0, row).flat_map(move |y| self.inside(1, column).map(move |x| y * self.image[1] + x))
    }

    /// The rows (or columns) of the image that window `output` reads.
    ///
    /// The padding is skipped without iterating over it: a hostile file can declare any amount of it.
    fn inside(&self, axis: usize, output: usize) -> impl Iterator<Item = usize> {
        let tap = |padded: usize| {
            padded.saturating_sub(output * self.stride[axis]).div_ceil(self.dilation[axis]).min(self.size[axis])
        };
        let (start, end) = (self.pad[axis], self.pad[axis] + self.image[axis]);
        (tap(start)..tap(end)).filter_map(move |tap| self.at(axis, output, tap))
    }
}

/// `MaxPool` and `AveragePool`. The padding doesn't count, neither as a maximum nor in the mean.
pub(super) fn pool(node: &mut Node<'_>) -> Result<Value> {
    let (x, [images, channels, height, width]) = node.floats_of_rank(0)?;
    let windows = Windows::take(node, [height, width], [0, 0])?;
    let [rows, columns] = windows.output;
    let shape = [images, channels, rows, columns];
    let mut y = Vec::with_capacity(node.element_count(&shape)?);
    let is_max = node.op_type() == "MaxPool";
    for plane in x.data().chunks_exact((height * width).max(1)) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let pixels = windows.pixels(row, column).map(|at| plane[at]);
            y.push(if is_max { maximum(pixels) } else { mean(pixels) });
        }
    }
    Tensor::new(shape, y).map(Value::Floats)
}

/// `GlobalMaxPool` and `GlobalAveragePool`.
pub(super) fn global_pool(node: &Node<'_>) -> Result<Value> {
    let (x, [images, channels, height, width]) = node.floats_of_rank(0)?;
    let planes = x.data().chunks_exact((height * width).max(1)).map(|plane| plane.iter().copied());
    let y = if node.op_type() == "GlobalMaxPool" { planes.map(maximum).collect() } else { planes.map(mean).collect() };
    Tensor::new([images, channels, 1, 1], y).map(Value::Floats)
}

/// The maximum; NaN if any value is NaN.
fn maximum(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, |largest, value| if largest >= value || largest.is_nan() { largest } else { value })
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{Attribute, GraphNode};

    use super::*;
    use crate::testing;

    fn pooled(op_type: &str, attributes: Vec<Attribute>) -> Result<Value> {
        let proto = GraphNode { op_type: op_type.into(), attributes, ..GraphNode::default() };
        let x = (0..9).map(|value| value as f32).collect();
        let x = Value::Floats(Tensor::new([1, 1, 3, 3], x).unwrap());
        let mut node = Node::new(&proto, vec![Some(&x)]);
        let pooled = if op_type.starts_with("Global") { global_pool(&node) } else { pool(&mut node) };
        node.no_more_attributes()?;
        pooled
    }

    fn image(side: usize, values: &[f32]) -> Value {
        Value::Floats(Tensor::new([1, 1, side, side], values.to_vec()).unwrap())
    }

    #[test]
    fn padding_does_not_count() {
        let window = |pads| {
            vec![testing::ints("kernel_shape", &[2, 2]), testing::ints("strides", &[2, 2]), testing::ints("pads", pads)]
        };
        assert_eq!(pooled("MaxPool", window(&[0, 0, 0, 0])).unwrap(), image(1, &[4.0]));
        assert_eq!(pooled("MaxPool", window(&[0, 0, 1, 1])).unwrap(), image(2, &[4.0, 5.0, 7.0, 8.0]));
        assert_eq!(pooled("AveragePool", window(&[1, 1, 0, 0])).unwrap(), image(2, &[0.0, 1.5, 4.5, 6.0]));
        assert_eq!(pooled("GlobalMaxPool", vec![]).unwrap(), image(1, &[8.0]));
        assert_eq!(pooled("GlobalAveragePool", vec![]).unwrap(), image(1, &[4.0]));
    }

    #[test]
    fn padding_takes_no_time() {
        let far = 1 << 60;
        let attributes = vec![
            testing::ints("kernel_shape", &[far + 3, 2]),
            testing::ints("pads", &[far, 0, 0, 0]),
            testing::ints("dilations", &[1, 2]),
        ];
        let Value::Floats(y) = pooled("MaxPool", attributes).unwrap() else { panic!() };
        assert_eq!((y.shape(), y.data()), (&[1, 1, 1, 1][..], &[8.0][..]));
    }

    #[test]
    fn windows_that_do_not_fit_are_errors() {
        for (name, sizes) in [
            ("kernel_shape", &[4, 1][..]),
            ("strides", &[0, 1]),
            ("dilations", &[0, 1]),
            ("pads", &[usize::MAX >> 1, 0, 0, 0]),
        ] {
            let mut attributes = vec![testing::ints(name, sizes)];
            if name != "kernel_shape" {
                attributes.push(testing::ints("kernel_shape", &[1, 1]));
            }
            assert!(pooled("MaxPool", attributes).is_err(), "{name}");
        }
        assert!(pooled("MaxPool", vec![testing::ints("kernel_shape", &[0, 0])]).is_err());
    }
}
