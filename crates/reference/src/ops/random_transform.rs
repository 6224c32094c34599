//! Random flips, rotations and zooms, with Keras' matrices and TensorFlow's `ImageProjectiveTransformV3`.
//!
//! Coordinates are f32, as in TensorFlow, because their rounding decides which pixels are read. Interpolation is in f64.

use engraft_ir::random::Rng;
use engraft_ir::{Fill, FillMode, Interpolation, RandomTransform, Transformation};
use engraft_nn::Result;

use super::Call;
use crate::array::Array;

/// Draws a transformation for each image and applies it.
pub(super) fn forward(call: &Call<'_>, transform: &RandomTransform, layer_seed: u64) -> Result<Array> {
    let x = call.x[0];
    let shape @ [batch, _, _, _] = x.sizes()?;
    let draw = |image| transform.draw(&mut Rng::new(call.rng_key.seed(layer_seed, image)));
    let drawn: Vec<Transformation> = (0..batch).map(draw).collect();
    Ok(Array::from_fn(shape, |[image, y, x_at, channel]| {
        Image { x, image, channel, height: shape[1], width: shape[2] }.transformed(&drawn[image], y, x_at)
    }))
}

/// One channel of one image.
struct Image<'a> {
    x: &'a Array,
    image: usize,
    channel: usize,
    height: usize,
    width: usize,
}

impl Image<'_> {
    fn pixel(&self, y: usize, x: usize) -> f64 {
        self.x[[self.image, y, x, self.channel]]
    }

    /// The pixel at (`y`, `x`) of the transformed image.
    fn transformed(&self, transformation: &Transformation, y: usize, x: usize) -> f64 {
        match *transformation {
            Transformation::Flip { horizontal, vertical } => {
                let y = if vertical { self.height - 1 - y } else { y };
                let x = if horizontal { self.width - 1 - x } else { x };
                self.pixel(y, x)
            }
            Transformation::Rotation { radians, fill } => {
                self.sample(&fill, rotated(radians, [self.height, self.width], [y, x]))
            }
            Transformation::Zoom { height, width, fill } => {
                self.sample(&fill, zoomed([height, width], [self.height, self.width], [y, x]))
            }
        }
    }

    /// Samples the image at real coordinates, with the fill mode and interpolation of `fill`.
    fn sample(&self, fill: &Fill, [y, x]: [f32; 2]) -> f64 {
        let (y, x) = (mapped(fill.mode, y, self.height), mapped(fill.mode, x, self.width));
        match fill.interpolation {
            Interpolation::Nearest => self.read(fill, y.round(), x.round()),
            // Layers refuse the interpolations that only resizing has.
            _ => {
                let (top, left) = (y.floor(), x.floor());
                let [down, right] = [y - top, x - left].map(f64::from);
                let row = |y| (1.0 - right) * self.read(fill, y, left) + right * self.read(fill, y, left + 1.0);
                (1.0 - down) * row(top) + down * row(top + 1.0)
            }
        }
    }

    /// The pixel at integer coordinates; the fill value outside of the image.
    fn read(&self, fill: &Fill, y: f32, x: f32) -> f64 {
        let inside = (0.0..self.height as f32).contains(&y) && (0.0..self.width as f32).contains(&x);
        if inside { self.pixel(y as usize, x as usize) } else { f64::from(fill.value) }
    }
}

/// The source coordinates of an output pixel in a rotation about the centre; positive angles are counter-clockwise (Keras'
/// `RandomRotation`).
fn rotated(radians: f32, size: [usize; 2], [y, x]: [usize; 2]) -> [f32; 2] {
    let [center_y, center_x] = size.map(|size| 0.5 * (size as f32 - 1.0));
    let (sin, cos) = radians.sin_cos();
    let x_offset = center_x - center_x * cos - center_y * -sin;
    let y_offset = center_y - center_x * sin - center_y * cos;
    let (y, x) = (y as f32, x as f32);
    [sin * x + cos * y + y_offset, cos * x + -sin * y + x_offset]
}

/// The source coordinates of an output pixel in a zoom about the centre; factors above 1 zoom out (Keras' `RandomZoom`).
fn zoomed(factors: [f32; 2], size: [usize; 2], position: [usize; 2]) -> [f32; 2] {
    [0, 1].map(|axis| {
        let offset = (size[axis] as f32 - 1.0) / 2.0 * (1.0 - factors[axis]);
        factors[axis] * position[axis] as f32 + offset
    })
}

/// Maps a coordinate into an axis of `size` pixels by the fill mode, like TensorFlow's `MapCoordinate`, truncations included.
fn mapped(mode: FillMode, coordinate: f32, size: usize) -> f32 {
    let (last, size) = (size as f32 - 1.0, size as f32);
    let inside = (0.0..=last).contains(&coordinate);
    let mapped = match mode {
        FillMode::Constant => return coordinate,
        FillMode::Nearest => coordinate,
        _ if inside => coordinate,
        _ if last == 0.0 => 0.0,
        FillMode::Reflect if coordinate < 0.0 => {
            let period = 2.0 * size;
            let within = coordinate + period * (-coordinate / period).trunc();
            if within < -size { within + period } else { -within - 1.0 }
        }
        FillMode::Reflect => {
            let period = 2.0 * size;
            let within = coordinate - period * (coordinate / period).trunc();
            if within >= size { period - within - 1.0 } else { within }
        }
        FillMode::Wrap if coordinate < 0.0 => coordinate + size * ((-coordinate / last).trunc() + 1.0),
        FillMode::Wrap => coordinate - size * (coordinate / last).trunc(),
    };
    mapped.clamp(0.0, last)
}

#[cfg(test)]
mod tests {
    use engraft_golden::{Arrays, Case};
    use engraft_ir::Op;
    use engraft_nn::Program;
    use engraft_nn::layers::from_config;
    use engraft_nn::prelude::*;

    use super::super::RngKey;
    use super::*;
    use crate::array::positions;

    /// The distribution of the golden case's layer.
    fn distribution(case: &Case, shape: &[usize]) -> RandomTransform {
        let layer = case.get("layer");
        let config = layer["config"].as_object().unwrap().clone();
        let layer = from_config(layer["class_name"].as_str().unwrap(), config).unwrap();
        let input = Input::new(shape);
        let model = Model::new(&input, &layer.call(&input).unwrap()).unwrap();
        match Program::of(&model, true, 0).unwrap().steps.remove(0).op {
            Op::RandomTransform { transform, .. } => transform,
            op => panic!("a random layer, not {op:?}"),
        }
    }

    /// The fixed transformation of image `index` in a golden case.
    fn fixed(case: &Case, arrays: &Arrays, distribution: &RandomTransform, index: usize) -> Transformation {
        let number = |name: &str| arrays.get(case.get("transformation")[name].as_str().unwrap()).data()[index];
        match *distribution {
            RandomTransform::Flip { horizontal, vertical } => {
                let flip = number("flips") != 0.0;
                Transformation::Flip { horizontal: horizontal && flip, vertical: vertical && flip }
            }
            RandomTransform::Rotation { fill, .. } => {
                Transformation::Rotation { radians: number("angle").to_radians(), fill }
            }
            RandomTransform::Zoom { fill, .. } => {
                Transformation::Zoom { height: number("height_zoom"), width: number("width_zoom"), fill }
            }
        }
    }

    #[test]
    fn fixed_transformations_give_the_pixels_of_keras() {
        let cases = engraft_golden::cases("augment");
        assert!(cases.len() >= 90, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let (images, expected) = (arrays.get("images"), arrays.get("y"));
            let x = Array::from_f32(images.shape(), images.data());
            let [batch, height, width, channels] = x.sizes().unwrap();
            let distribution = distribution(case, &images.shape()[1..]);
            let drawn: Vec<_> = (0..batch).map(|index| fixed(case, &arrays, &distribution, index)).collect();
            let expected = Array::from_f32(images.shape(), expected.data());
            for at @ [image, y, column, channel] in positions([batch, height, width, channels]) {
                let found = Image { x: &x, image, channel, height, width }.transformed(&drawn[image], y, column);
                // The tolerance is 0.1 % of the range: coordinates round in f32, and adjacent pixels differ by up to 255.
                assert!((found - expected[at]).abs() <= 0.255, "{}: {found} for {}", case.name(), expected[at]);
            }
        }
    }

    #[test]
    fn an_image_draws_by_its_place_in_the_global_batch() {
        let transform = RandomTransform::Flip { horizontal: true, vertical: false };
        let op = Op::RandomTransform { transform: transform.clone(), seed: 4 };
        let flipped = |images: usize, rng_key| {
            let x = Array::from_fn([images, 1, 2, 1], |[_, _, column, _]| column as f64);
            let call = Call { op: &op, x: vec![&x], weights: vec![], output: vec![], rng_key, statistics: None };
            forward(&call, &transform, 4).unwrap().data().to_vec()
        };
        let full_batch = flipped(64, RngKey { iteration: 2, first_sample: 0 });
        assert_eq!(full_batch[2 * 40..], flipped(24, RngKey { iteration: 2, first_sample: 40 }));
        assert_ne!(full_batch, flipped(64, RngKey { iteration: 3, first_sample: 0 }));
    }
}
