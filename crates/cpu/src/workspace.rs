//! Memory of a session beside its buffers: scratch space, step times, and the cache of prepared convolution weights.
//!
//! A *prepared* kernel is in the layout that its convolution algorithm reads, such as filters in the Winograd domain or packed
//! panels. If a batch normalization is folded into the convolution, kernel and bias include it. Forks of a session share the
//! cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engraft_kernels::{Conv2d, PreparedKernel};
use engraft_nn::{FoldedNormalization, Result, Step};
use engraft_plan::{Plan, Purpose, StepTime};

use crate::buffers::zeroed;
use crate::ops;
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

/// Prepared weights of convolutions, shared by the forks of a session.
type KernelCache = Mutex<HashMap<KernelKey, CachedKernel>>;

/// What prepared weights depend on, beside the values of the weights.
#[derive(PartialEq, Eq, Hash)]
struct KernelKey {
    /// Id of the kernel.
    kernel: usize,
    /// Id of the moving variance of the folded normalization: a layer that is called twice may have two normalizations.
    normalization: Option<usize>,
    /// Algorithm and length of the prepared kernel: a layer called on two image sizes may use two algorithms.
    layout: Option<(&'static str, usize)>,
}

/// The kernel of a convolution as [`Workspace::with_weights`] gives it.
pub(crate) enum Kernel<'a> {
    /// In the layout of the convolution's algorithm.
    Prepared(&'a PreparedKernel),
    /// In the layout of the weight.
    Plain(&'a [f32]),
}

/// Kernel and bias of a convolution step, made from its weights for many runs.
enum PreparedWeights {
    /// The kernel in the layout of the algorithm, and the bias if a normalization is folded into it.
    Prepared(PreparedKernel, Option<Vec<f32>>),
    /// Kernel and bias with a folded normalization.
    Folded(Vec<f32>, Vec<f32>),
}

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

    /// Whether the prepared weights of this call may be cached.
    pub(crate) fn allows(self, call: &StepCall<'_>) -> bool {
        let frozen = || call.step.all_weights().all(|param| !param.trainable);
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

/// Cache entry of a step whose weights were used at least once.
struct CachedKernel {
    /// The versions of the weights at the last use. An entry of other versions is stale.
    versions: Vec<u64>,
    /// The prepared weights; `None` if the weights were used but not prepared.
    prepared: Option<Arc<PreparedWeights>>,
}

/// Number of values in the kernel and bias of a step with a folded normalization; 0 without one.
pub(crate) fn folded_len(step: &Step) -> usize {
    step.normalization.as_ref().map_or(0, |_| step.weights[0].weight.count() + bias_len(step))
}

/// Number of values in the bias of a step with a folded normalization: one for each output channel.
pub(crate) fn bias_len(step: &Step) -> usize {
    step.normalization.as_ref().and_then(|norm| norm.weights.last()).map_or(0, |variance| variance.weight.count())
}

/// Writes kernel and bias of a step with its folded normalization.
fn fold(step: &Step, normalization: &FoldedNormalization, kernel: &mut [f32], bias: &mut [f32]) {
    kernel.copy_from_slice(&step.weights[0].weight.values());
    match step.weights.get(1) {
        Some(own) => bias.copy_from_slice(&own.weight.values()),
        None => bias.fill(0.0),
    }
    ops::fold(normalization, kernel, bias);
}

impl PreparedWeights {
    /// Prepares the weights of a step. `conv` is the convolution whose algorithm prescribes a layout, if it does.
    fn new(conv: Option<&Conv2d>, step: &Step) -> Option<Self> {
        let Some(normalization) = &step.normalization else {
            return Some(Self::Prepared(conv?.prepare(&step.weights[0].weight.values())?, None));
        };
        let (mut kernel, mut bias) = (vec![0.0; step.weights[0].weight.count()], vec![0.0; bias_len(step)]);
        fold(step, normalization, &mut kernel, &mut bias);
        Some(match conv.and_then(|conv| conv.prepare(&kernel)) {
            Some(prepared) => Self::Prepared(prepared, Some(bias)),
            None => Self::Folded(kernel, bias),
        })
    }

    /// The kernel, and the bias unless it is the step's own.
    fn get(&self) -> (Kernel<'_>, Option<&[f32]>) {
        match self {
            Self::Prepared(kernel, bias) => (Kernel::Prepared(kernel), bias.as_deref()),
            Self::Folded(kernel, bias) => (Kernel::Plain(kernel), Some(bias)),
        }
    }
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

    /// Calls `work` with kernel and bias of a convolution step, and with the scratch space that is left.
    ///
    /// A folded normalization is part of both. `conv` is the convolution whose algorithm prescribes a layout of the kernel, if it
    /// does.
    pub(crate) fn with_weights(
        &mut self,
        conv: Option<&Conv2d>,
        call: &StepCall<'_>,
        work: impl FnOnce(Kernel<'_>, Option<&[f32]>, &mut [f32]),
    ) {
        let (step, prepared) = (call.step, self.prepared_weights(conv, call));
        let own_bias = step.weights.get(1).map(|bias| bias.weight.values());
        let own_bias = own_bias.as_deref().map(Vec::as_slice);
        match (prepared, &step.normalization) {
            (Some(prepared), _) => {
                let (kernel, bias) = prepared.get();
                work(kernel, bias.or(own_bias), &mut self.scratch);
            }
            (None, Some(normalization)) => {
                let (folded, scratch) = self.scratch.split_at_mut(folded_len(step));
                let (kernel, bias) = folded.split_at_mut(step.weights[0].weight.count());
                fold(step, normalization, kernel, bias);
                work(Kernel::Plain(kernel), Some(bias), scratch);
            }
            (None, None) => work(Kernel::Plain(&step.weights[0].weight.values()), own_bias, &mut self.scratch),
        }
    }

    /// The prepared weights of a convolution step; `None` if this use doesn't cache them.
    fn prepared_weights(&self, conv: Option<&Conv2d>, call: &StepCall<'_>) -> Option<Arc<PreparedWeights>> {
        let step = call.step;
        let layout = conv.map(|conv| (conv.algorithm(), conv.prepared_len())).filter(|(_, length)| *length > 0);
        if layout.is_none() && step.normalization.is_none() || !self.policy.allows(call) {
            return None;
        }
        let normalization = step.normalization.as_ref().and_then(|norm| Some(norm.weights.last()?.weight.id()));
        let key = KernelKey { kernel: step.weights[0].weight.id(), normalization, layout };
        let versions: Vec<u64> = step.all_weights().map(|param| param.weight.version()).collect();
        let used_before = match self.lock_cache().get(&key).filter(|cached| cached.versions == versions) {
            Some(CachedKernel { prepared: Some(prepared), .. }) => return Some(Arc::clone(prepared)),
            entry => entry.is_some(),
        };
        // The cache is unlocked while the weights are prepared, so that forks don't wait for it.
        let worthwhile = used_before || self.policy == KernelCachePolicy::FrozenFirstUse;
        let prepared = if worthwhile { PreparedWeights::new(conv, step).map(Arc::new) } else { None };
        self.lock_cache().insert(key, CachedKernel { versions, prepared: prepared.clone() });
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
        let prepared = || workspace.prepared_weights(Some(&conv), &call).is_some();
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
        assert!((0..3).all(|_| workspace.prepared_weights(Some(&conv), &call).is_none()), "it is trained");
        program.steps[0].weights.iter_mut().for_each(|param| param.trainable = false);
        let call = || StepCall::of_program(&program, &program.steps[0], 1);
        // Convolving 256 samples takes long compared with preparing the kernel, and a smaller last batch must not change the
        // decision.
        assert!((0..3).all(|_| workspace.prepared_weights(Some(&conv), &StepCall { batch: 256, ..call() }).is_none()));
        assert!(workspace.prepared_weights(Some(&conv), &StepCall { batch: 256, chunked: true, ..call() }).is_some());
        assert!(workspace.prepared_weights(Some(&conv), &call()).is_some());

        program.steps[0].weights[0].weight.values_mut()[0] += 1.0;
        let (x, mut scratch) = (vec![0.5; 10 * 10 * 24], vec![0.0; conv.scratch_len()]);
        let [mut y, mut expected] = [(); 2].map(|()| vec![0.0; conv.output_len()]);
        let changed = workspace.prepared_weights(Some(&conv), &call()).unwrap();
        let (Kernel::Prepared(changed), None) = changed.get() else { panic!("a kernel in the Winograd domain") };
        conv.forward_prepared(&x, changed, None, Activation::Linear, &mut y, &mut scratch);
        let w = program.steps[0].weights[0].weight.values();
        conv.forward(&x, &w, None, Activation::Linear, &mut expected, &mut scratch);
        assert!(y == expected, "a stale kernel was used");
    }

    /// Kernel and bias of a folded step, as the first `uses` uses get them.
    fn folded(workspace: &mut Workspace, step: &Step, call: &StepCall<'_>, uses: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
        let mut weights = Vec::new();
        for _ in 0..uses {
            workspace.with_weights(None, call, |kernel, bias, _| match kernel {
                Kernel::Plain(kernel) => weights.push((kernel.to_vec(), bias.unwrap().to_vec())),
                Kernel::Prepared(_) => panic!("no algorithm prescribes a layout"),
            });
        }
        assert!(weights.iter().all(|(kernel, _)| kernel.len() == step.weights[0].weight.count()));
        weights
    }

    #[test]
    fn folded_weights_follow_those_of_the_normalization() {
        let input = Input::new([4, 4, 3]);
        let y = DepthwiseConv2D::new(3).call(&input).unwrap();
        let model = Model::new(&input, &BatchNormalization::new().call(&y).unwrap()).unwrap();
        let mut program = Program::of(&model, false, 0).unwrap();
        let norm = program.steps.remove(1);
        let step = &mut program.steps[0];
        step.all_weights().for_each(|param| param.weight.values_mut().fill(1.0));
        norm.weights.iter().for_each(|param| param.weight.values_mut().fill(1.0));
        step.normalization = Some(FoldedNormalization { op: norm.op, weights: norm.weights });
        for policy in [KernelCachePolicy::Off, KernelCachePolicy::SecondUse, KernelCachePolicy::FrozenFirstUse] {
            let mut workspace = Workspace::new(folded_len(&program.steps[0]), policy).unwrap();
            let step = &program.steps[0];
            let call = StepCall::of_program(&program, step, 1);
            // gamma / sqrt(variance + epsilon), then (bias - mean) * scale + beta.
            let expected = |gamma: f32| (vec![(f64::from(gamma) / 1.001_f64.sqrt()) as f32; 27], vec![1.0; 3]);
            let gamma = &step.normalization.as_ref().unwrap().weights[0].weight;
            for value in [1.0, 2.0] {
                gamma.set(vec![value; 3]).unwrap();
                assert_eq!(folded(&mut workspace, step, &call, 3), vec![expected(value); 3], "{policy:?}");
            }
        }
    }

    #[test]
    fn a_fork_shares_prepared_kernels() {
        let (program, conv) = (program(), conv());
        let call = StepCall::of_program(&program, &program.steps[0], 1);
        let workspace = Workspace::new(0, KernelCachePolicy::SecondUse).unwrap();
        let fork = workspace.fork();
        assert!(workspace.prepared_weights(Some(&conv), &call).is_none(), "used for the first time");
        let [prepared, shared] =
            [&fork, &workspace].map(|workspace| workspace.prepared_weights(Some(&conv), &call).unwrap());
        assert!(Arc::ptr_eq(&prepared, &shared));
    }
}
