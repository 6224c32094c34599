//! Random transformations of images, drawn one for each image.

use crate::random::Rng;
use crate::{FillMode, Interpolation};

/// A distribution of transformations: one is drawn for each image at each step.
///
/// ```
/// use engraft_ir::random::Rng;
/// use engraft_ir::{Fill, FillMode, Interpolation, RandomTransform, Transformation};
/// let fill = Fill { mode: FillMode::Reflect, value: 0.0, interpolation: Interpolation::Bilinear };
/// // Without a width of its own, an image keeps its proportions.
/// let zoom = RandomTransform::Zoom { height: [0.8, 1.2], width: None, fill };
/// let Transformation::Zoom { height, width, .. } = zoom.draw(&mut Rng::new(3)) else { unreachable!() };
/// assert!((0.8..=1.2).contains(&height) && height == width);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the layers' options of the same names")]
pub enum RandomTransform {
    /// Each direction that is set, with probability 1/2 as in Keras: both at once or none.
    Flip { horizontal: bool, vertical: bool },
    /// An angle in radians, uniform.
    Rotation { low: f32, high: f32, fill: Fill },
    /// Factors on output coordinates, uniform: below 1 zooms in. Without `width`, that of the height.
    Zoom { height: [f32; 2], width: Option<[f32; 2]>, fill: Fill },
}

/// What stands where a transformed image has no pixel, and how pixels are read between pixels.
///
/// ```
/// use engraft_ir::{Fill, FillMode, Interpolation, Transformation};
/// // A quarter turn on a white ground.
/// let fill = Fill { mode: FillMode::Constant, value: 255.0, interpolation: Interpolation::Nearest };
/// let quarter = Transformation::Rotation { radians: std::f32::consts::FRAC_PI_2, fill };
/// assert!(matches!(quarter, Transformation::Rotation { fill: Fill { value: 255.0, .. }, .. }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// How the image goes on beyond its edges.
    pub mode: FillMode,
    /// For `FillMode::Constant`.
    pub value: f32,
    /// How values between pixels are found.
    pub interpolation: Interpolation,
}

/// One transformation, fixed.
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
#[expect(missing_docs, reason = "fields say what they hold")]
pub enum Transformation {
    /// Mirrors.
    Flip { horizontal: bool, vertical: bool },
    /// Counter-clockwise about the centre.
    Rotation { radians: f32, fill: Fill },
    /// About the centre; below 1 zooms in.
    Zoom { height: f32, width: f32, fill: Fill },
}

impl RandomTransform {
    /// Draws a transformation.
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
