//! The epilogue of a matrix product: bias and activation, applied to a tile while it is in cache.

#![expect(unsafe_code, reason = "whole vectors are loaded and stored")]

use crate::Activation;
use crate::activation::activate_serial;
use crate::clamp::Clamp;
use crate::output_tiles::Tile;
use crate::simd::{Isa, Kernel, Simd};

/// Adds `bias` and applies `activation` to a tile. `bias` has one value for each column of the whole matrix.
pub(crate) fn apply_epilogue(bias: Option<&[f32]>, activation: Activation, tile: &mut Tile) {
    let bias = bias.map(|bias| &bias[tile.columns.clone()]);
    let clamp = Clamp::of(activation);
    if bias.is_some() || clamp.is_some_and(|clamp| clamp != Clamp::IDENTITY) {
        Isa::current().run(BiasAndClamp { bias, clamp: clamp.unwrap_or(Clamp::IDENTITY), tile });
    }
    if clamp.is_none() {
        (0..tile.rows.len()).for_each(|row| activate_serial(activation, tile.row(row)));
    }
}

/// Bias and clamp in one pass, as most layers have both.
struct BiasAndClamp<'a, 't> {
    bias: Option<&'a [f32]>,
    clamp: Clamp,
    tile: &'a mut Tile<'t>,
}

impl Kernel for BiasAndClamp<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { bias, clamp, tile } = self;
        let width = tile.columns.len();
        assert!(bias.is_none_or(|bias| bias.len() == width));
        for row in 0..tile.rows.len() {
            let row = tile.row(row).as_mut_ptr();
            let mut column = 0;
            while column < width {
                let count = S::LANES.min(width - column);
                // SAFETY: the row and the bias have `count` more columns.
                unsafe {
                    let at = row.add(column);
                    let mut x = simd.load_first(count, at);
                    if let Some(bias) = bias {
                        x = simd.add(x, simd.load_first(count, bias.as_ptr().add(column)));
                    }
                    simd.store_first(count, clamp.apply(simd, x), at);
                }
                column += S::LANES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_and_activation_are_those_of_single_values() {
        for columns in [1, 7, 8, 9, 16, 37] {
            let values: Vec<f32> = (0..3 * columns).map(|i| (i % 11) as f32 - 5.0).collect();
            let bias: Vec<f32> = (0..columns).map(|i| (i % 5) as f32 - 2.5).collect();
            for activation in [Activation::Linear, Activation::Relu, Activation::Relu6] {
                for bias in [None, Some(&bias[..])] {
                    let mut expected: Vec<f32> = values
                        .iter()
                        .enumerate()
                        .map(|(i, x)| x + bias.map_or(0.0, |bias| bias[i % columns]))
                        .collect();
                    activate_serial(activation, &mut expected);
                    let mut y = values.clone();
                    apply_epilogue(bias, activation, &mut Tile::covering(3, columns, &mut y));
                    assert_eq!(y, expected, "{columns} columns, {activation:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let mut y = [f32::NAN, -1.0];
        apply_epilogue(Some(&[1.0, 0.5]), Activation::Relu, &mut Tile::covering(1, 2, &mut y));
        assert!(y[0].is_nan() && y[1] == 0.0);
    }
}
