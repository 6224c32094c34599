//! Resizing images as `tf.image.resize` does: half-pixel centres, no antialiasing.

use engraft_ir::Interpolation;
use engraft_nn::Result;

use super::Call;
use crate::array::{Array, positions, sizes};

pub(super) fn forward(call: &Call<'_>, interpolation: Interpolation) -> Result<Array> {
    let x = call.x[0];
    let mut y = Array::zeros(call.output.clone());
    for_each_source(call, interpolation, |from, to, weight| y[to] += weight * x[from])?;
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, interpolation: Interpolation, dy: &Array) -> Result<Array> {
    let mut dx = Array::zeros(call.x[0].shape());
    for_each_source(call, interpolation, |from, to, weight| dx[from] += weight * dy[to])?;
    Ok(dx)
}

/// Calls `visit(from, to, weight)` for every output position `to` and each input position `from` that it interpolates.
fn for_each_source(
    call: &Call<'_>,
    interpolation: Interpolation,
    mut visit: impl FnMut([usize; 4], [usize; 4], f64),
) -> Result<()> {
    let [_, in_h, in_w, _] = call.x[0].sizes()?;
    let output @ [_, out_h, out_w, _] = sizes(&call.output)?;
    for to @ [image, y, x, channel] in positions(output) {
        for (row, row_weight) in sources(interpolation, y, in_h, out_h) {
            for (column, column_weight) in sources(interpolation, x, in_w, out_w) {
                visit([image, row, column, channel], to, row_weight * column_weight);
            }
        }
    }
    Ok(())
}

/// The input indices along one axis that output index `to` interpolates, with their weights.
///
/// Coordinates are f32, as in TensorFlow, because their rounding decides which pixel is the nearest.
fn sources(interpolation: Interpolation, to: usize, input: usize, output: usize) -> Vec<(usize, f64)> {
    let center = (to as f32 + 0.5) * (input as f32 / output as f32);
    let inside = |coordinate: f32| (coordinate.max(0.0) as usize).min(input.saturating_sub(1));
    match interpolation {
        Interpolation::Nearest => vec![(inside(center.floor()), 1.0)],
        Interpolation::Bilinear => {
            let position = center - 0.5;
            let weight = f64::from(position - position.floor());
            vec![(inside(position.floor()), 1.0 - weight), (inside(position.ceil()), weight)]
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn sources_are_symmetric_and_stay_inside() {
        assert_eq!(sources(Interpolation::Bilinear, 0, 2, 4), [(0, 0.25), (0, 0.75)]);
        assert_eq!(sources(Interpolation::Bilinear, 1, 2, 4), [(0, 0.75), (1, 0.25)]);
        assert_eq!(sources(Interpolation::Bilinear, 3, 2, 4), [(1, 0.75), (1, 0.25)]);
        assert_eq!([0, 1].map(|to| sources(Interpolation::Nearest, to, 4, 2)), [[(1, 1.0)], [(3, 1.0)]]);
    }

    #[test]
    fn gradients_both_ways() {
        for interpolation in [Interpolation::Bilinear, Interpolation::Nearest] {
            for output in [[2, 5, 7, 2], [2, 2, 2, 2]] {
                check_gradients(&Op::Resize { interpolation }, &[&[2, 3, 4, 2]], &[], &output);
            }
        }
    }
}
