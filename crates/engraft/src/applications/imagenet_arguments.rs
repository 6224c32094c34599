//! Argument checks shared by all networks with ImageNet weights; the rules are those of `keras.applications`.

use super::{Network, Weights};
use crate::{ActivationFn, Error, Result, Shape};

/// Number of classes of the ImageNet challenge (ILSVRC).
pub(super) const CLASSES: usize = 1000;

/// Image sizes that a network supports, in pixels per side.
pub(super) struct ImageSizes {
    /// The size at which the network was trained; used if none is given.
    pub(super) default: usize,
    /// The smallest accepted size, as in Keras. It leaves at least one pixel at the end of the convolutional base.
    pub(super) min: usize,
    /// Sizes of square images, beside the default, for which there are other ImageNet weights.
    pub(super) also_pretrained: &'static [usize],
}

impl ImageSizes {
    /// The size of the images that the ImageNet weights for this shape were trained with: its own if there are such weights, else
    /// the default.
    pub(super) fn pretrained(&self, shape: &[usize]) -> usize {
        match *shape {
            [height, width, _] if height == width && self.also_pretrained.contains(&height) => height,
            _ => self.default,
        }
    }
}

/// Arguments of a network's builder whose allowed values depend on each other. With the top, the ImageNet weights fix the number of
/// classes and, for most networks, the image size, and pretrained weights restrict the activation.
pub(super) struct ImagenetArguments<'a> {
    /// The network's name in errors.
    pub(super) place: &'a str,
    pub(super) include_top: bool,
    pub(super) weights: &'a Weights,
    pub(super) classes: usize,
    pub(super) classifier_activation: ActivationFn,
    /// Whether the ImageNet weights with the top take images of any size.
    pub(super) any_size_with_top: bool,
}

impl ImagenetArguments<'_> {
    /// Checks that the number of classes and the activation are compatible with pretrained weights.
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

    /// The shape of one image: `given` after checks, or the default if none is given (Keras' `obtain_input_shape`).
    pub(super) fn input_shape(&self, given: Option<&[usize]>, sizes: &ImageSizes) -> Result<Shape> {
        let ImageSizes { default, min, .. } = *sizes;
        let Some(given) = given else {
            return Ok(vec![default, default, 3]);
        };
        let fail = |expected: String| Error::new(self.place, expected, format_args!("{given:?}"));
        let &[height, width, channels] = given else {
            return Err(fail("images, [height, width, channels]".into()));
        };
        let trained = sizes.pretrained(given);
        let fixed = *self.weights == Weights::Imagenet && self.include_top && !self.any_size_with_top;
        if fixed && given != [trained, trained, 3] {
            let others = sizes.also_pretrained.iter().map(|size| format!(", [{size}, {size}, 3]")).collect::<String>();
            return Err(fail(format!("[{default}, {default}, 3]{others} with include_top and the ImageNet weights"))
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

/// Checks a network's width multiplier; `pretrained` are those that have ImageNet weights.
pub(super) fn check_alpha(network: &Network, pretrained: &[f64]) -> Result<()> {
    let fail = |expected: String| Err(Error::new(network.place(), expected, network.alpha));
    if !(network.alpha > 0.0 && network.alpha <= MAX_ALPHA) {
        return fail(format!("an alpha above 0, at most {MAX_ALPHA}"));
    }
    if network.weights == Weights::Imagenet && !pretrained.contains(&network.alpha) {
        let pretrained: Vec<String> = pretrained.iter().map(f64::to_string).collect();
        return fail(format!("alpha {} with the ImageNet weights", pretrained.join(" or ")));
    }
    Ok(())
}

/// The largest width multiplier. Layers with a thousand times the published filters don't fit into memory, but their sizes into `usize`.
const MAX_ALPHA: f64 = 1000.0;
