//! Every method runs on the runtime that it is given: its executor, its memory and its number of threads.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use engraft_data::{Arrays, Batch, Dataset};
use engraft_ir::Precision;
use engraft_nn::prelude::*;
use engraft_nn::{ErrorKind, Result};
use engraft_plan::{Executor, Memory, Plan, PlanOptions, Session};
use engraft_reference::ReferenceExecutor;
use engraft_runtime::Runtime;
use engraft_train::{Fit, RunOptions, Speed, StepOptions, Task, Train};
use support::{data, dense, weights};

/// The reference executor, with memory of its own. Counts the sessions that it prepares.
#[derive(Debug, Default)]
struct Counting {
    prepared: AtomicUsize,
    available: Option<usize>,
}

impl Executor for Counting {
    fn plan_options(&self) -> PlanOptions {
        ReferenceExecutor.plan_options()
    }
    fn check_precision(&self, precision: Precision) -> Result<()> {
        ReferenceExecutor.check_precision(precision)
    }
    fn prepare(&self, plan: Plan) -> Result<Box<dyn Session>> {
        self.prepared.fetch_add(1, Ordering::Relaxed);
        ReferenceExecutor.prepare(plan)
    }
    fn memory(&self, plan: &Plan) -> Memory {
        ReferenceExecutor.memory(plan)
    }
    fn available_memory(&self) -> Option<usize> {
        self.available
    }
    fn name(&self) -> &str {
        "counting"
    }
    fn threads(&self) -> usize {
        1
    }
}

fn model() -> Model {
    let layers = Sequential::new().add(Input::new([3])).add(dense(6, 1).activation(Tanh).named("hidden"));
    let model = layers.add(dense(2, 2).activation(Softmax)).build().unwrap();
    model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

#[test]
fn every_method_prepares_its_sessions_with_the_executor_of_its_runtime() {
    let executor = Arc::new(Counting::default());
    let runtime = Runtime::new(Arc::clone(&executor) as Arc<dyn Executor>);
    let (model, data, options) = (model(), data(0, 16), RunOptions::from(5).runtime(&runtime));
    let Batch { x, y } = data.batch(&[0, 1, 2, 3, 4, 5]).unwrap();
    let prepared = || executor.prepared.swap(0, Ordering::Relaxed);

    let predicted = model.predict(&x, options).unwrap();
    assert_eq!(prepared(), 1);
    model.predict(&x, options).unwrap();
    assert_eq!(prepared(), 0, "the session is cached");
    let features = model.features(&x, "hidden", options).unwrap();
    assert_eq!(prepared(), 1);
    assert_eq!(model.predict(&features, options.from_layer("hidden")).unwrap(), predicted);
    assert_eq!(prepared(), 1);
    assert_eq!(model.evaluate(&data, options).unwrap().samples, 16);
    assert_eq!(prepared(), 1);
    model.fit(&data, Fit::new().validation(&data).runtime(&runtime)).unwrap();
    assert_eq!(prepared(), 2, "training and validation");
    model.train_on_batch_with(&x, &y, StepOptions::new().runtime(&runtime)).unwrap();
    assert_eq!(prepared(), 1);
    for task in [Task::Predict, Task::Train] {
        let speed = Speed::measure(&model, task, 4, 1, &runtime).unwrap();
        assert_eq!((prepared(), speed.isa.as_str()), (1, "counting"));
    }
}

#[test]
fn what_exceeds_the_memory_of_the_executor_is_refused_before_it_starts() {
    let executor = Arc::new(Counting { available: Some(16), ..Counting::default() });
    let runtime = Runtime::new(Arc::clone(&executor) as Arc<dyn Executor>);
    let (model, data, options) = (model(), data(0, 16), RunOptions::from(5).runtime(&runtime));
    let (Batch { x, y }, before) = (data.batch(&[0, 1]).unwrap(), weights(&model));
    let errors = [
        model.fit(&data, Fit::new().runtime(&runtime)).err(),
        model.train_on_batch_with(&x, &y, StepOptions::new().runtime(&runtime)).err(),
        model.evaluate(&data, options).err(),
        model.predict(&x, options).err(),
        model.features(&x, "hidden", options).err(),
        Speed::measure(&model, Task::Predict, 4, 1, &runtime).err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("only 16 B are available"), "{error}");
    }
    assert_eq!((executor.prepared.load(Ordering::Relaxed), weights(&model)), (0, before));
}

/// A dataset that records the number of threads that each batch may use.
struct Threads {
    data: Arrays,
    seen: Mutex<Vec<usize>>,
}

impl Dataset for Threads {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        self.seen.lock().unwrap().push(rayon::current_num_threads());
        self.data.batch(indices)
    }
}

#[test]
fn samples_are_read_on_as_many_threads_as_the_runtime_has() {
    for threads in [1, 3] {
        let (model, runtime) = (model(), Runtime::cpu(Some(threads)).unwrap());
        let [training, validation] = [(); 2].map(|()| Threads { data: data(0, 16), seen: Mutex::default() });
        model.fit(&training, Fit::new().epochs(2).batch_size(8).validation(&validation).runtime(&runtime)).unwrap();
        model.evaluate(&validation, RunOptions::from(4).runtime(&runtime)).unwrap();
        assert_eq!(training.seen.into_inner().unwrap(), [threads; 2 * 2]);
        assert_eq!(validation.seen.into_inner().unwrap(), [threads; 2 * 2 + 4]);
    }
}
