//! [`Augmentation`]: fixed random transformations of photos.

use crate::ir::Op;
use crate::plan::{Plan, Purpose};
use crate::random::mix;
use crate::runtime::Runtime;
use crate::{Model, Program, Result, Tensor};

/// The random layers below a network, which transform a photo in a way that follows from the photo and a number alone.
///
/// In training, a random layer draws from its seed, the iteration and the place in the batch. Here each photo and variant has a
/// program of its own, with seeds of its own, that runs once at iteration 0. The layers have no weights, so that this costs little.
#[derive(Debug)]
pub(super) struct Augmentation(Program);

impl Augmentation {
    /// `model` has one input and one output, and no weights.
    pub(super) fn new(model: &Model) -> Result<Self> {
        Ok(Self(Program::of(model, true, 0)?))
    }

    pub(super) fn program(&self) -> &Program {
        &self.0
    }

    /// Transforms `photo`, `[1, height, width, 3]`, as `variant` of the photo with this digest.
    pub(super) fn apply(&self, photo: &Tensor, digest: &[u8; 32], variant: usize, runtime: &Runtime) -> Result<Tensor> {
        let mut program = self.0.clone();
        let photo_seed = digest[..8].iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        for step in &mut program.steps {
            if let Op::RandomTransform { seed, .. } | Op::Dropout { seed, .. } | Op::Noise { seed, .. } = &mut step.op {
                *seed = mix(mix(*seed, variant as u64), photo_seed);
            }
        }
        let plan = |batch, options: &_| Plan::new(program.clone(), Purpose::Predict, batch, options);
        let (mut session, _) = runtime.session(1, plan)?;
        Ok(session.predict(&[photo])?.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn a_variant_follows_from_the_photo_and_its_number_alone() {
        let layers = Sequential::new().add(Input::new([6, 6, 3])).add(RandomFlip::horizontal());
        let model = layers.add(RandomRotation::new(0.3)).add(RandomZoom::new(0.3).seed(5)).build().unwrap();
        let augmentation = Augmentation::new(&model).unwrap();
        let photo = Tensor::new([1, 6, 6, 3], (0..108).map(|value| value as f32).collect()).unwrap();
        let apply = |digest: u8, variant, threads| {
            augmentation.apply(&photo, &[digest; 32], variant, &Runtime::cpu(Some(threads)).unwrap()).unwrap()
        };
        let first = apply(1, 1, 1);
        assert_ne!(first, photo);
        assert_eq!(apply(1, 1, 2), first);
        assert_ne!(apply(1, 2, 1), first);
        assert_ne!(apply(2, 1, 1), first);
        assert_eq!(first.shape(), photo.shape());
    }
}
