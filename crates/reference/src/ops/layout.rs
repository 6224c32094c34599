//! Operations that only move values: `Concatenate`, `Pad2d`, `Pad`, `Reshape`, `Slice`, `Permute`, `ReverseChannels`, `Gather`.
//!
//! Each is defined by the source of every output value; forward and backward pass use the same definition.

use engraft_ir::Op;
use engraft_nn::{Error, Result};

use super::{Call, OpGradients};
use crate::array::{Array, positions_of};

/// The index of an input and a position in it, batch included.
type Source = (usize, Vec<usize>);

pub(super) fn forward(call: &Call<'_>) -> Result<Array> {
    let padding = if let Op::Pad { value, .. } = call.op { f64::from(*value) } else { 0.0 };
    let mut y = Array::zeros(call.output.clone()).map(|_| padding);
    for at in positions_of(&call.output) {
        if let Some((input, from)) = source(call, &at)? {
            y[at.as_slice()] = call.x[input][from.as_slice()];
        }
    }
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> Result<OpGradients> {
    let mut inputs: Vec<Array> = call.x.iter().map(|x| Array::zeros(x.shape())).collect();
    for at in positions_of(&call.output) {
        if let Some((input, from)) = source(call, &at)? {
            inputs[input][from.as_slice()] += dy[at.as_slice()];
        }
    }
    Ok(OpGradients { inputs, weights: Vec::new() })
}

/// The source of the output value at position `to`; `None` if the value is padding.
fn source(call: &Call<'_>, to: &[usize]) -> Result<Option<Source>> {
    let (sample, position) = (to[0], &to[1..]);
    let shape = &call.x[0].shape()[1..];
    let from = match call.op {
        Op::Concatenate { axis } => return Ok(concatenated(call, 1 + axis, to)),
        Op::Pad2d { pad: [[top, _], [left, _]] } => {
            let before = [*top, *left, 0];
            let inside =
                |((at, before), size): ((&usize, usize), &usize)| at.checked_sub(before).filter(|at| at < size);
            position.iter().zip(before).zip(shape).map(inside).collect::<Option<Vec<usize>>>()
        }
        Op::Pad { pad, .. } => {
            let inside = |((at, [before, _]), size): ((&usize, &[usize; 2]), &usize)| {
                at.checked_sub(*before).filter(|at| at < size)
            };
            position.iter().zip(pad).zip(shape).map(inside).collect::<Option<Vec<usize>>>()
        }
        Op::Gather { axis, indices } => {
            let mut from = position.to_vec();
            from[*axis] = indices[from[*axis]];
            Some(from)
        }
        Op::Reshape => Some(reshaped(shape, &call.output[1..], position)),
        Op::Slice { start, step } => {
            let along =
                |((&at, &start), &step): ((&usize, &usize), &isize)| (start as isize + at as isize * step) as usize;
            Some(position.iter().zip(start).zip(step).map(along).collect())
        }
        Op::Permute { axes } => {
            let mut from = vec![0; axes.len()];
            axes.iter().zip(position).for_each(|(&axis, &at)| from[axis] = at);
            Some(from)
        }
        Op::ReverseChannels => {
            let mut from = position.to_vec();
            from.last_mut().into_iter().zip(shape.last()).for_each(|(at, channels)| *at = channels - 1 - *at);
            Some(from)
        }
        op => return Err(Error::because("layout", format_args!("{op:?} computes values"))),
    };
    Ok(from.map(|from| (0, [&[sample], from.as_slice()].concat())))
}

/// The source of an output value of `Concatenate` along tensor axis `axis`, batch included.
fn concatenated(call: &Call<'_>, axis: usize, to: &[usize]) -> Option<Source> {
    let mut from = to.to_vec();
    for (input, x) in call.x.iter().enumerate() {
        match from[axis].checked_sub(x.shape()[axis]) {
            None => return Some((input, from)),
            Some(beyond) => from[axis] = beyond,
        }
    }
    None
}

/// The position in shape `from` with the same row-major offset as `position` in shape `to`.
fn reshaped(from: &[usize], to: &[usize], position: &[usize]) -> Vec<usize> {
    let mut offset = position.iter().zip(to).fold(0, |offset, (at, size)| offset * size + at);
    let mut found = vec![0; from.len()];
    for (at, size) in found.iter_mut().zip(from).rev() {
        *at = offset % size;
        offset /= size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::RngKey;
    use super::*;
    use crate::testing::check_gradients;

    /// Applies `op` to one sample with the values 0, 1, 2, …
    fn moved(op: &Op, shape: &[usize], output: &[usize]) -> Vec<f64> {
        let batched = |shape: &[usize]| [&[1], shape].concat();
        let x = Array::new(batched(shape), (0..shape.iter().product()).map(|i: usize| i as f64).collect());
        let (rng_key, output) = (RngKey::default(), batched(output));
        forward(&Call { op, x: vec![&x], weights: vec![], output, rng_key, statistics: None }).unwrap().data().to_vec()
    }

    #[test]
    fn values_go_where_they_should() {
        let pad = Op::Pad2d { pad: [[1, 0], [0, 1]] };
        assert_eq!(moved(&pad, &[1, 2, 1], &[2, 3, 1]), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let slice = Op::Slice { start: vec![2, 0], step: vec![-2, 1] };
        assert_eq!(moved(&slice, &[3, 2], &[2, 1]), [4.0, 0.0]);
        assert_eq!(moved(&Op::Permute { axes: vec![1, 0] }, &[2, 3], &[3, 2]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(moved(&Op::ReverseChannels, &[2, 3], &[2, 3]), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        let pad = Op::Pad { pad: vec![[1, 0], [0, 1]], value: 7.0 };
        assert_eq!(moved(&pad, &[1, 2], &[2, 3]), [7.0, 7.0, 7.0, 0.0, 1.0, 7.0]);
        let gather = Op::Gather { axis: 1, indices: vec![2, 0, 2] };
        assert_eq!(moved(&gather, &[2, 3], &[2, 3]), [2.0, 0.0, 2.0, 5.0, 3.0, 5.0]);
        assert_eq!(moved(&Op::Reshape, &[2, 3], &[6]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn gradients_come_back_the_same_way() {
        let gradients = |op: &Op, x: &[&[usize]], y: &[usize]| check_gradients(op, x, &[], y);
        gradients(&Op::Concatenate { axis: 1 }, &[&[2, 3, 1], &[2, 3, 2], &[2, 3, 1]], &[2, 3, 4]);
        gradients(&Op::Concatenate { axis: 0 }, &[&[2, 3, 1], &[2, 1, 1]], &[2, 4, 1]);
        gradients(&Op::Pad2d { pad: [[1, 2], [0, 3]] }, &[&[2, 2, 2, 2]], &[2, 5, 5, 2]);
        gradients(&Op::Pad { pad: vec![[1, 2], [0, 3]], value: 0.5 }, &[&[2, 2, 2]], &[2, 5, 5]);
        gradients(&Op::Gather { axis: 0, indices: vec![1, 1, 0] }, &[&[2, 2, 3]], &[2, 3, 3]);
        gradients(&Op::Reshape, &[&[2, 3, 4]], &[2, 6, 2]);
        gradients(&Op::Slice { start: vec![1, 3], step: vec![1, -2] }, &[&[2, 4, 5]], &[2, 2, 2]);
        gradients(&Op::Permute { axes: vec![2, 0, 1] }, &[&[2, 2, 3, 4]], &[2, 4, 2, 3]);
        gradients(&Op::ReverseChannels, &[&[2, 2, 3]], &[2, 2, 3]);
    }
}
