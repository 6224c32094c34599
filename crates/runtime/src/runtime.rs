//! Executor, number format and memory limit, as one value.

use std::fmt;
use std::sync::{Arc, OnceLock};

use engraft_cpu::CpuExecutor;
use engraft_ir::Precision;
use engraft_nn::{Model, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};

use crate::limits::{PROGRAM_BYTES, ensure_fits};
use crate::task::TaskKey;

static SHARED: OnceLock<Runtime> = OnceLock::new();

/// What models run with: an executor, the number format of products and a limit on memory. Cloning shares the executor.
///
/// ```
/// use engraft_runtime::Runtime;
/// let runtime = Runtime::cpu(Some(2))?.memory_limit(Some(2 << 30));
/// assert_eq!(runtime.threads(), 2);
/// assert!(runtime.available_memory().is_some_and(|bytes| bytes < 2 << 30));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Runtime {
    executor: Arc<dyn Executor>,
    precision: Precision,
    memory_limit: Option<usize>,
}

impl Runtime {
    /// Runs on this executor, in f32, with all the memory it has.
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        Self { executor, precision: Precision::default(), memory_limit: None }
    }

    /// Runs on `threads` threads of the CPU; on one for each core with `None`.
    ///
    /// # Errors
    /// No such number of threads can be had, or `ENGRAFT_ISA` asks for an instruction set that this CPU lacks.
    pub fn cpu(threads: Option<usize>) -> Result<Self> {
        Ok(Self::new(Arc::new(CpuExecutor::new(threads)?)))
    }

    /// The runtime of this process that is used unless another is given: all cores, made when it is first asked for.
    ///
    /// # Errors
    /// Those of [`cpu`](Self::cpu).
    pub fn shared() -> Result<Self> {
        match SHARED.get() {
            Some(runtime) => Ok(runtime.clone()),
            None => {
                let runtime = Self::cpu(None)?;
                Ok(SHARED.get_or_init(|| runtime).clone())
            }
        }
    }

    /// With products in this number format, as Keras' `set_dtype_policy("mixed_bfloat16")` has them. Weights and files stay in f32.
    ///
    /// ```
    /// use engraft_ir::Precision;
    /// use engraft_runtime::Runtime;
    /// match Runtime::shared()?.precision(Precision::Bf16) {
    ///     Ok(runtime) => assert_eq!(runtime.plan_options().precision, Precision::Bf16),
    ///     Err(error) => assert!(error.to_string().contains("bf16")),
    /// }
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The executor can't.
    pub fn precision(self, precision: Precision) -> Result<Self> {
        self.executor.check_precision(precision)?;
        Ok(Self { precision, ..self })
    }

    /// Bytes that this process may use in all, the program itself included; what the executor has with `None`. Plans are made to need less memory, or are
    /// refused, to stay below.
    #[must_use]
    pub fn memory_limit(self, bytes: Option<usize>) -> Self {
        Self { memory_limit: bytes, ..self }
    }

    /// The executor.
    pub fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// Threads that it works with.
    pub fn threads(&self) -> usize {
        self.executor.threads()
    }

    /// Bytes that plans may take: what the executor has, and no more than the limit leaves beside the program itself; `None`
    /// where neither is known.
    pub fn available_memory(&self) -> Option<usize> {
        let limit = self.memory_limit.map(|limit| limit.saturating_sub(PROGRAM_BYTES));
        self.executor.available_memory().into_iter().chain(limit).min()
    }

    /// The options of its plans: what suits the executor, in this runtime's number format.
    pub fn plan_options(&self) -> PlanOptions {
        self.executor.plan_options().precision(self.precision)
    }

    /// A session of `plan(batch)`, made by the options given to it: as it is if it fits into memory, else a
    /// [low-memory plan](PlanOptions::low_memory).
    ///
    /// # Errors
    /// Neither fits, with what would.
    pub fn session(
        &self,
        batch: usize,
        plan: impl Fn(usize, &PlanOptions) -> Result<Plan>,
    ) -> Result<(Box<dyn Session>, Memory)> {
        let (plan, memory) = self.fitting_plan(batch, plan)?;
        Ok((self.executor.prepare(plan)?, memory))
    }

    /// The plan of [`session`](Self::session), and what it takes.
    ///
    /// # Errors
    /// Those of [`session`](Self::session).
    pub fn fitting_plan(
        &self,
        batch: usize,
        plan: impl Fn(usize, &PlanOptions) -> Result<Plan>,
    ) -> Result<(Plan, Memory)> {
        let options = self.plan_options();
        let first = plan(batch, &options)?;
        let memory = self.executor.memory(&first);
        let Some(available) = self.available_memory().filter(|&available| memory.total() > available) else {
            return Ok((first, memory));
        };
        let smaller = |batch| plan(batch, &options)?.low_memory();
        let low = smaller(batch)?;
        let memory = self.executor.memory(&low);
        ensure_fits(&memory, available, batch, |batch| Ok(self.executor.memory(&smaller(batch)?).total()))?;
        Ok((low, memory))
    }

    /// Runs `work` with the session that the model keeps from the last call for the same task, else with a new one, which it keeps.
    ///
    /// # Errors
    /// Those of [`session`](Self::session) and of `work`.
    pub fn with_session<R>(
        &self,
        model: &Model,
        key: TaskKey,
        plan: impl Fn(usize, &PlanOptions) -> Result<Plan>,
        work: impl FnOnce(&mut dyn Session) -> Result<R>,
    ) -> Result<R> {
        let kept = model.cache().take::<Kept>().filter(|kept| kept.key == key && kept.runtime.is_same(self));
        let mut kept = match kept {
            Some(kept) => kept,
            None => {
                let (session, _) = self.session(key.batch(), plan)?;
                Kept { runtime: self.clone(), key, session }
            }
        };
        let result = work(&mut *kept.session);
        model.cache().put(kept);
        result
    }

    /// Whether both run in the same way on the same executor.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.executor, &other.executor)
            && self.precision == other.precision
            && self.memory_limit == other.memory_limit
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime({}, {} threads, {}", self.executor.name(), self.threads(), self.precision)?;
        match self.memory_limit {
            Some(bytes) => write!(f, ", at most {bytes} bytes)"),
            None => f.write_str(")"),
        }
    }
}

/// A session that a model keeps for the next call, and what it was made for.
struct Kept {
    runtime: Runtime,
    key: TaskKey,
    session: Box<dyn Session>,
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_kept_by_a_low_memory_plan_or_refused() {
        let conv = |name| Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = Sequential::new().add(Input::new([64, 64, 3])).add(conv("a")).add(MaxPooling2D::new(2));
        // Above the pooled image, the backward pass needs more at once than where the pooled image is needed.
        let wide = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = layers.add(wide("b")).add(wide("c")).add(GlobalAveragePooling2D::new());
        let model = layers.add(Dense::new(2).activation(Softmax)).build().unwrap();
        let plan = |batch, options: &PlanOptions| {
            Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), batch, 0, options)
        };
        let runtime = Runtime::cpu(Some(2)).unwrap();
        let first = plan(4, &runtime.plan_options()).unwrap();
        let whole = runtime.executor().memory(&first).total();
        let least = runtime.executor().memory(&first.low_memory().unwrap()).total();
        assert!(least < whole);
        let within = |limit: usize| {
            let runtime = runtime.clone().memory_limit(Some(limit + PROGRAM_BYTES));
            runtime.fitting_plan(4, plan).map(|(_, memory)| memory.total())
        };
        assert_eq!(within(whole).unwrap(), whole);
        assert_eq!(within(whole - 1).unwrap(), least);
        assert_eq!(within(least).unwrap(), least);
        let error = within(least - 1).unwrap_err().to_string();
        assert!(error.contains("the plan needs") && error.contains("a batch size of 2 would fit"), "{error}");
    }

    #[test]
    fn a_session_is_kept_for_the_same_task_on_the_same_runtime() {
        let model = Sequential::new().add(Input::new([2])).add(Dense::new(2)).build().unwrap();
        let [one, other] = [(); 2].map(|()| Runtime::cpu(Some(1)).unwrap());
        let made = std::cell::Cell::new(0);
        let run = |runtime: &Runtime, batch| {
            let plan = |batch, options: &PlanOptions| {
                made.set(made.get() + 1);
                Plan::predict(&model, batch, options)
            };
            runtime.with_session(&model, TaskKey::Predict { batch }, plan, |_| Ok(())).unwrap();
            made.get()
        };
        assert_eq!([run(&one, 1), run(&one, 1), run(&one, 2), run(&one, 2), run(&other, 2)], [1, 1, 2, 2, 3]);
    }
}
