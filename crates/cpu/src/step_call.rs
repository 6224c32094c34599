//! `StepCall`: a step with the shapes, samples and seeds of one call. `ops` computes it.

use std::sync::Arc;

use engraft_ir::{Op, Precision, Shape};
use engraft_kernels::{Bf16, Conv2d};
use engraft_nn::{Program, Step};
use engraft_plan::Plan;

/// Mean and variance of each channel in a batch normalization.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
    /// Number of rows (samples times pixels) that the statistics were computed from.
    pub(crate) rows: f64,
}

/// A step to compute for some samples of a batch.
pub(crate) struct StepCall<'a> {
    pub(crate) step: &'a Step,
    /// Shapes of the inputs, without the batch axis.
    pub(crate) inputs: Vec<&'a Shape>,
    /// Shape of the output, without the batch axis.
    pub(crate) output: &'a Shape,
    /// Number of samples in this call.
    pub(crate) samples: usize,
    /// Whether the step belongs to the chunked prefix, which is called several times for a batch.
    pub(crate) chunked: bool,
    /// Batch size of the plan. The batch of this run may be smaller.
    pub(crate) batch: usize,
    /// Index of the call's first sample in the global batch. Part of the seed of random layers.
    pub(crate) first_sample: usize,
    /// Index of the training step, from 0. Part of the seed of random layers.
    pub(crate) iteration: u64,
    /// Proof that the CPU can multiply bf16, if the plan asks for that precision; `None` means f32.
    pub(crate) bf16: Option<Bf16>,
    /// Statistics of the batch, for batch normalization in training mode.
    pub(crate) statistics: Option<Arc<Statistics>>,
}

impl<'a> StepCall<'a> {
    /// A call for the first `samples` samples of the batch, outside the chunked prefix, at iteration 0.
    pub(crate) fn new(plan: &'a Plan, step: &'a Step, samples: usize) -> Self {
        let bf16 = if plan.precision() == Precision::Bf16 { Bf16::detect().ok() } else { None };
        Self { batch: plan.batch(), bf16, ..Self::of_program(plan.program(), step, samples) }
    }

    /// A call of a step without a plan: in f32, for a whole batch of `samples` samples, at iteration 0.
    pub(crate) fn of_program(program: &'a Program, step: &'a Step, samples: usize) -> Self {
        let shapes = &program.shapes;
        let inputs = step.inputs.iter().map(|&value| &shapes[value]).collect();
        Self {
            step,
            inputs,
            output: &shapes[step.output],
            samples,
            chunked: false,
            batch: samples,
            first_sample: 0,
            iteration: 0,
            bf16: None,
            statistics: None,
        }
    }

    /// Size of the first input's last axis.
    pub(crate) fn channels(&self) -> usize {
        self.inputs[0].last().copied().unwrap_or(1)
    }

    /// Height, width and channels of an image shape.
    pub(crate) fn image(shape: &Shape) -> [usize; 3] {
        match shape[..] {
            [height, width, channels] => [height, width, channels],
            _ => unreachable!("{shape:?} is not an image shape, which image layers check when they are built"),
        }
    }

    /// The convolution of this step for `samples` samples; `None` for any other operation.
    pub(crate) fn conv2d(&self, samples: usize) -> Option<Conv2d> {
        let conv = Conv2d::new(self.step.op.conv2d_shape(samples, self.inputs[0], self.output)?);
        let conv = match self.bf16 {
            Some(bf16) => conv.in_bf16(bf16),
            None => conv,
        };
        Some(if let Op::Conv2d { pool: Some(_), .. } = self.step.op { conv.pooled() } else { conv })
    }
}
