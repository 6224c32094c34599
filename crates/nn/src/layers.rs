//! Keras' layers, one concept a file. Each serialises as Keras' config of that class.

mod activation;
mod batch_normalization;
mod conv2d;
mod dense;
mod dropout;
mod flatten;
mod flip;
mod global_pooling;
mod input;
mod kernel_options;
mod merge;
mod options;
mod pooling;
mod random;
mod registry;
mod rescaling;
mod resizing;
mod zero_padding;

pub use activation::{Activation, ReLU, Softmax};
pub use batch_normalization::BatchNormalization;
pub use conv2d::Conv2D;
pub use dense::Dense;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use flip::Flip;
pub use global_pooling::{GlobalAveragePooling2D, GlobalMaxPooling2D};
pub use input::{Input, InputLayer};
pub use merge::{Add, Concatenate};
pub use options::{Padding, Size2d};
pub use pooling::{AveragePooling2D, MaxPooling2D};
pub use random::{Fill, RandomFlip, RandomRotation, RandomTransform, RandomZoom, Transformation};
pub use registry::{from_config, known_classes};
pub use rescaling::{Normalization, Rescaling};
pub use resizing::Resizing;
pub use zero_padding::ZeroPadding2D;
