//! Random transformations of images (Keras' `RandomFlip`, `RandomRotation`, `RandomZoom`). They have no gradient.

use engraft_ir::random::{Rng, mix};
use engraft_ir::{Fill, RandomTransform, Transformation};
use engraft_kernels::{ProjectiveTransform, flip, projective_transform};
use rayon::prelude::*;

use super::StepCall;

/// Draws a transformation for each image and applies it.
///
/// The random numbers follow from the seed, the iteration and the image's index in the global batch, so chunks and replicas draw
/// the same transformations as one whole batch.
pub(super) fn forward(call: &StepCall<'_>, transform: &RandomTransform, seed: u64, x: &[f32], y: &mut [f32]) {
    let shape @ [h, w, c] = StepCall::image(call.inputs[0]);
    let size = (h * w * c).max(1);
    x.par_chunks_exact(size).zip(y.par_chunks_exact_mut(size)).enumerate().for_each(|(image, (x, y))| {
        let mut rng = Rng::new(mix(mix(seed, call.iteration), (call.first_sample + image) as u64));
        apply(&transform.draw(&mut rng), shape, x, y);
    });
}

/// Applies a transformation to one image.
fn apply(transformation: &Transformation, [h, w, c]: [usize; 3], x: &[f32], y: &mut [f32]) {
    let transform = |transform: ProjectiveTransform, fill: &Fill, y: &mut [f32]| {
        projective_transform(&transform, fill.interpolation, fill.mode, fill.value, h, w, c, x, y);
    };
    match transformation {
        Transformation::Flip { horizontal, vertical } => flip(*horizontal, *vertical, h, w, c, x, y),
        Transformation::Rotation { radians, fill } => transform(ProjectiveTransform::rotation(*radians, h, w), fill, y),
        Transformation::Zoom { height, width, fill } => {
            transform(ProjectiveTransform::zoom(*height, *width, h, w), fill, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_golden::Case;
    use engraft_ir::Op;
    use engraft_nn::Program;
    use engraft_nn::layers::from_config;
    use engraft_nn::prelude::*;

    use super::*;

    /// The distribution that the layer of a golden case draws from.
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

    /// The transformation that the golden case applies to image `index`.
    fn fixed(case: &Case, distribution: &RandomTransform, index: usize) -> Transformation {
        let arrays = case.arrays();
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
            let shape: [usize; 3] = images.shape()[1..].try_into().unwrap();
            let distribution = distribution(case, &shape);
            for image in 0..images.batch() {
                let mut found = vec![f32::NAN; images.row(image).len()];
                apply(&fixed(case, &distribution, image), shape, images.row(image), &mut found);
                // The tolerance is 0.1 % of the pixel range: coordinates round in f32, and adjacent pixels differ by up to 255.
                for (found, expected) in found.iter().zip(expected.row(image)) {
                    assert!((found - expected).abs() <= 0.255, "{}: {found} for {expected}", case.name());
                }
            }
        }
    }

    #[test]
    fn draws_follow_seed_step_and_image() {
        let transform = RandomTransform::Flip { horizontal: true, vertical: false };
        let draw = |seed, iteration, image: u64| transform.draw(&mut Rng::new(mix(mix(seed, iteration), image)));
        let flips = |of: &dyn Fn(u64) -> Transformation| (0..64).map(of).collect::<Vec<_>>();
        assert_eq!(flips(&|i| draw(1, 2, i)), flips(&|i| draw(1, 2, i)));
        assert_ne!(flips(&|i| draw(1, 2, i)), flips(&|i| draw(1, 3, i)));
        assert_ne!(flips(&|i| draw(1, 2, i)), flips(&|i| draw(2, 2, i)));
    }
}
