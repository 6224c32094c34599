//! Layers, graphs and models in Keras' vocabulary.
//!
//! A [`Model`] or [`Sequential`] is a graph of [`layers`]. It is lowered to a [`Program`], a flat list of operations.
//! `engraft-plan` plans the buffers and the order in which a program runs, and an executor runs it. This crate computes
//! nothing and touches no files.

pub mod layers;
pub mod strided;

mod activation;
mod activation_layer;
mod compile;
mod constraint;
mod decimals;
mod dtype;
mod dtype_policy;
mod error;
mod graph;
mod initializer;
mod keras_object;
mod layer;
mod layer_def;
mod leaf_layers;
mod lowering;
mod model;
mod naming;
mod open_shapes;
mod program;
mod regularizer;
mod sequential;
mod session_cache;
mod size_limits;
mod sized_graphs;
mod summary;
mod tensor;
mod trainability;
mod transpositions;
mod weight;

pub use activation::ActivationFn;
pub use activation_layer::ActivationLayer;
pub use compile::{
    Adam, Compiled, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRate,
    LearningRateSchedule, Loss, LossKind, Metric, MetricState, Optimizer, OptimizerState, OutputActivation,
    PiecewiseConstantDecay, PolynomialDecay, RmsProp, Sgd, Slots, UnknownParts,
};
pub use constraint::{Axes, Constraint};
pub use dtype::DType;
pub use dtype_policy::DTypePolicy;
pub use engraft_ir::{FillMode, Interpolation, Shape, random};
pub use error::{Error, ErrorKind, Result, io_reason};
pub use graph::{Arguments, Graph, SymbolicTensor};
pub use initializer::{Distribution, Fan, FanMode, Initializer, VarianceScaling};
pub use keras_object::UnknownObject;
pub use layer::{IntoLayer, Layer};
pub use layer_def::{LayerDef, LayerDefExt};
pub use layers::CustomClass;
pub use lowering::Lowering;
pub use model::{Functional, Model};
pub use naming::{clear_session, set_random_seed, snake_case};
pub use open_shapes::{OpenShape, OpenShapes};
pub use program::{FoldedNormalization, Param, Program, Step};
pub use regularizer::{OrthogonalMode, Regularizer};
pub use sequential::{Sequential, SequentialDef};
pub use session_cache::Cache;
pub use summary::Summary;
pub use tensor::Tensor;
pub use trainability::Trainability;
pub use weight::{ValuesMut, Weight, WeightSpec};

/// The names that code which defines and compiles models needs, to be imported together.
pub mod prelude {
    pub use crate::ActivationFn::{self, Relu, Sigmoid, Softmax, Tanh};
    pub use crate::layers::{
        Activation, Add, AlphaDropout, Average, AveragePooling2D, BatchNormalization, Concatenate, Conv2D,
        Conv2DTranspose, Cropping2D, Dense, DepthwiseConv2D, Dot, Dropout, ELU, Flatten, GaussianDropout,
        GaussianNoise, GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D,
        GroupNormalization, Identity, Input, LayerNormalization, LeakyReLU, MaxPooling2D, Maximum, Minimum,
        MultiHeadAttention, Multiply, Normalization, PReLU, Padding, Permute, RMSNormalization, RandomFlip,
        RandomRotation, RandomZoom, ReLU, RepeatVector, Rescaling, Reshape, Resizing, SeparableConv2D,
        SpatialDropout2D, Subtract, UnitNormalization, UpSampling2D, ZeroPadding2D,
    };
    pub use crate::{
        Adam, Constraint, CosineDecay, CosineDecayRestarts, ExponentialDecay, Initializer, IntoLayer, InverseTimeDecay,
        Layer, LayerDefExt, LearningRate, Loss, Metric, Model, Optimizer, PiecewiseConstantDecay, PolynomialDecay,
        Regularizer, RmsProp, Sequential, Sgd, SymbolicTensor, Tensor,
    };
}
