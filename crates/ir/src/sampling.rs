//! How images are sampled between their pixels and beyond their edges, for resizing and random transformations.

use serde::{Deserialize, Serialize};

/// How a value between pixels is computed.
///
/// Random transformations use the first two alone; resizing uses all.
///
/// ```
/// use engraft_ir::{Interpolation, Op};
/// // `UpSampling2D` is lowered to this operation. As in Keras, its default is the nearest pixel.
/// let op = Op::Resize { interpolation: Interpolation::Nearest, antialias: false };
/// assert_ne!(op, Op::Resize { interpolation: Interpolation::Bilinear, antialias: false });
/// assert!(op.is_cheap());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Weighted mean of the four nearest pixels: the nearer a pixel, the larger its weight.
    Bilinear,
    /// Value of the nearest pixel.
    Nearest,
    /// Cubic convolution of 4x4 pixels with `a = -0.5` (Keys 1981, doi:10.1109/TASSP.1981.1163711).
    Bicubic,
    /// Lanczos' windowed sinc over 6x6 pixels (Duchon 1979, doi:10.1175/1520-0450(1979)018).
    Lanczos3,
    /// Lanczos' windowed sinc over 10x10 pixels: sharper than [`Lanczos3`](Self::Lanczos3), with more ringing.
    Lanczos5,
    /// Mean over the area of the input that an output pixel covers.
    Area,
}

/// How pixels beyond the edges of an image are filled.
///
/// ```
/// use engraft_ir::{Fill, FillMode, Interpolation};
/// let reflect = Fill { mode: FillMode::Reflect, value: 0.0, interpolation: Interpolation::Bilinear };
/// // A black border around a rotated photo instead of reflected pixels.
/// let black = Fill { mode: FillMode::Constant, ..reflect };
/// assert_eq!((black.mode, black.value), (FillMode::Constant, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    /// The image mirrored about its edge: `d c b a | a b c d | d c b a`.
    Reflect,
    /// The image repeated: `a b c d | a b c d | a b c d`.
    Wrap,
    /// The fill value: `k k k k | a b c d | k k k k`.
    Constant,
    /// The nearest pixel of the edge: `a a a a | a b c d | d d d d`.
    Nearest,
}
