//! What a session keeps beside its buffers: working space, and kernels in the form that their algorithm wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engraft_kernels::{Conv2d, PreparedKernel};
use engraft_nn::{Result, Weight};
use engraft_plan::{Plan, Purpose, StepTime};

use crate::buffers::zeroed;
use crate::step_call::StepCall;

/// Reused by every step of every run.
pub(crate) struct Workspace {
    /// As long as the step that needs the most wants it.
    pub(crate) scratch: Vec<f32>,
    scratch_len: usize,
    /// By step, what it took in the last run.
    pub(crate) times: Vec<StepTime>,
    keeps: Keeps,
    kernels: Arc<Kernels>,
}

/// Prepared kernels by weight, shared by sessions of one plan.
type Kernels = Mutex<HashMap<KernelKey, Kept>>;

/// Weight, algorithm and length: a layer called on images of two sizes may have two algorithms.
type KernelKey = (usize, &'static str, usize);

/// Which kernels are kept as their algorithm wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// None: memory counts for more.
    Nothing,
    /// Those that are used a second time unchanged. What is used once, as most are for a single photo, is not worth the memory.
    Reused,
    /// Kernels of frozen layers, from their first use on: those that a run uses several times, or whose convolution is short.
    AtOnce,
}

impl Keeps {
    pub(crate) fn of(plan: &Plan) -> Self {
        match plan.purpose() {
            _ if plan.options().low_memory => Self::Nothing,
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
            Self::AtOnce => frozen() && (call.chunked || is_short(call)),
        }
    }
}

/// Whether preparing a convolution's kernel for each batch takes long beside the convolution; of the last batch, too, if that is
/// smaller.
fn is_short(call: &StepCall<'_>) -> bool {
    call.conv2d(call.batch).is_some_and(|conv| conv.is_short())
}

/// What is known of a kernel.
struct Kept {
    /// The weight's version when it was last used.
    version: u64,
    prepared: Option<Arc<PreparedKernel>>,
}

impl Workspace {
    pub(crate) fn new(scratch: usize, keeps: Keeps) -> Result<Self> {
        let mut workspace =
            Self { scratch: Vec::new(), scratch_len: scratch, times: Vec::new(), keeps, kernels: Arc::default() };
        workspace.allocate()?;
        Ok(workspace)
    }

    /// Another one that shares the prepared kernels, without scratch yet.
    pub(crate) fn fork(&self) -> Self {
        let (keeps, kernels) = (self.keeps, Arc::clone(&self.kernels));
        Self { scratch: Vec::new(), scratch_len: self.scratch_len, times: Vec::new(), keeps, kernels }
    }

    /// Makes the scratch, where there is none yet.
    pub(crate) fn allocate(&mut self) -> Result<()> {
        if self.scratch.len() < self.scratch_len {
            self.scratch = zeroed(self.scratch_len)?;
        }
        Ok(())
    }

    /// Forgets the last run's times.
    pub(crate) fn begin_run(&mut self, steps: usize) {
        self.times.clear();
        self.times.resize(steps, StepTime::default());
    }

    /// The step's kernel as the algorithm wants it; nothing where such a kernel is not kept.
    pub(crate) fn kernel(&self, conv: &Conv2d, call: &StepCall<'_>) -> Option<Arc<PreparedKernel>> {
        if conv.prepared_len() == 0 || !self.keeps.kernel(call) {
            return None;
        }
        let weight: &Weight = &call.step.weights[0].weight;
        let (key, version) = ((weight.id(), conv.algorithm(), conv.prepared_len()), weight.version());
        let seen_before = match self.kernels().get(&key).filter(|kept| kept.version == version) {
            Some(Kept { prepared: Some(prepared), .. }) => return Some(Arc::clone(prepared)),
            seen => seen.is_some(),
        };
        // Prepared while nothing is locked: sessions that share the kernels need not wait.
        let worthwhile = seen_before || self.keeps == Keeps::AtOnce;
        let prepared = if worthwhile { conv.prepare(&weight.values()).map(Arc::new) } else { None };
        self.kernels().insert(key, Kept { version, prepared: prepared.clone() });
        prepared
    }

    fn kernels(&self) -> MutexGuard<'_, HashMap<KernelKey, Kept>> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use engraft_kernels::{Activation, Conv2dShape};
    use engraft_nn::Program;
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
        let workspace = Workspace::new(0, Keeps::Reused).unwrap();
        let prepared = || workspace.kernel(&conv, &call).is_some();
        assert!(!prepared() && prepared() && prepared());
        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        assert!(!prepared(), "a stale kernel was used");
        assert!(prepared());
    }

    #[test]
    fn training_prepares_what_it_leaves_alone_and_uses_shortly() {
        let (mut program, conv) = (program(), conv());
        let workspace = Workspace::new(0, Keeps::AtOnce).unwrap();
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        assert!((0..3).all(|_| workspace.kernel(&conv, &call).is_none()), "it is trained");
        program.steps[0].weights.iter_mut().for_each(|param| param.trainable = false);
        let call = || StepCall::of_program(&program, &program.steps[0], 1);
        // A whole batch takes long, and so the few samples of the last are treated alike.
        assert!((0..3).all(|_| workspace.kernel(&conv, &StepCall { batch: 256, ..call() }).is_none()));
        assert!(workspace.kernel(&conv, &StepCall { batch: 256, chunked: true, ..call() }).is_some());
        assert!(workspace.kernel(&conv, &call()).is_some());

        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        let (x, mut scratch) = (vec![0.5; 10 * 10 * 24], vec![0.0; conv.scratch_len()]);
        let [mut y, mut expected] = [(); 2].map(|()| vec![0.0; conv.output_len()]);
        let changed = workspace.kernel(&conv, &call()).unwrap();
        conv.forward_prepared(&x, &changed, None, Activation::Linear, &mut y, &mut scratch);
        let w = program.steps[0].weights[0].weight.values();
        conv.forward(&x, &w, None, Activation::Linear, &mut expected, &mut scratch);
        assert!(y == expected, "a stale kernel was used");
    }

    #[test]
    fn a_fork_shares_prepared_kernels() {
        let (program, conv) = (program(), conv());
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        let workspace = Workspace::new(0, Keeps::Reused).unwrap();
        let fork = workspace.fork();
        assert!(workspace.kernel(&conv, &call).is_none(), "used for the first time");
        let [prepared, shared] = [fork.kernel(&conv, &call), workspace.kernel(&conv, &call)].map(Option::unwrap);
        assert!(Arc::ptr_eq(&prepared, &shared));
    }
}
