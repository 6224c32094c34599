//! The epilogue of a convolution: bias, activation and pooling, fused into the store of the outputs.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use crate::Activation;
use crate::activation::activate;
use crate::shared::Shared;
use crate::simd::Simd;

/// What follows the products of a forward pass.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// Whether outputs are max-pooled in windows of 2x2. The activation must not change the order of values.
    pub(super) pool: bool,
}

impl<'a> Epilogue<'a> {
    /// The part that runs in registers. [`activate_rest`](Self::activate_rest) does the rest.
    pub(super) fn in_registers(self) -> RegisterEpilogue<'a> {
        let Self { bias, activation, pool } = self;
        RegisterEpilogue { bias, relu: activation == Activation::Relu, where_positive: false, pool }
    }

    /// Applies any activation but ReLU to outputs that are in memory already.
    pub(super) fn activate_rest(self, y: &mut [f32]) {
        if self.activation != Activation::Relu {
            activate(self.activation, y);
        }
    }
}

/// Side of the pooling windows, and their stride.
pub(super) const POOL: usize = 2;

/// The part of an epilogue that runs on outputs in registers.
#[derive(Clone, Copy)]
pub(super) struct RegisterEpilogue<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// The gradient of a ReLU: whether an output is zero where the value that it overwrites is not positive.
    pub(super) where_positive: bool,
    /// Whether the maximum of each window of 2x2 is written alone.
    pub(super) pool: bool,
}

impl RegisterEpilogue<'_> {
    /// The epilogue of a gradient: none or, if `where_positive`, the gradient of the ReLU whose output is overwritten.
    pub(super) fn of_gradient(where_positive: bool) -> Self {
        Self { bias: None, relu: false, where_positive, pool: false }
    }

    /// The bias of `count` channels from `channel` on, zeros if there is none.
    #[inline(always)]
    pub(super) fn bias<S: Simd>(&self, simd: S, channel: usize, count: usize) -> S::Vector {
        match self.bias.map(|bias| &bias[channel..][..count]) {
            // SAFETY: there are as many values.
            Some(bias) => unsafe { simd.load_first(count, bias.as_ptr()) },
            None => simd.splat(0.0),
        }
    }

    /// Applies ReLU or its gradient and writes the first `count` values of `x` to `y[at..]`.
    ///
    /// # Safety
    /// `y` must have that many values from `at` on, and no other thread may use them.
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
