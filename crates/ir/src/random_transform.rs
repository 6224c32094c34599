//! Random image transformations for data augmentation. Executors draw one for each image.

use crate::random::Rng;
use crate::{FillMode, Interpolation};

/// A distribution of image transformations; one is drawn for each image at each training step.
///
/// ```
/// use engraft_ir::random::Rng;
/// use engraft_ir::{Fill, FillMode, Interpolation, RandomTransform, Transformation};
/// let fill = Fill { mode: FillMode::Reflect, value: 0.0, interpolation: Interpolation::Bilinear };
/// // Without a range for the width, the image keeps its proportions.
/// let zoom = RandomTransform::Zoom { height: [0.8, 1.2], width: None, fill };
/// let Transformation::Zoom { height, width, .. } = zoom.draw(&mut Rng::new(3)) else { unreachable!() };
/// assert!((0.8..=1.2).contains(&height) && height == width);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the layers' options of the same names")]
pub enum RandomTransform {
    /// With probability 1/2, mirrors the image along every enabled direction. As in Keras, one draw decides for both.
    Flip { horizontal: bool, vertical: bool },
    /// Rotates the image by an angle in radians, uniform in `low..high`.
    Rotation { low: f32, high: f32, fill: Fill },
    /// Zooms about the image's centre by factors uniform in the ranges `height` and `width`; see [`Transformation::Zoom`].
    /// If `width` is `None`, one factor zooms both height and width.
    Zoom { height: [f32; 2], width: Option<[f32; 2]>, fill: Fill },
}

/// How a transformed image is sampled: between the original's pixels and beyond its edges.
///
/// ```
/// use engraft_ir::{Fill, FillMode, Interpolation, Transformation};
/// // A rotation by 90 degrees on a white background.
/// let fill = Fill { mode: FillMode::Constant, value: 255.0, interpolation: Interpolation::Nearest };
/// let rotation = Transformation::Rotation { radians: std::f32::consts::FRAC_PI_2, fill };
/// assert!(matches!(rotation, Transformation::Rotation { fill: Fill { value: 255.0, .. }, .. }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// How pixels beyond the edges are filled.
    pub mode: FillMode,
    /// Pixel value for [`FillMode::Constant`]; unused in the other modes.
    pub value: f32,
    /// How values between pixels are computed.
    pub interpolation: Interpolation,
}

/// One concrete transformation, as drawn from a [`RandomTransform`].
///
/// ```
/// use engraft_ir::random::Rng;
/// use engraft_ir::{RandomTransform, Transformation};
/// let flip = RandomTransform::Flip { horizontal: true, vertical: false };
/// let mirrored = Transformation::Flip { horizontal: true, vertical: false };
/// let mut rng = Rng::new(1);
/// let count = (0..1000).filter(|_| flip.draw(&mut rng) == mirrored).count();
/// assert!((400..600).contains(&count), "about half of the images: {count}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum Transformation {
    /// Mirrors the image: `horizontal` exchanges left and right, `vertical` exchanges top and bottom.
    Flip { horizontal: bool, vertical: bool },
    /// Rotates the image counter-clockwise about its centre.
    Rotation { radians: f32, fill: Fill },
    /// Shows a central section of `height` and `width` times the image's size: a factor below 1 zooms in, one above 1 zooms out.
    Zoom { height: f32, width: f32, fill: Fill },
}

impl RandomTransform {
    /// Draws one transformation.
    ///
    /// ```
    /// use engraft_ir::{RandomTransform, Transformation};
    /// use engraft_ir::random::Rng;
    /// let mirror = RandomTransform::Flip { horizontal: true, vertical: false };
    /// let Transformation::Flip { vertical, .. } = mirror.draw(&mut Rng::new(1)) else { unreachable!() };
    /// assert!(!vertical);
    /// ```
    pub fn draw(&self, rng: &mut Rng) -> Transformation {
        match *self {
            Self::Flip { horizontal, vertical } => {
                let flip = rng.unit() <= 0.5;
                Transformation::Flip { horizontal: horizontal && flip, vertical: vertical && flip }
            }
            Self::Rotation { low, high, fill } => Transformation::Rotation { radians: rng.uniform(low, high), fill },
            Self::Zoom { height: [low, high], width, fill } => {
                let height = rng.uniform(low, high);
                let width = width.map_or(height, |[low, high]| rng.uniform(low, high));
                Transformation::Zoom { height, width, fill }
            }
        }
    }
}
