//! The executor: threads, and sessions for plans.

use std::sync::Arc;

use engraft_nn::plan::{Memory, Plan};
use engraft_nn::{Error, Executor, Result, Session};

use crate::ops::{self, StepCall};
use crate::session::CpuSession;
use crate::workers::Workers;

/// Runs plans on the CPU, one run after the other: several threads may train and predict with one model.
///
/// ```
/// use engraft_cpu::CpuExecutor;
/// use engraft_nn::plan::Plan;
/// use engraft_nn::prelude::*;
/// use engraft_nn::Executor;
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// model.weights()[0].set(vec![3.0, 4.0])?;
/// let mut session = CpuExecutor::new(None)?.prepare(Plan::predict(&model, 1)?)?;
/// let y = session.predict(&[&Tensor::new([1, 2], vec![1.0, 10.0])?])?;
/// assert_eq!(y[0].data(), [43.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CpuExecutor {
    workers: Arc<Workers>,
}

impl CpuExecutor {
    /// An executor of `threads` threads; of one for each core with `None`.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let workers = Workers::new(threads).map_err(|e| Error::because("CPU executor", e))?;
        Ok(Self { workers: Arc::new(workers) })
    }

    /// How many threads it works with.
    pub fn threads(&self) -> usize {
        self.workers.count()
    }

    /// The working space, in f32, of the step that needs the most.
    fn scratch_len(&self, plan: &Plan) -> usize {
        self.workers.run(|| {
            let samples = |index| if plan.prefix().contains(&index) { plan.chunk() } else { plan.batch() };
            let steps = plan.program().steps.iter().enumerate();
            steps.map(|(i, step)| ops::scratch_len(&StepCall::new(plan, step, samples(i)))).max().unwrap_or(0)
        })
    }
}

impl Executor for CpuExecutor {
    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
        let scratch = self.scratch_len(&plan);
        Ok(Box::new(CpuSession::new(plan, Arc::clone(&self.workers), scratch)?))
    }

    fn memory(&self, plan: &Plan) -> Memory {
        Memory { scratch: 4 * self.scratch_len(plan), ..plan.memory() }
    }
}
