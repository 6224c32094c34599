//! Pairs of convolutions of which the first's outputs are made and used some rows at a time: those of an image at full size
//! would leave the cache before they are read.

use super::{Op, Program, Step};

/// What the rows in between may occupy: a small part of a last-level cache.
const BAND_BYTES: usize = 4 << 20;

/// Outputs up to this size stay in the cache as a whole: at 8 MiB bands were no faster.
const WHOLE_BYTES: usize = 8 << 20;

/// How a convolution runs together with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Rows of outputs that it makes at a time, counted before pooling: a multiple of 8, so that tiles and windows lie as in the
    /// whole image.
    pub rows: usize,
    /// Rows of the one before that it reads for them, at most.
    pub held: usize,
}

impl Program {
    /// For each step, whether it runs together with the next, and how; in the first `prefix` steps.
    pub(super) fn bands(&self, prefix: usize) -> Vec<Option<Band>> {
        let readers = self.readers();
        let mut bands = vec![None; self.steps.len()];
        for index in 1..prefix {
            let (first, second) = (&self.steps[index - 1], &self.steps[index]);
            let taken = index >= 2 && bands[index - 2].is_some();
            if !taken && second.inputs == [first.output] && readers[first.output] == 1 {
                bands[index - 1] = self.band(first, second);
            }
        }
        bands
    }

    fn band(&self, first: &Step, second: &Step) -> Option<Band> {
        let shape = |step: &Step| {
            let conv = step.op.conv2d_shape(1, &self.shapes[step.inputs[0]], &self.shapes[step.output])?;
            // Not depthwise, which has kernels of its own.
            (conv.groups == 1 && conv.in_c > 1).then_some(conv)
        };
        let (between, second) = (shape(first)?, shape(second)?);
        let row = size_of::<f32>() * between.out_w * between.out_c;
        if matches!(first.op, Op::Conv2d { pool: Some(_), .. }) || row * between.out_h <= WHOLE_BYTES {
            return None;
        }
        let held = |rows: usize| (rows - 1) * second.stride[0] + second.dilation[0] * (second.kernel[0] - 1) + 1;
        let rows = (BAND_BYTES / row / second.stride[0] / 8 * 8).max(8).min(second.out_h);
        Some(Band { rows, held: held(rows).min(between.out_h) })
    }
}

#[cfg(test)]
mod tests {
    use super::Band;
    use crate::plan::Plan;
    use crate::prelude::*;

    fn model(side: usize) -> Model {
        let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = Sequential::new().add(Input::new([side, side, 3])).add(conv("a")).add(conv("b"));
        layers.add(MaxPooling2D::new(2)).add(GlobalAveragePooling2D::new()).add(Dense::new(2)).build().unwrap()
    }

    #[test]
    fn large_outputs_are_made_in_bands() {
        let plan = Plan::predict(&model(256), 2).unwrap();
        assert_eq!((plan.band(0), plan.band(1)), (Some(Band { rows: 64, held: 66 }), None));
        // The band, and the pooled outputs of both images.
        assert!([66 * 256 * 64, 2 * 128 * 128 * 64].iter().all(|length| plan.buffers().contains(length)));
        assert_eq!(Plan::predict(&model(128), 2).unwrap().band(0), None);
    }

    #[test]
    fn what_a_band_reads_stays_until_its_last_row_is_made() {
        let x = Input::new([256, 256, 3]);
        let scaled = Rescaling::new(0.5).call(&x).unwrap();
        let conv = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let y = conv("b").call(&conv("a").call(&scaled).unwrap()).unwrap();
        let plan = Plan::predict(&Model::new(&x, &y).unwrap(), 1).unwrap();
        let steps = &plan.program().steps;
        assert!(plan.band(1).is_some());
        let slots: std::collections::HashSet<_> = steps.iter().map(|step| plan.slot(step.output)).collect();
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn what_is_wanted_or_differentiated_is_made_as_a_whole() {
        let model = model(256);
        assert_eq!(Plan::features(&model, "a", 1).unwrap().band(0), None);
        let train = || Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 1, 0).unwrap();
        assert_eq!(train().band(0), None);
        model.get_layer("a").unwrap().set_trainable(false);
        assert_eq!(train().band(0), None);
        model.get_layer("b").unwrap().set_trainable(false);
        assert!(train().band(0).is_some());
    }
}
