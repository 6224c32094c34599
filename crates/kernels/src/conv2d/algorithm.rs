//! The algorithms that compute convolutions.

use super::direct::Direct;
use super::im2col::Im2col;
use super::im2col_strips::Strips;
use super::pointwise::Pointwise;
use super::winograd::Winograd;
use crate::Conv2dShape;

/// The algorithm of a convolution.
#[derive(Clone, Debug)]
pub(super) enum Algorithm {
    /// A matrix product of gathered patches and the kernel, for every shape.
    Im2col(Box<Im2col>),
    /// Like [`Im2col`](Self::Im2col), with patches that overlap in memory instead of being gathered one by one. For images with
    /// few channels.
    Strips(Strips),
    /// One matrix product of pixels and kernel, for 1x1 kernels of stride 1.
    Pointwise(Pointwise),
    /// Matrix products in the Winograd domain, for 3x3 kernels of stride 1.
    Winograd(Winograd),
    /// Matrix products of shifted images on a matrix unit for bf16. The second field computes the gradient with respect to the
    /// kernel, in f32.
    Direct(Direct, Box<Algorithm>),
}

impl Algorithm {
    /// Im2col, which can compute every shape.
    pub(super) fn im2col(shape: Conv2dShape) -> Self {
        Self::Im2col(Box::new(Im2col::new(shape)))
    }

    /// The same algorithm for another shape.
    pub(super) fn of_shape(&self, shape: Conv2dShape) -> Self {
        match self {
            Self::Im2col(_) => Self::im2col(shape),
            Self::Strips(_) => Self::Strips(Strips::new(shape)),
            Self::Pointwise(pointwise) => Self::Pointwise(pointwise.of_shape(shape)),
            Self::Winograd(winograd) => Self::Winograd(winograd.of_shape(shape)),
            Self::Direct(direct, in_f32) => Self::Direct(direct.of_shape(shape), Box::new(in_f32.of_shape(shape))),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Im2col(_) => "im2col",
            Self::Strips(_) => "strips",
            Self::Pointwise(_) => "pointwise",
            Self::Winograd(_) => "winograd",
            Self::Direct(..) => "direct",
        }
    }

    /// Whether the algorithm applies a [`RegisterEpilogue`](super::epilogue::RegisterEpilogue). Only such an algorithm can pool
    /// outputs in the epilogue and compute the input gradient in place.
    pub(super) fn has_register_epilogue(&self) -> bool {
        matches!(self, Self::Winograd(_) | Self::Direct(..))
    }
}
