//! The vocabulary of operations: what a planned network is made of.
//!
//! Layers (`engraft-nn`) are lowered to these operations, a planner (`engraft-plan`) decides how they run, kernels
//! (`engraft-kernels`) and other executors compute them. This crate says what each operation means and what shapes it has;
//! it computes nothing.

mod activation;
mod conv2d;
mod op;
mod pool2d;
mod precision;
pub mod random;
mod random_transform;
mod sampling;

pub use activation::Activation;
pub use conv2d::Conv2dShape;
pub use op::Op;
pub use pool2d::{Pool2dShape, PoolKind};
pub use precision::Precision;
pub use random_transform::{Fill, RandomTransform, Transformation};
pub use sampling::{FillMode, Interpolation};

/// Sizes of one sample's axes, the batch axis left out: an RGB image of 256 by 256 pixels is `[256, 256, 3]`.
///
/// ```
/// use engraft_ir::Shape;
/// let photo: Shape = vec![256, 256, 3];
/// let bytes = 32 * photo.iter().product::<usize>() * size_of::<f32>();
/// assert_eq!(bytes, 24 << 20, "a batch of 32");
/// ```
pub type Shape = Vec<usize>;

/// Number of a value in a program: an index into its shapes.
///
/// ```
/// use engraft_ir::{Shape, ValueId};
/// // A photo, and what Flatten makes of it.
/// let shapes: [Shape; 2] = [vec![8, 8, 3], vec![192]];
/// let (photo, flat): (ValueId, ValueId) = (0, 1);
/// assert_eq!(shapes[photo].iter().product::<usize>(), shapes[flat][0]);
/// ```
pub type ValueId = usize;
