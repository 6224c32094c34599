//! Keras' built-in layers, one kind per file. Each serializes as Keras' config of its class.
//!
//! [`from_config`] creates a layer from such a config. [`Operation`] is an operation on tensors, such as `x / 255.0`, which
//! isn't a layer in Keras.

mod activation;
mod axis_option;
mod batch_normalization;
mod conv2d;
mod cropping;
mod dense;
mod depthwise_conv2d;
mod dot;
mod dropout;
mod expression;
mod flatten;
mod flip;
mod global_pooling;
mod input;
mod kernel_options;
mod left_out;
mod merge;
mod operation;
mod options;
mod pooling;
mod random;
mod registry;
mod relu;
mod repeat_vector;
mod rescaling;
mod reshape;
mod resizing;
mod separable_conv2d;
mod softmax;
mod up_sampling;
mod zero_padding;

pub use activation::Activation;
pub use batch_normalization::BatchNormalization;
pub use conv2d::Conv2D;
pub use cropping::Cropping2D;
pub use dense::Dense;
pub use depthwise_conv2d::DepthwiseConv2D;
pub use dot::{Dot, DotAxes};
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use flip::Flip;
pub use global_pooling::{GlobalAveragePooling2D, GlobalMaxPooling2D};
pub use input::{Input, InputLayer};
pub use left_out::why_left_out;
pub use merge::{Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract};
pub use operation::{Operation, operation_from_call, operation_from_config, tensor_argument};
pub use options::{Padding, Size2d};
pub use pooling::{AveragePooling2D, MaxPooling2D};
pub use random::{RandomFlip, RandomRotation, RandomZoom};
pub use registry::{from_config, known_classes};
pub use relu::{ELU, LeakyReLU, ReLU};
pub use repeat_vector::RepeatVector;
pub use rescaling::{Normalization, Rescaling};
pub use reshape::{Permute, Reshape};
pub use resizing::Resizing;
pub use separable_conv2d::SeparableConv2D;
pub use softmax::Softmax;
pub use up_sampling::UpSampling2D;
pub use zero_padding::{Border, ZeroPadding2D};
