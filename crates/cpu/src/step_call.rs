//! A step about to be computed.

use std::sync::Arc;

use engraft_ir::{Op, Precision, Shape};
use engraft_kernels::{Bf16, Conv2d};
use engraft_nn::{Program, Step};
use engraft_plan::Plan;

/// Mean and variance of each channel, over so many rows.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
    pub(crate) rows: f64,
}

/// A step about to be computed for some samples.
pub(crate) struct StepCall<'a> {
    pub(crate) step: &'a Step,
    /// Shapes of the inputs, the batch axis left out.
    pub(crate) inputs: Vec<&'a Shape>,
    /// Shape of the output, the batch axis left out.
    pub(crate) output: &'a Shape,
    /// How many samples.
    pub(crate) samples: usize,
    /// Whether it is one of several calls for a batch.
    pub(crate) chunked: bool,
    /// The samples of a whole batch.
    pub(crate) batch: usize,
    /// Which sample of the global batch is the first: random layers draw by it.
    pub(crate) first_sample: usize,
    /// Which training step this is: random layers draw by it.
    pub(crate) iteration: u64,
    /// Where products are of bf16, the proof that the CPU has them.
    pub(crate) bf16: Option<Bf16>,
    /// The batch's statistics, where the step normalises by them.
    pub(crate) statistics: Option<Arc<Statistics>>,
}

impl<'a> StepCall<'a> {
    pub(crate) fn new(plan: &'a Plan, step: &'a Step, samples: usize) -> Self {
        let bf16 = if plan.precision() == Precision::Bf16 { Bf16::detect().ok() } else { None };
        Self { batch: plan.batch(), bf16, ..Self::of_program(plan.program(), step, samples) }
    }

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

    /// Numbers in the last axis.
    pub(crate) fn channels(&self) -> usize {
        self.inputs[0].last().copied().unwrap_or(1)
    }

    /// Height, width and channels of an image.
    pub(crate) fn image(shape: &Shape) -> [usize; 3] {
        match shape[..] {
            [height, width, channels] => [height, width, channels],
            _ => unreachable!("layers for images have checked that {shape:?} is one"),
        }
    }

    /// The convolution that the step is, of so many samples; `None` where it is another operation.
    pub(crate) fn conv2d(&self, samples: usize) -> Option<Conv2d> {
        let conv = Conv2d::new(self.step.op.conv2d_shape(samples, self.inputs[0], self.output)?);
        let conv = match self.bf16 {
            Some(bf16) => conv.in_bf16(bf16),
            None => conv,
        };
        Some(if let Op::Conv2d { pool: Some(_), .. } = self.step.op { conv.pooled() } else { conv })
    }
}
