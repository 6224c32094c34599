//! [`Predictor`]: a model that many threads use at once, each call in a session of its own.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engraft_nn::{Error, ErrorKind, Model, Result, Tensor};
use engraft_plan::{Memory, Plan, Session};

use crate::{Runtime, predict_in_batches};

/// A model for concurrent prediction. Many threads may call one predictor, and no call waits for another.
///
/// Each call runs in its own session, with its own buffers and threads; a few sessions are kept for later calls. A server should
/// limit the number of concurrent calls, and so their memory. A call whose session doesn't fit into the runtime's memory is
/// refused.
///
/// # Reproducibility
/// A batch gives the bits that `predict` of the crate `engraft-train` gives for it, whatever other threads compute. The outputs
/// of a sample may differ from batch to batch, as an executor is free to compute batches of another size in another way. The
/// difference is at most 1e-5 of the largest output. The CPU executor computes a sample in the same way in every batch, so there
/// is none.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::{Predictor, Runtime};
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(3).activation(Softmax)).build()?;
/// let predictor = Predictor::new(&model, 8, &Runtime::shared()?)?;
/// let x = Tensor::new([4, 2], vec![0.5; 8])?;
/// let expected = predictor.predict(&x)?;
/// std::thread::scope(|scope| {
///     let calls = [(); 3].map(|()| scope.spawn(|| predictor.predict(&x)));
///     calls.into_iter().try_for_each(|call| {
///         assert_eq!(call.join().expect("no panic")?, expected);
///         Ok::<(), engraft_nn::Error>(())
///     })
/// })?;
/// // More samples than the largest batch are computed in several batches.
/// assert_eq!(predictor.largest_batch(), 8);
/// assert_eq!(predictor.predict(&Tensor::zeros([20, 2]))?.shape(), [20, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct Predictor {
    largest_batch: usize,
    runtime: Runtime,
    /// Memory of the weights and one session.
    memory: Memory,
    /// The session that others are forked from. It never runs, and so has no buffers.
    template: Mutex<Box<dyn Session>>,
    idle: Mutex<Vec<Box<dyn Session>>>,
    /// The number of sessions, idle or in use, not counting `template`.
    sessions: AtomicUsize,
}

/// The maximum number of sessions that are kept for later calls.
const MAX_IDLE: usize = 8;

impl Predictor {
    /// A predictor of a model with one output. Calls with more than `largest_batch` samples are computed in several batches.
    ///
    /// # Errors
    /// A model of several outputs, a batch of 0 samples, a plan that doesn't fit into memory.
    pub fn new(model: &Model, largest_batch: usize, runtime: &Runtime) -> Result<Self> {
        if model.outputs().len() != 1 {
            let error = Error::new("Predictor", "a model with one output", model.outputs().len());
            return Err(error.hint("take one of them: Model::new(model.inputs(), &model.outputs()[0])"));
        }
        let (session, memory) =
            runtime.session(largest_batch, |batch, options| Plan::predict(model, batch, options))?;
        Ok(Self {
            largest_batch,
            runtime: runtime.clone(),
            memory,
            template: Mutex::new(session.fork()?),
            idle: Mutex::new(vec![session]),
            sessions: AtomicUsize::new(1),
        })
    }

    /// Computes the outputs for `x: [n, ..]`.
    ///
    /// # Errors
    /// A wrong input shape, or not enough memory for one more session.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.predict_inputs(&[x])
    }

    /// Computes the outputs of a model of several inputs, `[n, ..]` each, in the order of the model's inputs.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_runtime::{Predictor, Runtime};
    /// let (color, size) = (Input::new([3]), Input::new([2]));
    /// let both = Concatenate::new().call([&color, &size])?;
    /// let model = Model::new([&color, &size], &Dense::new(1).call(&both)?)?;
    /// let predictor = Predictor::new(&model, 8, &Runtime::shared()?)?;
    /// let y = predictor.predict_inputs(&[&Tensor::zeros([4, 3]), &Tensor::zeros([4, 2])])?;
    /// assert_eq!(y.shape(), [4, 1]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`predict`](Self::predict).
    pub fn predict_inputs(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let mut session = self.take()?;
        let output = predict_in_batches(&mut *session, inputs);
        self.put_back(session);
        output
    }

    /// The maximum number of samples that are computed at a time.
    pub fn largest_batch(&self) -> usize {
        self.largest_batch
    }

    /// An idle session, or a new one.
    fn take(&self) -> Result<Box<dyn Session>> {
        if let Some(session) = lock(&self.idle).pop() {
            return Ok(session);
        }
        let sessions = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let forked = self.check_memory(sessions).and_then(|()| lock(&self.template).fork());
        forked.inspect_err(|_| {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn put_back(&self, session: Box<dyn Session>) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(session);
        } else {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Checks that this number of sessions fits into memory.
    fn check_memory(&self, sessions: usize) -> Result<()> {
        let needed = self.memory.weights + sessions.saturating_mul(self.memory.total() - self.memory.weights);
        match self.runtime.available_memory() {
            Some(available) if needed > available => {
                let error = format!("{sessions} calls at once need {needed} bytes, but only {available} are available");
                Err(Error::because("Predictor", error)
                    .with_kind(ErrorKind::OutOfMemory)
                    .hint("let fewer calls run at once, or make the largest batch smaller"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predictor(batches of up to {}, {} idle sessions)", self.largest_batch, lock(&self.idle).len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, Condvar};
    use std::time::Duration;

    use engraft_cpu::CpuExecutor;
    use engraft_ir::Precision;
    use engraft_nn::OptimizerState;
    use engraft_nn::prelude::*;
    use engraft_nn::random::Rng;
    use engraft_plan::{Executor, GradientReducer, Gradients, LabelledBatch, PlanOptions, StepOutput, Update};

    use super::*;

    /// A model with convolutions that use different algorithms, a normalization and a Dense layer.
    fn model() -> Model {
        let x = Input::new([24, 24, 3]);
        let conv = |filters, size: usize| Conv2D::new(filters, size).padding(Padding::Same).activation(Relu);
        let y = conv(32, 3).call(&conv(24, 3).call(&x).unwrap()).unwrap();
        let y = BatchNormalization::new().call(&conv(16, 1).call(&MaxPooling2D::new(2).call(&y).unwrap()).unwrap());
        let y = Dense::new(64).activation(Relu).call(&Flatten::new().call(&y.unwrap()).unwrap()).unwrap();
        Model::new(&x, &Dense::new(5).activation(Softmax).call(&y).unwrap()).unwrap()
    }

    fn photos(count: usize) -> Tensor {
        let mut rng = Rng::new(1);
        let pixels = (0..count * 24 * 24 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
        Tensor::new([count, 24, 24, 3], pixels).unwrap()
    }

    #[test]
    fn calls_side_by_side_give_the_bits_of_a_call_alone() {
        let predictor = Predictor::new(&model(), 8, &Runtime::cpu(Some(2)).unwrap()).unwrap();
        let batches = [1, 3, 8, 11].map(photos);
        let expected = batches.each_ref().map(|x| predictor.predict(x).unwrap());
        let begin = Barrier::new(8);
        std::thread::scope(|scope| {
            for caller in 0..8 {
                let (predictor, begin, x, expected) = (&predictor, &begin, &batches[caller % 4], &expected[caller % 4]);
                scope.spawn(move || {
                    begin.wait();
                    (0..20).for_each(|_| assert_eq!(predictor.predict(x).unwrap(), *expected));
                });
            }
        });
    }

    /// Where two runs of a session meet: each waits until the other one runs too.
    #[derive(Debug, Default)]
    struct MeetingPoint {
        arrived: Mutex<usize>,
        both: Condvar,
    }

    impl MeetingPoint {
        fn meet(&self) -> Result<()> {
            let mut arrived = lock(&self.arrived);
            *arrived += 1;
            self.both.notify_all();
            // Far more time than a call takes: calls that run one after the other would wait forever.
            let alone = |arrived: &mut usize| *arrived < 2;
            let (_arrived, wait) = self
                .both
                .wait_timeout_while(arrived, Duration::from_secs(20), alone)
                .unwrap_or_else(PoisonError::into_inner);
            if wait.timed_out() {
                Err(Error::because("session", "no other call runs at the same time"))
            } else {
                Ok(())
            }
        }
    }

    /// The CPU executor, with sessions that meet before they compute.
    #[derive(Debug)]
    struct Meeting(CpuExecutor, Arc<MeetingPoint>);

    impl Executor for Meeting {
        fn plan_options(&self) -> PlanOptions {
            self.0.plan_options()
        }
        fn check_precision(&self, precision: Precision) -> Result<()> {
            self.0.check_precision(precision)
        }
        fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
            Ok(Box::new(MeetingSession(self.0.prepare(plan)?, Arc::clone(&self.1))))
        }
        fn memory(&self, plan: &Plan) -> Memory {
            self.0.memory(plan)
        }
        fn available_memory(&self) -> Option<usize> {
            self.0.available_memory()
        }
        fn name(&self) -> &str {
            self.0.name()
        }
        fn threads(&self) -> usize {
            self.0.threads()
        }
    }

    struct MeetingSession(Box<dyn Session>, Arc<MeetingPoint>);

    impl Session for MeetingSession {
        fn plan(&self) -> &Plan {
            self.0.plan()
        }
        fn predict(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
            self.1.meet()?;
            self.0.predict(inputs)
        }
        fn evaluate(&mut self, batch: &LabelledBatch<'_>) -> Result<StepOutput> {
            self.0.evaluate(batch)
        }
        fn forward_backward(
            &mut self,
            batch: &LabelledBatch<'_>,
            iteration: u64,
            reducer: &mut dyn GradientReducer,
        ) -> Result<StepOutput> {
            self.0.forward_backward(batch, iteration, reducer)
        }
        fn apply(&mut self, update: Update, state: &OptimizerState) -> Result<()> {
            self.0.apply(update, state)
        }
        fn gradients(&mut self, inputs: &[&Tensor], upstream: &[&Tensor], iteration: u64) -> Result<Gradients> {
            self.0.gradients(inputs, upstream, iteration)
        }
        fn fork(&self) -> Result<Box<dyn Session>> {
            Ok(Box::new(Self(self.0.fork()?, Arc::clone(&self.1))))
        }
    }

    #[test]
    fn two_calls_compute_at_the_same_time() {
        let executor = Meeting(CpuExecutor::new(Some(1)).unwrap(), Arc::default());
        let predictor = Predictor::new(&model(), 8, &Runtime::new(Arc::new(executor))).unwrap();
        let x = photos(2);
        std::thread::scope(|scope| {
            let calls = [(); 2].map(|()| scope.spawn(|| predictor.predict(&x)));
            calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap().unwrap().shape(), [2, 5]));
        });
    }

    #[test]
    fn a_sample_gives_nearly_the_same_in_any_batch() {
        let predictor = Predictor::new(&model(), 8, &Runtime::cpu(Some(2)).unwrap()).unwrap();
        let all = photos(11);
        let together = predictor.predict(&all).unwrap();
        let largest = together.data().iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
        for size in [1, 2, 5] {
            for first in (0..11 - size).step_by(size) {
                let y = predictor.predict(&all.samples(first, size).unwrap()).unwrap();
                let same = &together.data()[first * 5..][..size * 5];
                assert!(y.data().iter().zip(same).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{size} from {first}");
            }
        }
    }

    #[test]
    fn a_session_beyond_the_memory_is_refused() {
        let runtime = Runtime::cpu(Some(1)).unwrap();
        let predictor = Predictor::new(&model(), 8, &runtime).unwrap();
        let limit = predictor.memory.total() + crate::memory_check::PROGRAM_BYTES;
        let predictor = Predictor::new(&model(), 8, &runtime.memory_limit(Some(limit))).unwrap();
        let first = predictor.take().unwrap();
        let error = predictor.take().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("2 calls at once need"), "{error}");
        predictor.put_back(first);
        assert_eq!(predictor.predict(&photos(2)).unwrap().shape(), [2, 5]);
    }

    #[test]
    fn batches_of_nothing_and_of_the_wrong_shape() {
        let predictor = Predictor::new(&model(), 8, &Runtime::cpu(Some(1)).unwrap()).unwrap();
        assert_eq!(predictor.predict(&photos(0)).unwrap().shape(), [0, 5]);
        let error = predictor.predict(&Tensor::zeros([2, 3])).unwrap_err().to_string();
        assert!(error.contains("input: expected [2, 24, 24, 3], received [2, 3]"), "{error}");
        assert_eq!(predictor.predict(&photos(2)).unwrap().shape(), [2, 5], "it goes on after an error");
    }
}
