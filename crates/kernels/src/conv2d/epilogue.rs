//! The epilogue of a convolution: bias, activation and pooling, fused into the store of the outputs.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use crate::Activation;
use crate::activation::activate;
use crate::shared::SharedSlice;
use crate::simd::Simd;

/// The epilogue of a forward pass.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// Whether outputs are max-pooled in windows of 2x2. The activation must be non-decreasing.
    pub(super) pool: bool,
}

impl<'a> Epilogue<'a> {
    /// The part of the epilogue that runs in registers. [`activate_rest`](Self::activate_rest) applies the rest.
    pub(super) fn in_registers(self) -> RegisterEpilogue<'a> {
        let Self { bias, activation, pool } = self;
        RegisterEpilogue { bias, relu: activation == Activation::Relu, where_positive: false, pool }
    }

    /// Applies the activation to the written outputs `y`. Does nothing for ReLU, which is applied in registers.
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
    /// Whether to multiply by the gradient of a ReLU: zero is written over every value that isn't positive.
    pub(super) where_positive: bool,
    /// Whether only the maximum of each window of 2x2 outputs is written.
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
            // SAFETY: `bias` holds `count` values.
            Some(bias) => unsafe { simd.load_first(count, bias.as_ptr()) },
            None => simd.splat(0.0),
        }
    }

    /// Applies ReLU or its gradient and writes the first `count` values of `x` to `y[at..]`.
    ///
    /// # Safety
    /// `y` must have that many values from `at` on, and no other thread may use them.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(&self, simd: S, count: usize, x: S::Vector, y: &SharedSlice, at: usize) {
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
