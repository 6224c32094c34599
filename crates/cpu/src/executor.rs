//! The executor: threads, and sessions for plans.

use std::sync::Arc;

use engraft_ir::Precision;
use engraft_kernels::{Bf16, Isa, peak_gflops};
use engraft_nn::{Error, ErrorKind, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};

use crate::ops;
use crate::options::plan_options;
use crate::session::CpuSession;
use crate::step_call::StepCall;
use crate::workers::Workers;
use crate::workspace::Keeps;

/// Runs plans on the CPU: several threads may train and predict with one model, side by side.
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
    workers: Arc<Workers>,
    isa: Isa,
}

impl CpuExecutor {
    /// An executor of `threads` threads; of one for each core with `None`.
    ///
    /// # Errors
    /// No such number of threads can be had, or `ENGRAFT_ISA` asks for an instruction set that this CPU lacks.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let isa = Isa::chosen().map_err(|e| Error::from_source("CPU executor", e))?;
        let workers = Workers::new(threads).map_err(|e| Error::from_io("CPU executor", e))?;
        Ok(Self { workers: Arc::new(workers), isa })
    }

    /// The working space, in f32, of the step that needs the most.
    fn scratch_len(&self, plan: &Plan) -> usize {
        // The backward pass prepares the kernel of what it goes through, too.
        let keeps = |index| if plan.differentiates(index) { Keeps::Nothing } else { Keeps::of(plan) };
        let lengths = || calls(plan).enumerate().map(|(index, call)| ops::scratch_len(&call, keeps(index)));
        self.workers.run(|| lengths().max().unwrap_or(0))
    }

    /// What kernels that are kept prepared take, in f32.
    fn prepared_len(&self, plan: &Plan) -> usize {
        let keeps = Keeps::of(plan);
        calls(plan).map(|call| ops::prepared_len(&call, keeps)).sum()
    }
}

/// Every step, for as many samples as it is run for at a time.
fn calls(plan: &Plan) -> impl Iterator<Item = StepCall<'_>> {
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
                let unsupported = Error::from_source("precision", error).with_kind(ErrorKind::Unsupported);
                Err(unsupported.hint("leave it at f32, which gives the better results"))
            }
            _ => Ok(()),
        }
    }

    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
        self.check_precision(plan.precision())?;
        let scratch = self.scratch_len(&plan);
        Ok(Box::new(CpuSession::new(plan, Arc::clone(&self.workers), scratch)?))
    }

    fn memory(&self, plan: &Plan) -> Memory {
        Memory { scratch: 4 * (self.scratch_len(plan) + self.prepared_len(plan)), ..plan.memory() }
    }

    fn available_memory(&self) -> Option<usize> {
        engraft_memory::available()
    }

    /// The instruction set that its kernels use, as `ENGRAFT_ISA` names it.
    fn name(&self) -> &str {
        self.isa.name()
    }

    fn threads(&self) -> usize {
        self.workers.count()
    }

    fn peak_gflops(&self) -> Option<f64> {
        Some(self.workers.run(peak_gflops))
    }
}
