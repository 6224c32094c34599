//! What the Inception networks have in common: convolutions in parallel branches, whose outputs are concatenated.

use super::body::Body;
use crate::Result;
use crate::prelude::*;

/// A convolution: its filters, and height and width of its kernel.
pub(super) type Convolution = (usize, [usize; 2]);

/// Convolutions that follow each other.
pub(super) type Branch = [Convolution];

/// The layers before the first branches: five convolutions and two poolings.
pub(super) fn stem(body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = convolution(body, x, (32, [3, 3]), 2, Padding::Valid)?;
    x = convolution(body, &x, (32, [3, 3]), 1, Padding::Valid)?;
    x = convolution(body, &x, (64, [3, 3]), 1, Padding::Same)?;
    x = body.call(&x, MaxPooling2D::new(3).strides(2))?;
    x = convolution(body, &x, (80, [1, 1]), 1, Padding::Valid)?;
    x = convolution(body, &x, (192, [3, 3]), 1, Padding::Valid)?;
    body.call(&x, MaxPooling2D::new(3).strides(2))
}

/// An Inception block `{name}`: `branches`, and a branch of an average pooling and a 1x1 convolution with `pooled` filters.
pub(super) fn inception(
    body: &mut Body,
    x: &SymbolicTensor,
    branches: &[&Branch],
    pooled: usize,
    name: &str,
) -> Result<SymbolicTensor> {
    let mut outputs = branches.iter().map(|branch| self::branch(body, x, branch)).collect::<Result<Vec<_>>>()?;
    outputs.push(pooled_branch(body, x, pooled)?);
    body.call(&outputs, Concatenate::new().named(name))
}

/// A block `{name}` that halves the image: `branches` whose last convolution has stride 2, and a branch of a max pooling.
pub(super) fn reduction(
    body: &mut Body,
    x: &SymbolicTensor,
    branches: &[&Branch],
    name: &str,
) -> Result<SymbolicTensor> {
    let mut outputs = Vec::new();
    for branch in branches {
        let mut y = x.clone();
        if let [first @ .., last] = branch {
            y = self::branch(body, &y, first)?;
            y = convolution(body, &y, *last, 2, Padding::Valid)?;
        }
        outputs.push(y);
    }
    outputs.push(body.call(x, MaxPooling2D::new(3).strides(2))?);
    body.call(&outputs, Concatenate::new().named(name))
}

/// The convolutions of a branch, which keep the size of the image.
pub(super) fn branch(body: &mut Body, x: &SymbolicTensor, convolutions: &Branch) -> Result<SymbolicTensor> {
    convolutions.iter().try_fold(x.clone(), |x, &conv| convolution(body, &x, conv, 1, Padding::Same))
}

/// A branch of an average pooling and a 1x1 convolution.
pub(super) fn pooled_branch(body: &mut Body, x: &SymbolicTensor, filters: usize) -> Result<SymbolicTensor> {
    let x = body.call(x, AveragePooling2D::new(3).strides(1).padding(Padding::Same))?;
    branch(body, &x, &[(filters, [1, 1])])
}

/// A convolution without bias, batch normalization without scale, and ReLU, with automatic names.
fn convolution(
    body: &mut Body,
    x: &SymbolicTensor,
    (filters, kernel): Convolution,
    strides: usize,
    padding: Padding,
) -> Result<SymbolicTensor> {
    let x = body.call(x, Conv2D::new(filters, kernel).strides(strides).padding(padding).use_bias(false))?;
    let x = body.call(&x, BatchNormalization::new().scale(false))?;
    body.call(&x, Activation::new(Relu))
}
