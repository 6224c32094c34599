//! Resizing images as `tf.image.resize` does, with half-pixel centres.

use engraft_ir::{Interpolation, Resampling};
use engraft_nn::Result;

use super::Call;
use crate::array::{Array, positions, sizes};

pub(super) fn forward(call: &Call<'_>, interpolation: Interpolation, antialias: bool) -> Result<Array> {
    let x = call.x[0];
    let mut y = Array::zeros(call.output.clone());
    for_each_source(call, interpolation, antialias, |from, to, weight| y[to] += weight * x[from])?;
    Ok(y)
}

pub(super) fn backward(call: &Call<'_>, interpolation: Interpolation, antialias: bool, dy: &Array) -> Result<Array> {
    let mut dx = Array::zeros(call.x[0].shape());
    for_each_source(call, interpolation, antialias, |from, to, weight| dx[from] += weight * dy[to])?;
    Ok(dx)
}

/// Calls `visit(from, to, weight)` for every output position `to` and each input position `from` that it interpolates.
fn for_each_source(
    call: &Call<'_>,
    interpolation: Interpolation,
    antialias: bool,
    mut visit: impl FnMut([usize; 4], [usize; 4], f64),
) -> Result<()> {
    let [_, in_h, in_w, _] = call.x[0].sizes()?;
    let output @ [_, out_h, out_w, _] = sizes(&call.output)?;
    for to @ [image, y, x, channel] in positions(output) {
        for (row, row_weight) in sources(interpolation, antialias, y, in_h, out_h) {
            for (column, column_weight) in sources(interpolation, antialias, x, in_w, out_w) {
                visit([image, row, column, channel], to, row_weight * column_weight);
            }
        }
    }
    Ok(())
}

/// The input indices along one axis that output index `to` interpolates, with their weights.
///
/// Coordinates are f32, as in TensorFlow, because their rounding decides which pixel is the nearest.
fn sources(interpolation: Interpolation, antialias: bool, to: usize, input: usize, output: usize) -> Vec<(usize, f64)> {
    let center = (to as f32 + 0.5) * (input as f32 / output as f32);
    let inside = |coordinate: f32| (coordinate.max(0.0) as usize).min(input.saturating_sub(1));
    match interpolation {
        Interpolation::Nearest => vec![(inside(center.floor()), 1.0)],
        Interpolation::Bilinear if !antialias => {
            let position = center - 0.5;
            let weight = f64::from(position - position.floor());
            vec![(inside(position.floor()), 1.0 - weight), (inside(position.ceil()), weight)]
        }
        // The definition of the others is the table itself: it has TensorFlow's rounding of positions and weights.
        _ => {
            let table = Resampling::new(interpolation, antialias, input, output);
            let (first, weights) = table.taps(to);
            (first..).zip(weights.iter().map(|&weight| weight.into())).collect()
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
        assert_eq!(sources(Interpolation::Bilinear, false, 0, 2, 4), [(0, 0.25), (0, 0.75)]);
        assert_eq!(sources(Interpolation::Bilinear, false, 1, 2, 4), [(0, 0.75), (1, 0.25)]);
        assert_eq!(sources(Interpolation::Bilinear, false, 3, 2, 4), [(1, 0.75), (1, 0.25)]);
        assert_eq!([0, 1].map(|to| sources(Interpolation::Nearest, false, to, 4, 2)), [[(1, 1.0)], [(3, 1.0)]]);
    }

    #[test]
    fn gradients_both_ways() {
        for (interpolation, antialias) in [
            (Interpolation::Bilinear, false),
            (Interpolation::Bilinear, true),
            (Interpolation::Nearest, false),
            (Interpolation::Bicubic, false),
            (Interpolation::Lanczos3, true),
            (Interpolation::Lanczos5, false),
            (Interpolation::Area, false),
        ] {
            for output in [[2, 5, 7, 2], [2, 2, 2, 2]] {
                check_gradients(&Op::Resize { interpolation, antialias }, &[&[2, 3, 4, 2]], &[], &output);
            }
        }
    }
}
