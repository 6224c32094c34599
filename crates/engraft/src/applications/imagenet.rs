//! What networks trained on ImageNet have in common: Keras' checks on their arguments.

use super::Weights;
use crate::{ActivationFn, Error, Result, Shape};

/// Classes of the ImageNet challenge.
pub(super) const CLASSES: usize = 1000;

/// Sizes that a network takes.
pub(super) struct Sizes {
    /// Pixels a side that it was trained at.
    pub(super) default: usize,
    /// Fewest pixels a side that leave something after the last pooling.
    pub(super) min: usize,
}

/// What is asked of a network.
pub(super) struct Request<'a> {
    /// How errors name it.
    pub(super) place: &'a str,
    pub(super) include_top: bool,
    pub(super) weights: &'a Weights,
    pub(super) classes: usize,
    pub(super) classifier_activation: ActivationFn,
}

impl Request<'_> {
    /// Checks that pretrained weights fit the classes and the activation that are asked for.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |expected: String, received: &dyn std::fmt::Display| {
            Err(Error::new(self.place, expected, received)
                .hint("for classes of your own, use include_top(false) and put a head on its output"))
        };
        if !self.include_top {
            return Ok(());
        }
        if *self.weights == Weights::Imagenet && self.classes != CLASSES {
            return fail(format!("{CLASSES} classes with include_top and the ImageNet weights"), &self.classes);
        }
        let as_trained = [ActivationFn::Softmax, ActivationFn::Linear].contains(&self.classifier_activation);
        if *self.weights != Weights::None && !as_trained {
            let expected = "classifier_activation Softmax or Linear (logits) with pretrained weights";
            return fail(expected.into(), &self.classifier_activation.name());
        }
        Ok(())
    }

    /// The shape of one image, `given` or by default (Keras' `obtain_input_shape`).
    pub(super) fn input_shape(&self, given: Option<&[usize]>, sizes: &Sizes) -> Result<Shape> {
        let Sizes { default, min } = *sizes;
        let Some(given) = given else {
            return Ok(vec![default, default, 3]);
        };
        let fail = |expected: String| Error::new(self.place, expected, format_args!("{given:?}"));
        let &[height, width, channels] = given else {
            return Err(fail("images, [height, width, channels]".into()));
        };
        if *self.weights == Weights::Imagenet && self.include_top && given != [default, default, 3] {
            return Err(fail(format!("[{default}, {default}, 3] with include_top and the ImageNet weights"))
                .hint("use include_top(false) for images of another size"));
        }
        if *self.weights == Weights::Imagenet && channels != 3 {
            return Err(fail("3 channels with the ImageNet weights".into()));
        }
        if height < min || width < min {
            return Err(fail(format!("images of at least {min} by {min} pixels")));
        }
        Ok(given.to_vec())
    }
}
