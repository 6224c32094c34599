//! [`Runtime`]: the executor, number format and memory limit that models run with, and how plans are fitted into memory.

use std::fmt;
use std::sync::{Arc, OnceLock};

use engraft_cpu::CpuExecutor;
use engraft_ir::Precision;
use engraft_nn::{Model, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};

use crate::memory_check::{PROGRAM_BYTES, ensure_fits};
use crate::session_key::SessionKey;

static SHARED: OnceLock<Runtime> = OnceLock::new();

/// The executor, number format and memory limit that models run with. Clones share the executor.
///
/// ```
/// use engraft_ir::Precision;
/// use engraft_runtime::Runtime;
/// let runtime = Runtime::cpu(Some(2))?.memory_limit(Some(2 << 30));
/// assert_eq!(runtime.threads(), 2);
/// assert!(!runtime.executor().name().is_empty());
/// assert_eq!(runtime.plan_options().precision, Precision::F32);
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
    /// A runtime with this executor, in f32, with all memory of the executor.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use engraft_cpu::CpuExecutor;
    /// use engraft_runtime::Runtime;
    /// let runtime = Runtime::new(Arc::new(CpuExecutor::new(Some(1))?));
    /// assert_eq!(runtime.executor().threads(), 1);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        Self { executor, precision: Precision::default(), memory_limit: None }
    }

    /// A runtime on the CPU with this number of threads; `None` means one per core.
    ///
    /// # Errors
    /// The system can't start that many threads, or `ENGRAFT_ISA` names an instruction set that this CPU doesn't have.
    pub fn cpu(threads: Option<usize>) -> Result<Self> {
        Ok(Self::new(Arc::new(CpuExecutor::new(threads)?)))
    }

    /// The default runtime of the process, with all cores of the CPU. It is made at the first call.
    ///
    /// ```
    /// use engraft_runtime::Runtime;
    /// assert!(Runtime::shared()?.threads() >= 1);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
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

    /// Sets the number format of matrix products and convolutions, as Keras' `set_dtype_policy("mixed_bfloat16")` does. Weights
    /// and files stay in f32.
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
    /// The executor can't compute in this format.
    pub fn precision(self, precision: Precision) -> Result<Self> {
        self.executor.check_precision(precision)?;
        Ok(Self { precision, ..self })
    }

    /// Limits the memory of the whole process to this many bytes. With `None`, plans may use all memory that the executor (such
    /// as the CPU) has available.
    ///
    /// A plan that would exceed the limit is replaced by a [low-memory plan](PlanOptions::low_memory), or refused if that doesn't
    /// fit either.
    #[must_use]
    pub fn memory_limit(self, bytes: Option<usize>) -> Self {
        Self { memory_limit: bytes, ..self }
    }

    /// The executor that runs plans.
    pub fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// The number of threads of the executor.
    pub fn threads(&self) -> usize {
        self.executor.threads()
    }

    /// Bytes that plans may use: the executor's memory, or the limit if that is lower. A part of the limit is reserved for the
    /// process itself. `None` if the executor's memory is unknown and no limit is set.
    pub fn available_memory(&self) -> Option<usize> {
        let limit = self.memory_limit.map(|limit| limit.saturating_sub(PROGRAM_BYTES));
        self.executor.available_memory().into_iter().chain(limit).min()
    }

    /// The plan options that suit the executor, in this runtime's number format.
    pub fn plan_options(&self) -> PlanOptions {
        self.executor.plan_options().precision(self.precision)
    }

    /// Makes a session of the plan that `plan` gives for `batch` samples, and tells its memory. If the plan doesn't fit into
    /// memory, a [low-memory plan](PlanOptions::low_memory) takes its place.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::Plan;
    /// use engraft_runtime::Runtime;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let (mut session, memory) =
    ///     Runtime::shared()?.session(16, |batch, options| Plan::predict(&model, batch, options))?;
    /// assert_eq!(session.predict(&[&Tensor::zeros([3, 4])])?, [Tensor::zeros([3, 2])]);
    /// assert_eq!(memory.weights, 4 * (4 * 2 + 2));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `plan`, and a plan that doesn't fit into memory. The error suggests a smaller batch size that would fit, if there
    /// is one.
    pub fn session(
        &self,
        batch: usize,
        plan: impl Fn(usize, &PlanOptions) -> Result<Plan>,
    ) -> Result<(Box<dyn Session>, Memory)> {
        let (plan, memory) = self.fitting_plan(batch, plan)?;
        Ok((self.executor.prepare(plan)?, memory))
    }

    /// The plan that [`session`](Self::session) would run, and its memory.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::Plan;
    /// use engraft_runtime::Runtime;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let plan_within = |limit| {
    ///     let runtime = Runtime::cpu(Some(1))?.memory_limit(Some(limit));
    ///     runtime.fitting_plan(16, |batch, options| Plan::predict(&model, batch, options))
    /// };
    /// let (plan, _memory) = plan_within(2 << 30)?;
    /// assert!(!plan.options().low_memory);
    /// assert!(plan_within(1 << 10).is_err());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
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

    /// Runs `work` with the model's cached session if its key and runtime are the same, else with a new session. The model caches
    /// the session for the next call.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// use engraft_runtime::{Runtime, SessionKey};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let (runtime, x) = (Runtime::shared()?, Tensor::zeros([16, 4]));
    /// for _ in 0..2 {
    ///     // The second iteration makes no new plan.
    ///     let plan = |batch, options: &PlanOptions| Plan::predict(&model, batch, options);
    ///     let key = SessionKey::Predict { batch: 16 };
    ///     let outputs = runtime.with_session(&model, key, plan, |session| session.predict(&[&x]))?;
    ///     assert_eq!(outputs[0].shape(), [16, 2]);
    /// }
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`session`](Self::session) and of `work`.
    pub fn with_session<R>(
        &self,
        model: &Model,
        key: SessionKey,
        plan: impl Fn(usize, &PlanOptions) -> Result<Plan>,
        work: impl FnOnce(&mut dyn Session) -> Result<R>,
    ) -> Result<R> {
        let cached =
            model.cache().take::<CachedSession>().filter(|cached| cached.key == key && cached.runtime.is_same(self));
        let mut cached = match cached {
            Some(cached) => cached,
            None => {
                let (session, _) = self.session(key.batch(), plan)?;
                CachedSession { runtime: self.clone(), key, session }
            }
        };
        let result = work(&mut *cached.session);
        model.cache().put(cached);
        result
    }

    /// Whether both runtimes have the same executor, number format and memory limit.
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

/// A session that a model caches for the next call, with its key.
struct CachedSession {
    runtime: Runtime,
    key: SessionKey,
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
        // Memory peaks in the backward pass of the wide layers. In a low-memory plan, the pooled image below is recomputed later,
        // so it isn't live at the peak.
        let wide = |name| Conv2D::new(64, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = layers.add(wide("b")).add(wide("c")).add(GlobalAveragePooling2D::new());
        let model = layers.add(Dense::new(2).activation(Softmax)).build().unwrap();
        let plan = |batch, options: &PlanOptions| {
            Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), batch, 0, options)
        };
        let runtime = Runtime::cpu(Some(2)).unwrap();
        let first = plan(4, &runtime.plan_options()).unwrap();
        let full = runtime.executor().memory(&first).total();
        let least = runtime.executor().memory(&first.low_memory().unwrap()).total();
        assert!(least < full);
        let within = |limit: usize| {
            let runtime = runtime.clone().memory_limit(Some(limit + PROGRAM_BYTES));
            runtime.fitting_plan(4, plan).map(|(_, memory)| memory.total())
        };
        assert_eq!(within(full).unwrap(), full);
        assert_eq!(within(full - 1).unwrap(), least);
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
            runtime.with_session(&model, SessionKey::Predict { batch }, plan, |_| Ok(())).unwrap();
            made.get()
        };
        assert_eq!([run(&one, 1), run(&one, 1), run(&one, 2), run(&one, 2), run(&other, 2)], [1, 1, 2, 2, 3]);
    }
}
