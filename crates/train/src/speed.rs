//! [`Speed`]: a benchmark of a model on this machine.

use std::time::{Duration, Instant};

use engraft_ir::random::Rng;
use engraft_nn::{Error, LossKind, Model, Result, Tensor};
use engraft_plan::{LabelledBatch, Memory, Plan, PlanOptions, Session, StepTime, Work};
use engraft_runtime::Runtime;

/// Warm-up steps, which aren't measured. The first step touches its memory for the first time. In prediction, the second step
/// caches prepared kernels.
const WARM_UP: usize = 2;

/// The task to measure: prediction or training.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::Runtime;
/// use engraft_train::{Speed, Task};
/// # let layers = Sequential::new().add(Input::new([8])).add(Dense::new(4).activation(Relu).named("hidden"));
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// let runtime = Runtime::shared()?;
/// let operations = |task| Speed::measure(&model, task, 4, 1, &runtime).map(|speed| speed.operations());
/// // The backward pass comes on top of the forward pass.
/// assert!(operations(Task::Train)? > operations(Task::Predict)?);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Computing the outputs of a batch.
    Predict,
    /// A training step, with the `trainable` flags as they are now.
    Train,
}

/// Times, memory and arithmetic of a [`Task`], measured on batches of noise.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::Runtime;
/// use engraft_train::{Speed, Task};
/// let model = Sequential::new().add(Input::new([8])).add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// let speed = Speed::measure(&model, Task::Train, 4, 3, &Runtime::shared()?)?;
/// assert_eq!(speed.steps.len(), 3);
/// // Forward pass and gradient with respect to the kernel of 8 x 2 numbers, for 4 samples.
/// assert_eq!(speed.operations(), 2 * 4 * (2 * 8 * 2));
/// assert_eq!(speed.samples_per_second(), 4.0 / speed.seconds_per_step());
/// assert!(speed.gflops() > 0.0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Speed {
    /// The number of samples per step.
    pub batch: usize,
    /// The time of each measured step, in order.
    pub steps: Vec<Duration>,
    /// The memory that the plan needs.
    pub memory: Memory,
    /// Time and arithmetic of each layer, in the order of the forward pass; empty if the executor doesn't measure steps.
    pub layers: Vec<LayerSpeed>,
    /// The measured peak rate of the executor in GFLOP/s (10⁹ floating-point operations per second); 0 if it can't be measured.
    pub peak_gflops: f64,
    /// The executor's hardware: on a CPU the instruction set, by its name in `ENGRAFT_ISA`.
    pub isa: String,
    operations: usize,
}

/// Time and arithmetic of one layer.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_runtime::Runtime;
/// use engraft_train::{LayerSpeed, Speed, Task};
/// # let layers = Sequential::new().add(Input::new([8])).add(Dense::new(4).activation(Relu).named("hidden"));
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// // `hidden` is a Dense layer from 8 to 4 values.
/// let speed = Speed::measure(&model, Task::Predict, 16, 1, &Runtime::shared()?)?;
/// let hidden: &LayerSpeed = speed.layers.iter().find(|layer| layer.name == "hidden").expect("a layer of the model");
/// assert_eq!(hidden.work.forward, 16 * (2 * 8 * 4));
/// assert_eq!(hidden.work.backward, 0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpeed {
    /// The layer's name.
    pub name: String,
    /// The layer's time in the median step.
    pub time: StepTime,
    /// The layer's floating-point operations in a step, for the whole batch.
    pub work: Work,
}

impl Speed {
    /// Measures `steps` steps of `batch` samples, after two warm-up steps. Training steps change the model's weights.
    ///
    /// # Errors
    /// 0 steps, a model of several inputs, training of a model that isn't compiled, a plan that doesn't fit into memory, an error
    /// of a step.
    pub fn measure(model: &Model, task: Task, batch: usize, steps: usize, runtime: &Runtime) -> Result<Self> {
        if steps == 0 {
            return Err(Error::new("steps to measure", "at least 1", 0));
        }
        model.cache().clear();
        let (mut session, memory) = runtime.session(batch, |batch, options| plan(model, task, batch, options))?;
        let works: Vec<(String, Work)> = works(session.plan(), batch);
        let (x, y) = noise(model, task, batch)?;
        let mut measured = Vec::with_capacity(steps);
        for _ in 0..WARM_UP {
            run(model, task, &mut *session, &x, &y)?;
        }
        for _ in 0..steps {
            let began = Instant::now();
            run(model, task, &mut *session, &x, &y)?;
            measured.push((began.elapsed(), session.step_times().to_vec()));
        }
        let operations = works.iter().map(|(_, work)| work.forward + work.backward).sum();
        let steps = measured.iter().map(|(time, _)| *time).collect();
        measured.sort_by_key(|(time, _)| *time);
        let layers = by_layer(works, &measured[measured.len() / 2].1);
        let executor = runtime.executor();
        let (peak_gflops, isa) = (executor.peak_gflops().unwrap_or(0.0), executor.name().to_owned());
        Ok(Self { batch, steps, memory, layers, peak_gflops, isa, operations })
    }

    /// The median time of a step, in seconds.
    pub fn seconds_per_step(&self) -> f64 {
        let mut steps = self.steps.clone();
        steps.sort();
        let middle = |index: usize| steps[index].as_secs_f64();
        // For an even number of steps, the mean of the two in the middle.
        (middle((steps.len() - 1) / 2) + middle(steps.len() / 2)) / 2.0
    }

    /// Samples per second, at the median time of a step.
    pub fn samples_per_second(&self) -> f64 {
        self.batch as f64 / self.seconds_per_step()
    }

    /// Floating-point operations of a step for the whole batch, counted as in [`Work`].
    pub fn operations(&self) -> usize {
        self.operations
    }

    /// The rate in GFLOP/s, from [`operations`](Self::operations). It may exceed the peak rate of the machine, as an algorithm
    /// such as Winograd does fewer operations than are counted.
    pub fn gflops(&self) -> f64 {
        self.operations as f64 / self.seconds_per_step().max(1e-9) / 1e9
    }
}

fn plan(model: &Model, task: Task, batch: usize, options: &PlanOptions) -> Result<Plan> {
    match task {
        Task::Predict => Plan::predict(model, batch, options),
        Task::Train => {
            let compiled = model.compiled_or_error()?;
            let (optimizer, loss) = (compiled.optimizer_or_error()?.clone(), compiled.loss_or_error()?);
            Plan::train(model, optimizer, loss, batch, 0, options)
        }
    }
}

fn run(model: &Model, task: Task, session: &mut dyn Session, x: &Tensor, y: &Tensor) -> Result<()> {
    match task {
        Task::Predict => session.predict(&[x]).map(|_| ()),
        Task::Train => {
            let compiled = model.compiled_or_error()?;
            let rate = compiled.optimizer_or_error()?.learning_rate().at(compiled.state.iterations());
            session.train_step(&LabelledBatch::new(&[x], y), rate, &compiled.state).map(|_| ())
        }
    }
}

/// A batch of random pixels, and targets in the form that the loss expects. Sample `i` has class `i % classes`.
fn noise(model: &Model, task: Task, batch: usize) -> Result<(Tensor, Tensor)> {
    if model.inputs().len() != 1 {
        return Err(Error::new(format_args!("model `{}`", model.name()), "one input", model.inputs().len()));
    }
    let shape = |sample: &[usize]| -> Vec<usize> { [&[batch], sample].concat() };
    let x = shape(model.input_shape());
    let mut rng = Rng::new(0);
    let pixels = (0..x.iter().product()).map(|_| rng.uniform(0.0, 255.0)).collect();
    let x = Tensor::new(x, pixels)?;
    if task == Task::Predict {
        return Ok((x, Tensor::zeros([0])));
    }
    let classes = model.output_shape().iter().product::<usize>();
    let class = |sample: usize| sample % classes.max(2);
    let y = match (model.compiled_or_error()?.loss_or_error()?.kind(), classes) {
        (LossKind::CategoricalCrossentropy | LossKind::BinaryCrossentropy, 2..) => {
            let row = |sample| (0..classes).map(move |unit| f32::from(u8::from(unit == class(sample))));
            Tensor::new(shape(model.output_shape()), (0..batch).flat_map(row).collect())?
        }
        _ => Tensor::new([batch, 1], (0..batch).map(|sample| class(sample) as f32).collect())?,
    };
    Ok((x, y))
}

/// The layer and the floating-point operations of each step, for the whole batch.
fn works(plan: &Plan, batch: usize) -> Vec<(String, Work)> {
    let of_batch = |work: Work| Work { forward: batch * work.forward, backward: batch * work.backward };
    let steps = plan.program().steps.iter().enumerate();
    steps.map(|(index, step)| (step.layer.clone(), of_batch(plan.work(index)))).collect()
}

/// The speed of each layer: sums the times and operations of consecutive steps of one layer.
fn by_layer(works: Vec<(String, Work)>, times: &[StepTime]) -> Vec<LayerSpeed> {
    let mut layers: Vec<LayerSpeed> = Vec::new();
    for ((name, work), time) in works.into_iter().zip(times) {
        match layers.last_mut().filter(|last| last.name == name) {
            Some(last) => {
                last.time.forward += time.forward;
                last.time.backward += time.backward;
                last.work.forward += work.forward;
                last.work.backward += work.backward;
            }
            None => layers.push(LayerSpeed { name, time: *time, work }),
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    fn runtime() -> Runtime {
        Runtime::shared().unwrap()
    }

    fn model(units: usize, loss: Loss) -> Model {
        let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
        let model = layers.add(Dense::new(4).activation(Relu).named("hidden")).add(Dense::new(units).named("top"));
        let model = model.build().unwrap();
        model.compile(Sgd::new(1e-6), loss.from_logits(true), []).unwrap();
        model
    }

    #[test]
    fn every_loss_has_targets() {
        for (units, loss) in [
            (3, Loss::categorical_crossentropy()),
            (3, Loss::sparse_categorical_crossentropy()),
            (1, Loss::binary_crossentropy()),
        ] {
            let speed = Speed::measure(&model(units, loss), Task::Train, 4, 2, &runtime()).unwrap();
            assert_eq!((speed.batch, speed.steps.len()), (4, 2));
        }
    }

    #[test]
    fn layers_stand_in_order_with_their_arithmetic() {
        let model = model(3, Loss::categorical_crossentropy());
        model.get_layer("hidden").unwrap().set_trainable(false);
        let speed = Speed::measure(&model, Task::Train, 2, 1, &runtime()).unwrap();
        let names: Vec<&str> = speed.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names[names.len() - 2..], ["hidden", "top"]);
        let [.., hidden, top] = &speed.layers[..] else { panic!("two layers") };
        assert_eq!(hidden.work, Work { forward: 2 * 2 * 12 * 4, backward: 0 });
        assert_eq!(hidden.time.backward, Duration::ZERO);
        assert_eq!(top.work, Work { forward: 2 * 2 * 4 * 3, backward: 2 * 2 * 4 * 3 });
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let steps = |millis: &[u64]| millis.iter().map(|&n| Duration::from_millis(n)).collect();
        let speed = |millis| Speed {
            batch: 8,
            steps: steps(millis),
            memory: Memory::default(),
            layers: Vec::new(),
            peak_gflops: 0.0,
            isa: "portable".into(),
            operations: 0,
        };
        assert_eq!(speed(&[9000, 1000, 2000]).seconds_per_step(), 2.0);
        assert_eq!(speed(&[4000, 1000, 2000, 9000]).seconds_per_step(), 3.0);
        assert_eq!(speed(&[2000]).samples_per_second(), 4.0);
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let model = model(3, Loss::categorical_crossentropy());
        let error = |steps, limit| {
            let runtime = runtime().memory_limit(limit);
            Speed::measure(&model, Task::Predict, 4, steps, &runtime).unwrap_err().to_string()
        };
        assert!(error(0, None).contains("at least 1"));
        assert!(error(1, Some(16)).contains("memory"), "{}", error(1, Some(16)));
    }
}
