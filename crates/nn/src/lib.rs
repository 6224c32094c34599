//! Layers, graphs and models in Keras' vocabulary, and the planner that turns them into programs.
//!
//! Layers describe ([`layers`], [`Model`], [`Sequential`]), a planner decides ([`plan`]), an executor computes
//! ([`Executor`]). This crate holds the first two and the door to the third: it computes nothing and touches no files.

pub mod layers;
pub mod plan;
pub mod random;

mod activation;
mod compile;
mod error;
mod executor;
mod graph;
mod initializer;
mod keras_object;
mod layer;
mod model;
mod naming;
mod regularizer;
mod sequential;
mod size;
mod summary;
mod tensor;
mod weight;

pub use activation::ActivationFn;
pub use compile::{Adam, Compiled, Head, Loss, LossKind, Metric, MetricState, Optimizer, OptimizerState, RmsProp, Sgd};
pub use engraft_kernels::{FillMode, Interpolation};
pub use error::{Error, Result};
pub use executor::{Executor, Gradients, LabelledBatch, Session, StepOutput, StepTime};
pub use graph::{Arguments, Graph, SymbolicTensor};
pub use initializer::{Fan, Initializer};
pub use layer::{IntoLayer, Layer, LayerDef, LayerDefExt, Shape};
pub use model::{Functional, Model, Prepared};
pub use naming::{clear_session, set_random_seed, snake_case};
pub use regularizer::Regularizer;
pub use sequential::{Sequential, SequentialDef};
pub use summary::Summary;
pub use tensor::Tensor;
pub use weight::{ValuesMut, Weight, WeightSpec};

/// What a program that describes models needs.
pub mod prelude {
    pub use crate::ActivationFn::{self, Relu, Sigmoid, Softmax, Tanh};
    pub use crate::layers::{
        Activation, Add, Average, AveragePooling2D, BatchNormalization, Concatenate, Conv2D, Cropping2D, Dense,
        DepthwiseConv2D, Dropout, ELU, Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D, Input, LeakyReLU,
        MaxPooling2D, Multiply, Normalization, Padding, Permute, RandomFlip, RandomRotation, RandomZoom, ReLU,
        Rescaling, Reshape, Resizing, SeparableConv2D, Subtract, UpSampling2D, ZeroPadding2D,
    };
    pub use crate::{
        Adam, Initializer, IntoLayer, Layer, LayerDefExt, Loss, Metric, Model, Optimizer, Regularizer, RmsProp,
        Sequential, Sgd, SymbolicTensor, Tensor,
    };
}
