//! [`CpuExecutor`]: chooses threads and instruction set, and makes sessions that run plans.

use std::sync::Arc;

use engraft_ir::Precision;
use engraft_kernels::{Bf16, Isa, peak_gflops};
use engraft_nn::{Error, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};

use crate::ops;
use crate::plan_options::plan_options;
use crate::session::CpuSession;
use crate::step_call::StepCall;
use crate::thread_pools::ThreadPools;
use crate::workspace::KernelCachePolicy;

/// Runs plans on the CPU. Several threads may train and predict with one model at the same time.
///
/// ```
/// use engraft_cpu::CpuExecutor;
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Executor, Plan, Session};
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// model.weights()[0].set(vec![3.0, 4.0])?;
/// let cpu = CpuExecutor::new(None)?;
/// let mut session = cpu.prepare(Plan::predict(&model, 1, &cpu.plan_options())?)?;
/// let y = session.predict(&[&Tensor::new([1, 2], vec![1.0, 10.0])?])?;
/// assert_eq!(y[0].data(), [43.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CpuExecutor {
    pools: Arc<ThreadPools>,
    isa: Isa,
}

impl CpuExecutor {
    /// An executor with `threads` threads for each run; `None` means one thread for each core.
    ///
    /// ```
    /// use engraft_cpu::CpuExecutor;
    /// use engraft_plan::Executor;
    /// let cpu = CpuExecutor::new(Some(2))?;
    /// assert_eq!(cpu.threads(), 2);
    /// println!("kernels for {}", cpu.name());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system gives no such number of threads, or `ENGRAFT_ISA` names an instruction set that this CPU lacks.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let isa = Isa::chosen().map_err(|error| {
            let kind = error.kind().into();
            Error::from_source("CPU executor", error).with_kind(kind)
        })?;
        let pools = ThreadPools::new(threads).map_err(|e| Error::from_io("CPU executor", e))?;
        Ok(Self { pools: Arc::new(pools), isa })
    }

    /// Length of the scratch space that the most demanding step needs, in f32.
    fn scratch_len(&self, plan: &Plan) -> usize {
        // A backward pass doesn't use cached kernels: it prepares the kernel of its step in scratch space.
        let policy = KernelCachePolicy::of(plan);
        let len = |(index, call): (usize, StepCall<'_>)| ops::scratch_len(&call, policy, plan.differentiates(index));
        let lengths = || step_calls(plan).enumerate().map(len);
        self.pools.run(|| lengths().max().unwrap_or(0))
    }

    /// Total length of the prepared kernels that a session of this plan may cache, in f32.
    fn prepared_len(&self, plan: &Plan) -> usize {
        let policy = KernelCachePolicy::of(plan);
        step_calls(plan).map(|call| ops::prepared_len(&call, policy)).sum()
    }
}

/// One call of each step with the largest number of samples that it gets at a time: a chunk in the prefix, else the whole batch.
fn step_calls(plan: &Plan) -> impl Iterator<Item = StepCall<'_>> {
    plan.program().steps.iter().enumerate().map(move |(index, step)| {
        let chunked = plan.prefix().contains(&index);
        let samples = if chunked { plan.chunk() } else { plan.batch() };
        StepCall { chunked, ..StepCall::new(plan, step, samples) }
    })
}

impl Executor for CpuExecutor {
    fn plan_options(&self) -> PlanOptions {
        plan_options()
    }

    fn check_precision(&self, precision: Precision) -> Result<()> {
        match (precision, Bf16::detect()) {
            (Precision::Bf16, Err(error)) => {
                let unsupported = Error::from_source("precision", error).with_kind(error.kind().into());
                Err(unsupported.hint("leave it at f32, which gives the better results"))
            }
            _ => Ok(()),
        }
    }

    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
        self.check_precision(plan.precision())?;
        let scratch = self.scratch_len(&plan);
        Ok(Box::new(CpuSession::new(plan, Arc::clone(&self.pools), scratch)?))
    }

    fn memory(&self, plan: &Plan) -> Memory {
        Memory { scratch: 4 * (self.scratch_len(plan) + self.prepared_len(plan)), ..plan.memory() }
    }

    fn available_memory(&self) -> Option<usize> {
        engraft_memory::available()
    }

    /// The instruction set that the kernels use, as `ENGRAFT_ISA` names it.
    fn name(&self) -> &str {
        self.isa.name()
    }

    fn threads(&self) -> usize {
        self.pools.count()
    }

    fn peak_gflops(&self) -> Option<f64> {
        Some(self.pools.run(peak_gflops))
    }
}
