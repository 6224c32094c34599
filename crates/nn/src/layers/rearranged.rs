//! Steps that rearrange a value for the operation after them: another shape, or another order of axes.

use engraft_ir::{Op, ValueId};

use crate::Shape;
use crate::lowering::Lowering;

/// The same values in another shape. A value that has this shape already is returned as it is.
pub(super) fn reshaped(to: &mut Lowering<'_>, x: ValueId, shape: impl Into<Shape>) -> ValueId {
    let shape = shape.into();
    if *to.shape(x) == shape {
        return x;
    }
    to.push_with(Op::Reshape, &[x], shape, 0..0)
}

/// The transposed value: axis `i` of the result is axis `axes[i]` of `x`.
pub(super) fn permuted(to: &mut Lowering<'_>, x: ValueId, axes: Vec<usize>) -> ValueId {
    if axes.is_sorted() {
        return x;
    }
    let shape = axes.iter().map(|&axis| to.shape(x)[axis]).collect();
    to.push_with(Op::Permute { axes }, &[x], shape, 0..0)
}

/// The product of two values along their last two axes; `transpose_right` reads the right one transposed.
pub(super) fn multiplied(to: &mut Lowering<'_>, left: ValueId, right: ValueId, transpose_right: bool) -> ValueId {
    let (a, b) = (to.shape(left), to.shape(right));
    let leading = a.len() - 2;
    let mut shape: Shape = a[..leading].iter().zip(&b[..leading]).map(|(&a, &b)| a.max(b)).collect();
    shape.extend([a[leading], b[leading + usize::from(!transpose_right)]]);
    to.push_with(Op::MatMul { transpose: [false, transpose_right] }, &[left, right], shape, 0..0)
}

/// Most channels that one factor is repeated for. A file can ask for 2^40 channels in a few bytes.
const MAX_REPEATS: usize = 4096;

/// The value times one constant, plus another.
pub(super) fn scaled(to: &mut Lowering<'_>, x: ValueId, factor: f32, offset: f32) -> ValueId {
    let shape = to.shape(x).clone();
    let last = shape.last().copied().unwrap_or(1);
    // Constants are stored for each channel. An axis of many channels is split.
    let channels = (1..=last.min(MAX_REPEATS)).rev().find(|&width| last.is_multiple_of(width)).unwrap_or(1);
    let split = if channels == last {
        shape.clone()
    } else {
        [&shape[..shape.len() - 1], &[last / channels, channels]].concat()
    };
    let x = reshaped(to, x, split.clone());
    let op = Op::ScaleShift { scale: vec![factor; channels], shift: vec![offset; channels] };
    let y = to.push_with(op, &[x], split, 0..0);
    reshaped(to, y, shape)
}

/// The product of a value and the weight `index` of one element.
pub(super) fn scaled_by_weight(to: &mut Lowering<'_>, x: ValueId, index: usize) -> ValueId {
    let shape = to.shape(x).clone();
    to.push_with(Op::Scale { below_zero: false }, &[x], shape, index..index + 1)
}

/// The order of axes that undoes a transposition by `axes`.
pub(super) fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
    inverse
}
