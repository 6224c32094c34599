//! Memory of a session beside its buffers: scratch space, step times, and the cache of prepared convolution kernels.
//!
//! A *prepared* kernel is in the layout that its convolution algorithm reads, such as filters in the Winograd domain or packed
//! panels. Forks of a session share the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engraft_kernels::{Conv2d, PreparedKernel};
use engraft_nn::{Result, Weight};
use engraft_plan::{Plan, Purpose, StepTime};

use crate::buffers::zeroed;
use crate::step_call::StepCall;

/// Scratch space, step times and prepared kernels of a session. Every step of every run reuses them.
pub(crate) struct Workspace {
    /// Scratch space, as long as the most demanding step of the plan needs.
    pub(crate) scratch: Vec<f32>,
    scratch_len: usize,
    /// Duration of each step of the last run, by the step's index.
    pub(crate) times: Vec<StepTime>,
    policy: KernelCachePolicy,
    cache: Arc<KernelCache>,
}

/// Prepared kernels by weight, shared by the forks of a session.
type KernelCache = Mutex<HashMap<KernelKey, CachedKernel>>;

/// Id of the weight, algorithm, and length of the prepared kernel: a layer called on two image sizes may use two algorithms.
type KernelKey = (usize, &'static str, usize);

/// Which prepared kernels a session caches, and from which use on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelCachePolicy {
    /// No kernel is cached: low-memory plans.
    Off,
    /// A kernel is cached from its second use on, if it hasn't changed since the first: plans that don't train. A single
    /// prediction uses most kernels once, and one use doesn't justify the memory.
    SecondUse,
    /// Frozen kernels are cached from their first use on, if a run uses them several times or preparing them takes long:
    /// training plans. Other kernels are not cached.
    FrozenFirstUse,
}

impl KernelCachePolicy {
    pub(crate) fn of(plan: &Plan) -> Self {
        match plan.purpose() {
            _ if plan.options().low_memory => Self::Off,
            Purpose::Train { .. } => Self::FrozenFirstUse,
            _ => Self::SecondUse,
        }
    }

    /// Whether the prepared kernel of this call may be cached.
    pub(crate) fn allows(self, call: &StepCall<'_>) -> bool {
        let frozen = || call.step.weights.iter().all(|param| !param.trainable);
        match self {
            Self::Off => false,
            Self::SecondUse => true,
            Self::FrozenFirstUse => frozen() && (call.chunked || is_short(call)),
        }
    }
}

/// Whether preparing the kernel takes long compared with convolving a full batch.
///
/// The plan's batch size decides, even if this batch is smaller. Otherwise the last batch of an epoch could cache a kernel that
/// no other batch caches.
fn is_short(call: &StepCall<'_>) -> bool {
    call.conv2d(call.batch).is_some_and(|conv| conv.preparing_is_costly())
}

/// Cache entry of a kernel that was used at least once.
struct CachedKernel {
    /// The weight's version at the last use. An entry of another version is stale.
    version: u64,
    /// The prepared kernel; `None` if the kernel was used but not prepared.
    prepared: Option<Arc<PreparedKernel>>,
}

impl Workspace {
    pub(crate) fn new(scratch: usize, policy: KernelCachePolicy) -> Result<Self> {
        let mut workspace =
            Self { scratch: Vec::new(), scratch_len: scratch, times: Vec::new(), policy, cache: Arc::default() };
        workspace.allocate()?;
        Ok(workspace)
    }

    /// A second workspace with the same cache. Its scratch space is allocated later, by [`allocate`](Self::allocate).
    pub(crate) fn fork(&self) -> Self {
        let (policy, cache) = (self.policy, Arc::clone(&self.cache));
        Self { scratch: Vec::new(), scratch_len: self.scratch_len, times: Vec::new(), policy, cache }
    }

    /// Allocates the scratch space, unless it exists.
    pub(crate) fn allocate(&mut self) -> Result<()> {
        if self.scratch.len() < self.scratch_len {
            self.scratch = zeroed(self.scratch_len)?;
        }
        Ok(())
    }

    /// Resets the step times for a run of `steps` steps.
    pub(crate) fn begin_run(&mut self, steps: usize) {
        self.times.clear();
        self.times.resize(steps, StepTime::default());
    }

    /// The prepared kernel of a convolution step; `None` if this use doesn't cache it.
    pub(crate) fn prepared_kernel(&self, conv: &Conv2d, call: &StepCall<'_>) -> Option<Arc<PreparedKernel>> {
        if conv.prepared_len() == 0 || !self.policy.allows(call) {
            return None;
        }
        let weight: &Weight = &call.step.weights[0].weight;
        let (key, version) = ((weight.id(), conv.algorithm(), conv.prepared_len()), weight.version());
        let used_before = match self.lock_cache().get(&key).filter(|cached| cached.version == version) {
            Some(CachedKernel { prepared: Some(prepared), .. }) => return Some(Arc::clone(prepared)),
            entry => entry.is_some(),
        };
        // The cache is unlocked while the kernel is prepared, so that forks don't wait for it.
        let worthwhile = used_before || self.policy == KernelCachePolicy::FrozenFirstUse;
        let prepared = if worthwhile { conv.prepare(&weight.values()).map(Arc::new) } else { None };
        self.lock_cache().insert(key, CachedKernel { version, prepared: prepared.clone() });
        prepared
    }

    fn lock_cache(&self) -> MutexGuard<'_, HashMap<KernelKey, CachedKernel>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
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
        let workspace = Workspace::new(0, KernelCachePolicy::SecondUse).unwrap();
        let prepared = || workspace.prepared_kernel(&conv, &call).is_some();
        assert!(!prepared() && prepared() && prepared());
        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        assert!(!prepared(), "a stale kernel was used");
        assert!(prepared());
    }

    #[test]
    fn training_caches_frozen_kernels_of_short_or_chunked_convolutions() {
        let (mut program, conv) = (program(), conv());
        let workspace = Workspace::new(0, KernelCachePolicy::FrozenFirstUse).unwrap();
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        assert!((0..3).all(|_| workspace.prepared_kernel(&conv, &call).is_none()), "it is trained");
        program.steps[0].weights.iter_mut().for_each(|param| param.trainable = false);
        let call = || StepCall::of_program(&program, &program.steps[0], 1);
        // Convolving 256 samples takes long compared with preparing the kernel, and a smaller last batch must not change the
        // decision.
        assert!((0..3).all(|_| workspace.prepared_kernel(&conv, &StepCall { batch: 256, ..call() }).is_none()));
        assert!(workspace.prepared_kernel(&conv, &StepCall { batch: 256, chunked: true, ..call() }).is_some());
        assert!(workspace.prepared_kernel(&conv, &call()).is_some());

        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        let (x, mut scratch) = (vec![0.5; 10 * 10 * 24], vec![0.0; conv.scratch_len()]);
        let [mut y, mut expected] = [(); 2].map(|()| vec![0.0; conv.output_len()]);
        let changed = workspace.prepared_kernel(&conv, &call()).unwrap();
        conv.forward_prepared(&x, &changed, None, Activation::Linear, &mut y, &mut scratch);
        let w = program.steps[0].weights[0].weight.values();
        conv.forward(&x, &w, None, Activation::Linear, &mut expected, &mut scratch);
        assert!(y == expected, "a stale kernel was used");
    }

    #[test]
    fn a_fork_shares_prepared_kernels() {
        let (program, conv) = (program(), conv());
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        let workspace = Workspace::new(0, KernelCachePolicy::SecondUse).unwrap();
        let fork = workspace.fork();
        assert!(workspace.prepared_kernel(&conv, &call).is_none(), "used for the first time");
        let [prepared, shared] = [&fork, &workspace].map(|workspace| workspace.prepared_kernel(&conv, &call).unwrap());
        assert!(Arc::ptr_eq(&prepared, &shared));
    }
}
