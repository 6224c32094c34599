//! What a session keeps beside its buffers: working space, and kernels in the form that their algorithm wants.

use std::collections::HashMap;

use engraft_kernels::{Conv2d, PreparedKernel};
use engraft_nn::plan::{Plan, Purpose};
use engraft_nn::{Result, StepTime, Weight};

use crate::buffers::zeroed;
use crate::ops::{self, StepCall};

/// Reused by every step of every run.
pub(crate) struct Workspace {
    /// As long as the step that needs the most wants it.
    pub(crate) scratch: Vec<f32>,
    /// By step, what it took in the last run.
    pub(crate) times: Vec<StepTime>,
    keeps: Keeps,
    /// By weight.
    kernels: HashMap<usize, Kept>,
}

/// Which kernels are kept as their algorithm wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// None: memory counts for more.
    Nothing,
    /// Those that are used a second time unchanged. What is used once, as most are for a single photo, is not worth the memory.
    Reused,
    /// Of those that training leaves as they are, and does not use for a long time at once; from their first use on.
    AtOnce,
}

impl Keeps {
    pub(crate) fn of(plan: &Plan) -> Self {
        match plan.purpose() {
            _ if plan.is_thrifty() => Self::Nothing,
            Purpose::Train { .. } => Self::AtOnce,
            _ => Self::Reused,
        }
    }

    /// Whether the kernel of this call is kept, if it is used again.
    pub(crate) fn kernel(self, call: &StepCall<'_>) -> bool {
        let frozen = || call.step.weights.iter().all(|param| !param.trainable);
        match self {
            Self::Nothing => false,
            Self::Reused => true,
            Self::AtOnce => frozen() && (call.chunked || ops::is_short(call)),
        }
    }
}

/// What is known of a kernel.
struct Kept {
    /// The weight's version when it was last used.
    version: u64,
    prepared: Option<PreparedKernel>,
}

impl Workspace {
    pub(crate) fn new(scratch: usize, keeps: Keeps) -> Result<Self> {
        Ok(Self { scratch: zeroed(scratch)?, times: Vec::new(), keeps, kernels: HashMap::new() })
    }

    /// Forgets the last run's times.
    pub(crate) fn begin_run(&mut self, steps: usize) {
        self.times.clear();
        self.times.resize(steps, StepTime::default());
    }

    /// The step's kernel as the algorithm wants it, and the scratch; nothing where such a kernel is not kept.
    pub(crate) fn kernel(&mut self, conv: &Conv2d, call: &StepCall<'_>) -> (Option<&PreparedKernel>, &mut [f32]) {
        let Self { scratch, kernels, keeps, .. } = self;
        if conv.prepared_len() == 0 || !keeps.kernel(call) {
            return (None, scratch);
        }
        let weight: &Weight = &call.step.weights[0].weight;
        let version = weight.version();
        let seen_before = kernels.get(&weight.id()).is_some_and(|kept| kept.version == version);
        let kept = kernels.entry(weight.id()).or_insert(Kept { version, prepared: None });
        if !seen_before {
            *kept = Kept { version, prepared: None };
        }
        if kept.prepared.is_none() && (seen_before || *keeps == Keeps::AtOnce) {
            kept.prepared = conv.prepare(&weight.values());
        }
        (kept.prepared.as_ref(), scratch)
    }
}

#[cfg(test)]
mod tests {
    use engraft_kernels::{Activation, Conv2dShape};
    use engraft_nn::plan::Program;
    use engraft_nn::prelude::*;

    use super::*;

    fn program() -> Program {
        let input = Input::new([10, 10, 24]);
        let model = Model::new(&input, &Conv2D::new(24, 3).call(&input).unwrap()).unwrap();
        Program::of(&model, true, 0).unwrap()
    }

    fn conv() -> Conv2d {
        Conv2d::new(Conv2dShape {
            batch: 1,
            in_h: 10,
            in_w: 10,
            in_c: 24,
            out_c: 24,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
            out_h: 8,
            out_w: 8,
            groups: 1,
        })
    }

    #[test]
    fn kernels_are_prepared_when_they_are_used_again_unchanged() {
        let (program, conv) = (program(), conv());
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        let mut workspace = Workspace::new(0, Keeps::Reused).unwrap();
        let mut prepared = || workspace.kernel(&conv, &call).0.is_some();
        assert!(!prepared() && prepared() && prepared());
        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        assert!(!prepared(), "a stale kernel was used");
        assert!(prepared());
    }

    #[test]
    fn training_prepares_what_it_leaves_alone_and_uses_shortly() {
        let (mut program, conv) = (program(), conv());
        let mut workspace = Workspace::new(0, Keeps::AtOnce).unwrap();
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        assert!((0..3).all(|_| workspace.kernel(&conv, &call).0.is_none()), "it is trained");
        program.steps[0].weights.iter_mut().for_each(|param| param.trainable = false);
        let call = || StepCall::of_program(&program, &program.steps[0], 1);
        // A whole batch takes long, and so the few samples of the last are treated alike.
        assert!((0..3).all(|_| workspace.kernel(&conv, &StepCall { batch: 256, ..call() }).0.is_none()));
        assert!(workspace.kernel(&conv, &StepCall { batch: 256, chunked: true, ..call() }).0.is_some());
        assert!(workspace.kernel(&conv, &call()).0.is_some());

        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        let (x, mut scratch) = (vec![0.5; 10 * 10 * 24], vec![0.0; conv.scratch_len()]);
        let [mut y, mut expected] = [(); 2].map(|()| vec![0.0; conv.output_len()]);
        let changed = workspace.kernel(&conv, &call()).0.unwrap();
        conv.forward_prepared(&x, changed, None, Activation::Linear, &mut y, &mut scratch);
        let w = program.steps[0].weights[0].weight.values();
        conv.forward(&x, &w, None, Activation::Linear, &mut expected, &mut scratch);
        assert!(y == expected, "a stale kernel was used");
    }
}
