//! How images are sampled: between their pixels and beyond their edges.

use serde::{Deserialize, Serialize};

/// How a value between pixels is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A mean of the four pixels around, weighted by distance.
    Bilinear,
    /// The nearest pixel.
    Nearest,
}

/// What lies outside an image.
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
