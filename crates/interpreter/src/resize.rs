//! The operator `Resize`, computed one axis after the other.

use engraft_nn::{Result, Tensor};

use super::node::Node;
use super::value::Value;

/// The two input indices along an axis that an output is interpolated from, and the weight of the second.
type Neighbours = (usize, usize, f32);

pub(super) fn resize(node: &mut Node<'_>) -> Result<Value> {
    let mut x = node.floats(0)?.clone();
    node.word("coordinate_transformation_mode", &["half_pixel"])?;
    let neighbours = if node.word("mode", &["linear", "nearest"])? == "linear" {
        linear
    } else {
        node.word("nearest_mode", &["round_prefer_ceil"])?;
        nearest
    };
    let sizes: Option<Vec<usize>> = node.ints(3)?.iter().map(|&size| usize::try_from(size).ok()).collect();
    let Some(sizes) = sizes.filter(|sizes| sizes.len() == x.shape().len()) else {
        let received = format!("{:?} for shape {:?}", node.ints(3)?, x.shape());
        return Err(node.error("a size for each axis", received));
    };
    for (axis, size) in sizes.into_iter().enumerate() {
        let input_size = x.shape()[axis];
        if size == input_size {
            continue;
        }
        if input_size == 0 {
            return Err(node.error("at least one pixel to interpolate", format_args!("shape {:?}", x.shape())));
        }
        let pixels = 0..node.element_count(&[size])?;
        let sources: Vec<Neighbours> =
            pixels.map(|pixel| neighbours(source_coordinate(pixel, input_size, size), input_size)).collect();
        x = interpolated(node, &x, axis, &sources)?;
    }
    Ok(Value::Floats(x))
}

/// The input coordinate of an output pixel's centre, with half-pixel centres.
fn source_coordinate(pixel: usize, input_size: usize, output_size: usize) -> f64 {
    (pixel as f64 + 0.5) * input_size as f64 / output_size as f64 - 0.5
}

fn linear(coordinate: f64, size: usize) -> Neighbours {
    let coordinate = coordinate.clamp(0.0, (size - 1) as f64);
    let first = coordinate.floor();
    (first as usize, (first as usize + 1).min(size - 1), (coordinate - first) as f32)
}

/// The input pixel nearest to a coordinate. A coordinate halfway between two pixels rounds up, as in `round_prefer_ceil`.
fn nearest(coordinate: f64, size: usize) -> Neighbours {
    let pixel = ((coordinate + 0.5).floor().max(0.0) as usize).min(size - 1);
    (pixel, pixel, 0.0)
}

/// Interpolates `x` along an axis: output entry `i` is the weighted mean of the two input entries that `sources[i]` names.
fn interpolated(node: &Node<'_>, x: &Tensor, axis: usize, sources: &[Neighbours]) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    let block: usize = shape[axis + 1..].iter().product();
    let outer = (shape[axis] * block).max(1);
    shape[axis] = sources.len();
    let mut y = Vec::with_capacity(node.element_count(&shape)?);
    for x in x.data().chunks_exact(outer) {
        for &(first, second, weight) in sources {
            let pair = x[first * block..][..block].iter().zip(&x[second * block..][..block]);
            y.extend(pair.map(|(first, second)| first + (second - first) * weight));
        }
    }
    Tensor::new(shape, y)
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::GraphNode;

    use super::*;
    use crate::testing;

    fn resized(mode: &str, x: &[f32], size: i64) -> Result<Vec<f32>> {
        let mut attributes =
            vec![testing::string("coordinate_transformation_mode", "half_pixel"), testing::string("mode", mode)];
        if mode == "nearest" {
            attributes.push(testing::string("nearest_mode", "round_prefer_ceil"));
        }
        let proto = GraphNode { attributes, ..GraphNode::default() };
        let x = Value::Floats(Tensor::new([1, x.len()], x.to_vec()).unwrap());
        let sizes = Value::Ints(vec![1, size]);
        let mut node = Node::new(&proto, vec![Some(&x), None, None, Some(&sizes)]);
        let Value::Floats(y) = resize(&mut node)? else { panic!("no numbers") };
        node.no_more_attributes()?;
        Ok(y.into_data())
    }

    #[test]
    fn pixels_are_mixed_or_taken() {
        assert_eq!(resized("linear", &[0.0, 4.0], 4).unwrap(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resized("linear", &[0.0, 1.0, 2.0, 3.0], 2).unwrap(), [0.5, 2.5]);
        // The coordinate 1.5 rounds up to the third pixel.
        assert_eq!(resized("nearest", &[0.0, 1.0, 2.0, 3.0], 1).unwrap(), [2.0]);
        assert_eq!(resized("nearest", &[5.0], 3).unwrap(), [5.0; 3]);
    }

    #[test]
    fn other_modes_and_sizes_are_errors() {
        assert!(resized("cubic", &[1.0], 2).is_err());
        assert!(resized("linear", &[], 2).is_err());
        assert!(resized("linear", &[1.0], i64::MAX).is_err());
        assert!(resized("linear", &[1.0], -1).is_err());
    }
}
