//! [`ReferenceExecutor`]: makes sessions for plans.

use engraft_ir::Precision;
use engraft_nn::{Error, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};

use crate::session::ReferenceSession;

/// An executor for tests, which computes every operation from its definition in f64. It is far too slow for training.
///
/// Its sessions have copies of weights and optimizer slots, like those of an executor on a GPU:
/// [`synchronize`](engraft_plan::Session::synchronize) writes changes back to the model.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Executor, Plan, PlanOptions};
/// use engraft_reference::ReferenceExecutor;
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// model.weights()[0].set(vec![3.0, 4.0])?;
/// let plan = Plan::predict(&model, 1, &PlanOptions::default())?;
/// let mut session = ReferenceExecutor::default().prepare(plan)?;
/// let y = session.predict(&[&Tensor::new([1, 2], vec![1.0, 10.0])?])?;
/// assert_eq!(y[0].data(), [43.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceExecutor;

impl Executor for ReferenceExecutor {
    fn plan_options(&self) -> PlanOptions {
        PlanOptions::default()
    }

    fn check_precision(&self, precision: Precision) -> Result<()> {
        match precision {
            Precision::F32 => Ok(()),
            other => Err(Error::new("precision", Precision::F32, other)
                .hint("the reference executor rounds nothing between operations: leave it at f32")),
        }
    }

    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
        self.check_precision(plan.precision())?;
        Ok(Box::new(ReferenceSession::new(plan)))
    }

    fn memory(&self, plan: &Plan) -> Memory {
        plan.memory()
    }

    fn available_memory(&self) -> Option<usize> {
        None
    }

    fn name(&self) -> &str {
        "reference"
    }

    fn threads(&self) -> usize {
        1
    }
}
