//! Random transformations of images.

use engraft_kernels::{Projection, flip, project};
use engraft_nn::layers::{Fill, RandomTransform, Transformation};
use engraft_nn::random::{Rng, mix};
use rayon::prelude::*;

use super::StepCall;

/// Draws a transformation for each image, by its place in the batch, and applies it.
pub(super) fn forward(call: &StepCall<'_>, transform: &RandomTransform, seed: u64, x: &[f32], y: &mut [f32]) {
    let shape @ [h, w, c] = StepCall::image(call.inputs[0]);
    let size = (h * w * c).max(1);
    x.par_chunks_exact(size).zip(y.par_chunks_exact_mut(size)).enumerate().for_each(|(image, (x, y))| {
        let mut rng = Rng::new(mix(mix(seed, call.iteration), (call.first_sample + image) as u64));
        apply(&transform.draw(&mut rng), shape, x, y);
    });
}

/// One image, transformed.
fn apply(transformation: &Transformation, [h, w, c]: [usize; 3], x: &[f32], y: &mut [f32]) {
    let projected = |projection: &Projection, fill: &Fill, y: &mut [f32]| {
        project(projection, fill.interpolation, fill.mode, fill.value, h, w, c, x, y);
    };
    match transformation {
        Transformation::Flip { horizontal, vertical } => flip(*horizontal, *vertical, h, w, c, x, y),
        Transformation::Rotation { radians, fill } => projected(&Projection::rotation(*radians, h, w), fill, y),
        Transformation::Zoom { height, width, fill } => projected(&Projection::zoom(*height, *width, h, w), fill, y),
    }
}
