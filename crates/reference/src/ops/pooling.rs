//! Max and average pooling, over windows and global.

use engraft_ir::{Op, PoolKind};
use engraft_nn::{Error, Result};

use super::Call;
use crate::array::{Array, positions};

/// A pooling window in one channel: the positions of its pixels, row by row, and the position of its output.
struct Window {
    pixels: Vec<[usize; 4]>,
    output: Vec<usize>,
}

pub(super) fn forward(call: &Call<'_>) -> Result<Array> {
    let (kind, windows) = windows(call)?;
    let x = call.x[0];
    let mut y = Array::zeros(call.output.clone());
    for Window { pixels, output } in windows {
        let values = pixels.iter().map(|&at| x[at]);
        y[output.as_slice()] = match kind {
            PoolKind::Max => values.fold(f64::NEG_INFINITY, greater),
            PoolKind::Average => values.sum::<f64>() / pixels.len() as f64,
        };
    }
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, dy: &Array) -> Result<Array> {
    let (kind, windows) = windows(call)?;
    let x = call.x[0];
    let mut dx = Array::zeros(x.shape());
    for Window { pixels, output } in windows {
        let dy = dy[output.as_slice()];
        let greatest = pixels.iter().map(|&at| x[at]).fold(f64::NEG_INFINITY, greater);
        let ties: Vec<[usize; 4]> = pixels.iter().copied().filter(|&at| x[at] == greatest).collect();
        let takers = match (kind, call.op) {
            (PoolKind::Average, _) => &pixels[..],
            // TensorFlow's `reduce_max` shares the gradient among pixels that tie, its `MaxPoolGrad` gives it to the first.
            (PoolKind::Max, Op::GlobalPool { .. }) => &ties[..],
            (PoolKind::Max, _) => &ties[..ties.len().min(1)],
        };
        takers.iter().for_each(|&at| dx[at] += dy / takers.len() as f64);
    }
    Ok(dx)
}

/// The maximum; NaN if `a` or `b` is NaN, so that a diverged model doesn't look healthy.
fn greater(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// The kind of pooling, and the windows of all images and channels.
fn windows(call: &Call<'_>) -> Result<(PoolKind, Vec<Window>)> {
    let [batch, height, width, channels] = call.x[0].sizes()?;
    if let Op::GlobalPool { kind } = *call.op {
        // With `keepdims`, the output keeps the two spatial axes, with size 1.
        let spatial = vec![0; call.output.len() - 2];
        let window = |[image, channel]: [usize; 2]| Window {
            pixels: positions([height, width]).map(|[y, x]| [image, y, x, channel]).collect(),
            output: [&[image], spatial.as_slice(), &[channel]].concat(),
        };
        return Ok((kind, positions([batch, channels]).map(window).collect()));
    }
    let shape = call.op.pool2d_shape(batch, &vec![height, width, channels], &call.output[1..].to_vec());
    let (kind, shape) =
        shape.ok_or_else(|| Error::new("pooling", "images", format_args!("shape {:?}", call.output)))?;
    let window = |[image, y, x, channel]: [usize; 4]| {
        let (rows, columns) = shape.window(y, x);
        let pixels = rows.flat_map(|row| columns.clone().map(move |column| [image, row, column, channel]));
        Window { pixels: pixels.collect(), output: vec![image, y, x, channel] }
    };
    Ok((kind, positions([batch, shape.out_h, shape.out_w, channels]).map(window).collect()))
}

#[cfg(test)]
mod tests {
    use super::super::RngKey;
    use super::*;
    use crate::testing::check_gradients;

    const KINDS: [PoolKind; 2] = [PoolKind::Max, PoolKind::Average];

    fn pool(kind: PoolKind) -> Op {
        Op::Pool2d { kind, size: [3, 2], stride: [2, 1], pad: [1, 0] }
    }

    #[test]
    fn gradients_of_windows_that_overlap_and_are_padded() {
        for kind in KINDS {
            check_gradients(&pool(kind), &[&[2, 4, 5, 3]], &[], &[2, 2, 4, 3]);
            check_gradients(&Op::GlobalPool { kind }, &[&[2, 3, 2, 3]], &[], &[2, 3]);
            check_gradients(&Op::GlobalPool { kind }, &[&[2, 3, 2, 3]], &[], &[2, 1, 1, 3]);
        }
    }

    #[test]
    fn padding_never_counts() {
        let x = Array::new([1, 2, 1, 1], vec![-3.0, -5.0]);
        for (kind, y) in [(PoolKind::Max, -3.0), (PoolKind::Average, -4.0)] {
            let op = Op::Pool2d { kind, size: [3, 3], stride: [1, 1], pad: [1, 1] };
            let call = Call {
                op: &op,
                x: vec![&x],
                weights: vec![],
                output: vec![1, 1, 1, 1],
                rng_key: RngKey::default(),
                statistics: None,
            };
            assert_eq!(forward(&call).unwrap().data(), [y]);
        }
    }

    #[test]
    fn the_first_of_equals_takes_the_gradient_of_a_window_and_all_share_that_of_an_image() {
        let x = Array::new([1, 2, 2, 1], vec![1.0, 2.0, 2.0, 0.0]);
        let window = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
        for (op, output, dx) in [
            (window, vec![1, 1, 1, 1], [0.0, 8.0, 0.0, 0.0]),
            (Op::GlobalPool { kind: PoolKind::Max }, vec![1, 1], [0.0, 4.0, 4.0, 0.0]),
        ] {
            let dy = Array::new(output.clone(), vec![8.0]);
            let call =
                Call { op: &op, x: vec![&x], weights: vec![], output, rng_key: RngKey::default(), statistics: None };
            assert_eq!(backward(&call, &dy).unwrap().data(), dx);
        }
    }
}
