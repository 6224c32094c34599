//! [`Resampling`]: the weights with which resizing sums input pixels along one axis.

use crate::Interpolation;

/// The weights of a resizing along one axis: each output is a weighted sum of consecutive inputs.
///
/// Resizing an image is separable: rows are resampled by one table, columns by another. The weights are those of TensorFlow's
/// `tf.image.resize`, in f32 as there, with pixel centres at half-integer coordinates.
///
/// ```
/// use engraft_ir::{Interpolation, Resampling};
/// // Two pixels become one: without antialiasing, bilinear interpolation reads both.
/// let table = Resampling::new(Interpolation::Bilinear, false, 2, 1);
/// assert_eq!(table.taps(0), (0, &[0.5, 0.5][..]));
/// // With antialiasing, an output pixel reads all that it covers.
/// assert_eq!(Resampling::new(Interpolation::Bilinear, true, 8, 2).taps(0).1.len(), 6);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Resampling {
    /// Each output's first input, and where its weights begin.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Resampling {
    /// The weights that resize an axis of `input` pixels to `output` pixels, both at least 1.
    ///
    /// With `antialias`, a filter that shrinks an image is as wide as the input pixels of an output pixel. It has no effect on
    /// [`Nearest`](Interpolation::Nearest) and [`Area`](Interpolation::Area), as in TensorFlow.
    pub fn new(interpolation: Interpolation, antialias: bool, input: usize, output: usize) -> Self {
        let scale = input as f32 / output as f32;
        let mut table = Self { starts: Vec::with_capacity(output), weights: Vec::new() };
        for pixel in 0..output {
            match (interpolation, antialias) {
                (Interpolation::Nearest, _) => table.push(nearest(pixel, scale, input), &[1.0]),
                (Interpolation::Area, _) => table.push_area(pixel, scale, input),
                (Interpolation::Bilinear, false) => table.push_bilinear(pixel, scale, input),
                (Interpolation::Bicubic, false) => table.push_bicubic(pixel, scale, input),
                (Interpolation::Bilinear, true) => table.push_filtered(TRIANGLE, antialias, pixel, input, output),
                (Interpolation::Bicubic, true) => table.push_filtered(CUBIC, antialias, pixel, input, output),
                (Interpolation::Lanczos3, _) => table.push_filtered(LANCZOS3, antialias, pixel, input, output),
                (Interpolation::Lanczos5, _) => table.push_filtered(LANCZOS5, antialias, pixel, input, output),
            }
        }
        table
    }

    /// The number of outputs.
    ///
    /// ```
    /// use engraft_ir::{Interpolation, Resampling};
    /// assert_eq!(Resampling::new(Interpolation::Lanczos3, false, 4, 9).outputs(), 9);
    /// ```
    pub fn outputs(&self) -> usize {
        self.starts.len()
    }

    /// The first input that `output` reads, and the weights of this one and the next.
    ///
    /// ```
    /// use engraft_ir::{Interpolation, Resampling};
    /// let table = Resampling::new(Interpolation::Nearest, false, 4, 2);
    /// assert_eq!([table.taps(0), table.taps(1)], [(1, &[1.0][..]), (3, &[1.0][..])]);
    /// ```
    pub fn taps(&self, output: usize) -> (usize, &[f32]) {
        let (start, offset) = self.starts[output];
        let end = self.starts.get(output + 1).map_or(self.weights.len(), |&(_, offset)| offset);
        (start, &self.weights[offset..end])
    }

    fn push(&mut self, start: usize, weights: &[f32]) {
        self.starts.push((start, self.weights.len()));
        self.weights.extend_from_slice(weights);
    }

    /// Weights of `ResizeBilinear` with `half_pixel_centers`.
    fn push_bilinear(&mut self, pixel: usize, scale: f32, input: usize) {
        let position = (pixel as f32 + 0.5) * scale - 0.5;
        let share = position - position.floor();
        // `as usize` saturates at 0: positions left of the first pixel read the first pixel.
        let [lower, upper] = [position.floor(), position.ceil()].map(|at| (at as usize).min(input - 1));
        match lower == upper {
            true => self.push(lower, &[1.0]),
            false => self.push(lower, &[1.0 - share, share]),
        }
    }

    /// Weights of `ResizeBicubic` with `half_pixel_centers`: positions are rounded to 1/1024 of a pixel, and pixels outside the
    /// image have the weight 0.
    fn push_bicubic(&mut self, pixel: usize, scale: f32, input: usize) {
        const STEPS: f32 = 1024.0;
        let position = (pixel as f32 + 0.5) * scale - 0.5;
        let floor = position.floor();
        let share = ((position - floor) * STEPS).round_ties_even() / STEPS;
        let near = |x: f32| (1.5 * x - 2.5) * x * x + 1.0;
        let far = |x: f32| ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
        let weights = [far(share + 1.0), near(share), near(1.0 - share), far(2.0 - share)];
        let inside: Vec<(usize, f32)> = (0..)
            .zip(weights)
            .map(|(tap, weight)| (floor as i64 - 1 + tap, weight))
            .filter_map(|(at, weight)| usize::try_from(at).ok().filter(|&at| at < input).map(|at| (at, weight)))
            .collect();
        let start = inside.first().map_or(0, |&(at, _)| at);
        self.push_normalized(start, inside.iter().map(|&(_, weight)| weight));
    }

    /// Weights of `ResizeArea`: the share of the output pixel's area that each input pixel covers.
    fn push_area(&mut self, pixel: usize, scale: f32, input: usize) {
        let (from, to) = (pixel as f32 * scale, (pixel + 1) as f32 * scale);
        let start = (from.floor() as usize).min(input - 1);
        let end = (to.ceil() as usize).clamp(start + 1, input);
        let covered = |at: usize| (to.min((at + 1) as f32) - from.max(at as f32)).max(0.0);
        self.push_normalized(start, (start..end).map(covered));
    }

    /// Weights of `ScaleAndTranslate`: a filter around the output pixel's centre.
    fn push_filtered(&mut self, filter: Filter, antialias: bool, pixel: usize, input: usize, output: usize) {
        let inverse_scale = 1.0 / (output as f32 / input as f32);
        let width = if antialias { inverse_scale.max(1.0) } else { 1.0 };
        let center = (pixel as f32 + 0.5) * inverse_scale;
        let radius = filter.radius * width;
        let start = ((center - radius - 0.5).ceil() as usize).min(input - 1);
        let end = ((center + radius - 0.5).floor() as usize).min(input - 1) + 1;
        let weight = |at: usize| (filter.weight)(((at as f32 + 0.5 - center) / width).abs());
        self.push_normalized(start, (start..end).map(weight));
    }

    /// Adds weights that are divided by their sum.
    fn push_normalized(&mut self, start: usize, weights: impl Iterator<Item = f32>) {
        let offset = self.weights.len();
        self.starts.push((start, offset));
        self.weights.extend(weights);
        let own = &mut self.weights[offset..];
        let sum: f32 = own.iter().sum();
        if sum.abs() >= 1000.0 * f32::MIN_POSITIVE {
            own.iter_mut().for_each(|weight| *weight /= sum);
        }
    }
}

/// The pixel of `ResizeNearestNeighbor` with `half_pixel_centers`.
fn nearest(pixel: usize, scale: f32, input: usize) -> usize {
    (((pixel as f32 + 0.5) * scale).floor() as usize).min(input - 1)
}

/// A symmetric filter: its weight at a distance, which is 0 beyond the radius.
#[derive(Clone, Copy)]
struct Filter {
    radius: f32,
    weight: fn(f32) -> f32,
}

const TRIANGLE: Filter = Filter { radius: 1.0, weight: |x| (1.0 - x).max(0.0) };
const CUBIC: Filter = Filter { radius: 2.0, weight: cubic };
const LANCZOS3: Filter = Filter { radius: 3.0, weight: |x| lanczos(x, 3.0) };
const LANCZOS5: Filter = Filter { radius: 5.0, weight: |x| lanczos(x, 5.0) };

fn cubic(x: f32) -> f32 {
    match x {
        _ if x >= 2.0 => 0.0,
        _ if x >= 1.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => (1.5 * x - 2.5) * x * x + 1.0,
    }
}

fn lanczos(x: f32, radius: f32) -> f32 {
    use std::f32::consts::PI;
    match x {
        _ if x > radius => 0.0,
        // The limit: the quotient below is undefined at 0.
        _ if x <= 1e-3 => 1.0,
        _ => radius * (PI * x).sin() * (PI * x / radius).sin() / (PI * PI * x * x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Interpolation; 6] = [
        Interpolation::Bilinear,
        Interpolation::Nearest,
        Interpolation::Bicubic,
        Interpolation::Lanczos3,
        Interpolation::Lanczos5,
        Interpolation::Area,
    ];

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for interpolation in ALL {
            for (antialias, input, output) in
                [(false, 7, 3), (true, 7, 3), (true, 5, 11), (false, 1, 4), (true, 100, 7)]
            {
                let table = Resampling::new(interpolation, antialias, input, output);
                for pixel in 0..output {
                    let (start, weights) = table.taps(pixel);
                    assert!(
                        !weights.is_empty() && start + weights.len() <= input,
                        "{interpolation:?} {input} {output}"
                    );
                    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{interpolation:?} {weights:?}");
                }
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        for (interpolation, antialias) in ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let table = Resampling::new(interpolation, antialias, 9, 9);
            for pixel in 0..9 {
                let (start, weights) = table.taps(pixel);
                for (at, weight) in (start..).zip(weights) {
                    let expected = if at == pixel { 1.0 } else { 0.0 };
                    assert!((weight - expected).abs() < 1e-6, "{interpolation:?}: {weight} at {at} of {pixel}");
                }
            }
        }
    }

    #[test]
    fn cubic_weights_are_those_of_keys() {
        // The doubled axis reads a quarter pixel beside each pixel. At the edge, the pixel outside has no weight.
        let table = Resampling::new(Interpolation::Bicubic, false, 8, 16);
        let quarter = [-0.070_312_5, 0.867_187_5, 0.226_562_5, -0.023_437_5];
        assert_eq!(table.taps(5), (1, &quarter[..]));
        assert_eq!(table.taps(0).0, 0);
        assert_eq!(table.taps(0).1.len(), 2);
    }
}
