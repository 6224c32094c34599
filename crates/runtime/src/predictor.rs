//! [`Predictor`]: a model that many threads use at once, each call in a session of its own.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engraft_nn::{Error, ErrorKind, Model, Result, Tensor};
use engraft_plan::{Memory, Plan, Session};

use crate::Runtime;

/// A model for concurrent prediction. Many threads may call one predictor, and no call waits for another.
///
/// Each call runs in its own session, with its own buffers and threads; a few sessions are kept for later calls. A server should
/// limit the number of concurrent calls, and so their memory. A call whose session doesn't fit into the runtime's memory is
/// refused.
///
/// # Reproducibility
/// The same batch gives the same bits, whatever other threads compute. The outputs of a sample may differ between batches of
/// different sizes, because kernels choose their algorithm by the size of the batch. The difference is less than 1e-5 of the
/// largest output.
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
    output_shape: Vec<usize>,
    runtime: Runtime,
    /// Memory of the weights and one session.
    memory: Memory,
    /// The session that others are forked from. It never runs, and so has no buffers.
    template: Mutex<Box<dyn Session>>,
    idle: Mutex<Vec<Box<dyn Session>>>,
    /// The number of sessions, idle or in use.
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
            output_shape: model.output_shape().clone(),
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
        let output = self.predict_in_batches(&mut *session, inputs);
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

    fn predict_in_batches(&self, session: &mut dyn Session, inputs: &[&Tensor]) -> Result<Tensor> {
        let samples = inputs.first().map_or(0, |input| input.batch());
        let mut output: Vec<f32> = Vec::with_capacity(samples * self.output_shape.iter().product::<usize>());
        for first in (0..samples).step_by(self.largest_batch) {
            let count = self.largest_batch.min(samples - first);
            match count == samples {
                true => output.extend(session.predict(inputs)?[0].data()),
                false => {
                    let parts: Vec<Tensor> = inputs.iter().map(|x| x.samples(first, count)).collect::<Result<_>>()?;
                    output.extend(session.predict(&parts.iter().collect::<Vec<_>>())?[0].data());
                }
            }
        }
        Tensor::new([&[samples], self.output_shape.as_slice()].concat(), output)
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
    use std::sync::Barrier;

    use engraft_nn::prelude::*;
    use engraft_nn::random::Rng;

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
        let limit = predictor.memory.total() + crate::limits::PROGRAM_BYTES;
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
