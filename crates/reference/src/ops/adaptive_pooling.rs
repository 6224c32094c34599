//! Adaptive pooling: windows that divide an image as evenly as possible (Keras' `AdaptiveAveragePooling2D`, …).

use std::ops::Range;

use engraft_ir::PoolKind;
use engraft_nn::Result;

use super::Call;
use crate::array::{Array, positions, sizes};

/// The input pixels that output pixel `index` of `outputs` covers.
fn window(index: usize, inputs: usize, outputs: usize) -> Range<usize> {
    index * inputs / outputs..((index + 1) * inputs).div_ceil(outputs)
}

/// Calls `visit` with each position in the output and the positions that it covers in the input, column by column.
fn for_each_window(call: &Call<'_>, mut visit: impl FnMut([usize; 4], Vec<[usize; 4]>)) -> Result<()> {
    let [_, in_h, in_w, _] = call.x[0].sizes()?;
    let output @ [_, out_h, out_w, _] = sizes(&call.output)?;
    for at @ [image, row, column, channel] in positions(output) {
        let pixel = |y: usize, x: usize| [image, y, x, channel];
        let columns = window(column, in_w, out_w);
        visit(at, columns.flat_map(|x| window(row, in_h, out_h).map(move |y| pixel(y, x))).collect());
    }
    Ok(())
}

pub(super) fn forward(call: &Call<'_>, kind: PoolKind) -> Result<Array> {
    let (x, mut y) = (call.x[0], Array::zeros(call.output.clone()));
    for_each_window(call, |at, window| {
        let values = window.iter().map(|&at| x[at]);
        y[at] = match kind {
            PoolKind::Max => values.fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average => values.sum::<f64>() / window.len() as f64,
        };
    })?;
    Ok(y)
}

/// The gradient of a maximum goes to the first pixel that has it: TensorFlow pools rows first, then columns.
pub(super) fn backward(call: &Call<'_>, kind: PoolKind, dy: &Array) -> Result<Array> {
    let (x, mut dx) = (call.x[0], Array::zeros(call.x[0].shape()));
    for_each_window(call, |at, window| match kind {
        PoolKind::Average => window.iter().for_each(|&pixel| dx[pixel] += dy[at] / window.len() as f64),
        PoolKind::Max => {
            let mut largest = window[0];
            window.iter().for_each(|&pixel| largest = if x[pixel] > x[largest] { pixel } else { largest });
            dx[largest] += dy[at];
        }
    })?;
    Ok(dx)
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn windows_overlap_by_at_most_a_pixel_and_cover_all() {
        let windows = |inputs, outputs| (0..outputs).map(|index| window(index, inputs, outputs)).collect::<Vec<_>>();
        assert_eq!(windows(5, 3), [0..2, 1..4, 3..5]);
        assert_eq!(windows(6, 3), [0..2, 2..4, 4..6]);
        assert_eq!(windows(2, 4), [0..1, 0..1, 1..2, 1..2]);
    }

    #[test]
    fn gradients() {
        for kind in [PoolKind::Max, PoolKind::Average] {
            check_gradients(&Op::AdaptivePool2d { kind }, &[&[2, 5, 7, 2]], &[], &[2, 3, 4, 2]);
        }
    }
}
