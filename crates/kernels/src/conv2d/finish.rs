//! What becomes of outputs before they are written.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use crate::Activation;
use crate::shared::Shared;
use crate::simd::Simd;

/// What comes after a convolution.
#[derive(Clone, Copy)]
pub(super) struct After<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// Whether the greatest of each 2x2 outputs is taken; the activation must not change their order.
    pub(super) pool: bool,
}

impl<'a> After<'a> {
    /// What is done in registers; [`apply_rest`](Self::apply_rest) does the rest.
    pub(super) fn finish(self) -> Finish<'a> {
        let Self { bias, activation, pool } = self;
        Finish { bias, relu: activation == Activation::Relu, where_positive: false, pool }
    }

    /// Any activation but ReLU, on outputs that are written.
    pub(super) fn apply_rest(self, y: &mut [f32]) {
        if self.activation != Activation::Relu {
            self.activation.apply(y);
        }
    }
}

/// Side of the windows that outputs are pooled in.
pub(super) const POOL: usize = 2;

/// What is done with outputs in registers.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// Whether they are zero where what they are written over is not above zero.
    pub(super) where_positive: bool,
    /// Whether the greatest of each 2x2 of them is written alone.
    pub(super) pool: bool,
}

impl Finish<'_> {
    /// Nothing, or what makes a gradient the one before a ReLU whose outputs it is written over.
    pub(super) fn of_gradient(where_positive: bool) -> Self {
        Self { bias: None, relu: false, where_positive, pool: false }
    }

    /// The bias of a vector of `count` channels, or of as many as it holds.
    #[inline(always)]
    pub(super) fn bias<S: Simd>(&self, simd: S, channel: usize, count: usize) -> S::Vector {
        match self.bias.map(|bias| &bias[channel..][..count]) {
            // SAFETY: there are as many values.
            Some(bias) => unsafe { simd.load_first(count, bias.as_ptr()) },
            None => simd.splat(0.0),
        }
    }

    /// Writes `count` values at most, when what is left to do with them is done.
    ///
    /// # Safety
    /// There must be as many, and no other thread may use them.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(&self, simd: S, count: usize, x: S::Vector, y: &Shared, at: usize) {
        let x = if self.relu { simd.relu(x) } else { x };
        // SAFETY: the caller's promise.
        unsafe {
            let y = y.at(at, count);
            let x = match self.where_positive {
                true => simd.where_positive(simd.load_first(count, y), x),
                false => x,
            };
            simd.store_first(count, x, y);
        }
    }
}
