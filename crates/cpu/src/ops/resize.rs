//! Resizing of images: bilinear and nearest by their own kernels, the other interpolations by tables of weights.

use engraft_ir::Op;
use engraft_kernels::{Interpolation, Resampling, resample, resample_gradient, resize, resize_gradient};

use super::StepCall;

/// How a step resizes.
enum Method {
    Fast(Interpolation),
    /// Tables for rows and columns.
    Tables([Resampling; 2]),
}

impl Method {
    fn of(call: &StepCall<'_>) -> Self {
        let Op::Resize { interpolation, antialias } = call.step.op else {
            unreachable!("called for resizing only");
        };
        match interpolation {
            Interpolation::Nearest => Self::Fast(interpolation),
            Interpolation::Bilinear if !antialias => Self::Fast(interpolation),
            _ => {
                let table =
                    |axis: usize| Resampling::new(interpolation, antialias, call.inputs[0][axis], call.output[axis]);
                Self::Tables([table(0), table(1)])
            }
        }
    }
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    let ([in_h, in_w, c], [out_h, out_w, _]) = (StepCall::image(call.inputs[0]), StepCall::image(call.output));
    match Method::of(call) {
        Method::Fast(interpolation) => resize(interpolation, call.samples, in_h, in_w, c, out_h, out_w, x, y),
        Method::Tables([rows, columns]) => resample(&rows, &columns, call.samples, in_h, in_w, c, x, y),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, dy: &[f32], dx: &mut [f32]) {
    let ([in_h, in_w, c], [out_h, out_w, _]) = (StepCall::image(call.inputs[0]), StepCall::image(call.output));
    match Method::of(call) {
        Method::Fast(interpolation) => {
            resize_gradient(interpolation, call.samples, in_h, in_w, c, out_h, out_w, dy, dx)
        }
        Method::Tables([rows, columns]) => resample_gradient(&rows, &columns, call.samples, in_h, in_w, c, dy, dx),
    }
}
