//! The intermediate representation (IR): the operations that a network is lowered to.
//!
//! `engraft-nn` lowers layers to these operations. `engraft-plan` plans how they run. Executors (`engraft-cpu`,
//! `engraft-reference`) compute them. This crate defines the meaning and the shapes of each operation; it computes none.

mod activation;
mod binary;
mod conv2d;
mod noise;
mod normalization;
mod op;
mod pool2d;
mod precision;
pub mod random;
mod random_transform;
mod reduction;
mod resampling;
mod sampling;
mod unary;

pub use activation::Activation;
pub use binary::Binary;
pub use conv2d::Conv2dShape;
pub use noise::Noise;
pub use normalization::{Normalization, NormalizationKind};
pub use op::Op;
pub use pool2d::{Pool2dShape, PoolKind};
pub use precision::Precision;
pub use random_transform::{Fill, RandomTransform, Transformation};
pub use reduction::Reduction;
pub use resampling::Resampling;
pub use sampling::{FillMode, Interpolation};
pub use unary::Unary;

/// Sizes of one sample's axes, without the batch axis: an RGB image of 256 by 256 pixels is `[256, 256, 3]`.
///
/// ```
/// use engraft_ir::Shape;
/// let photo: Shape = vec![256, 256, 3];
/// let bytes = 32 * photo.iter().product::<usize>() * size_of::<f32>();
/// assert_eq!(bytes, 24 << 20, "a batch of 32");
/// ```
pub type Shape = Vec<usize>;

/// Identifies a value (an input or a step's output) of a program: its index in the program's list of shapes.
///
/// ```
/// use engraft_ir::{Shape, ValueId};
/// // A photo, and the output of a Flatten layer on it.
/// let shapes: [Shape; 2] = [vec![8, 8, 3], vec![192]];
/// let (photo, flat): (ValueId, ValueId) = (0, 1);
/// assert_eq!(shapes[photo].iter().product::<usize>(), shapes[flat][0]);
/// ```
pub type ValueId = usize;
