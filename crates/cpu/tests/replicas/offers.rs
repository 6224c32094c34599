//! What sessions tell a reducer, and when: gradients offered while the backward pass runs, and failed steps. Both executors.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Barrier, Mutex};

use engraft_cpu::CpuExecutor;
use engraft_nn::prelude::*;
use engraft_nn::{Error, ErrorKind, Result, Weight};
use engraft_plan::{BatchPlace, Executor, GradientReducer, LabelledBatch, Plan, Session};
use engraft_reference::ReferenceExecutor;

use crate::reducers::{Exchange, Replica};
use crate::support::{normal, one_hot};
use crate::{CLASSES, REPLICAS, part, randomized, sgd, top};

fn executors() -> [Box<dyn Executor>; 2] {
    [Box::new(CpuExecutor::new(Some(1)).unwrap()), Box::new(ReferenceExecutor)]
}

/// A session whose plan folds no updates.
fn session(executor: &dyn Executor, model: &Model, batch: usize) -> Box<dyn Session> {
    let (options, loss) = (executor.plan_options().fold_updates(false), Loss::categorical_crossentropy());
    executor.prepare(Plan::train(model, sgd(), loss, batch, 5, &options).unwrap()).unwrap()
}

/// A replica that sends gradients to the other in `offer` and adds them in `collect`. It checks that `collect` gets the very
/// gradients that were offered, in the same order.
struct Offered {
    number: usize,
    to_other: Sender<Vec<f32>>,
    from_other: Receiver<Vec<f32>>,
    /// Sums the statistics of batch normalization over the replicas.
    exchange: Arc<Exchange>,
    waiting: VecDeque<(String, Vec<f32>)>,
    sums: Vec<(String, Vec<f32>)>,
    calls: Vec<String>,
}

impl GradientReducer for Offered {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: REPLICAS * samples }
    }

    fn offer(&mut self, weight: &Weight, gradient: &[f32]) -> Result<()> {
        self.calls.push(format!("offer {}", weight.path()));
        self.waiting.push_back((weight.path(), gradient.to_vec()));
        self.to_other.send(gradient.to_vec()).unwrap();
        Ok(())
    }

    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        self.calls.push(format!("collect {}", weight.path()));
        let (path, own) = self.waiting.pop_front().unwrap();
        assert_eq!(path, weight.path(), "collected in the order of the offers");
        assert!(*gradient == own, "{path} was not final when it was offered");
        let other = self.from_other.recv().unwrap();
        let add = |(&own, other): (&f32, f32)| (f64::from(own) + f64::from(other)) as f32;
        let sum: Vec<f32> = own.iter().zip(other).map(add).collect();
        gradient.copy_from_slice(&sum);
        self.sums.push((path, sum));
        Ok(())
    }

    fn sum_statistics(&mut self, sums: &mut [f64]) -> Result<()> {
        self.calls.push("statistics".to_owned());
        sums.copy_from_slice(&self.exchange.sum(self.number, sums.to_vec()));
        Ok(())
    }
}

/// A convolution that is called twice, below and above a batch normalization.
fn shared() -> Model {
    let x = Input::new([8, 8, 3]);
    let conv = Conv2D::new(3, 3).padding(Padding::Same).activation(Tanh).named("shared").into_layer();
    let norm = BatchNormalization::new().named("norm").call(&conv.call(&x).unwrap()).unwrap();
    let y = GlobalAveragePooling2D::new().call(&conv.call(&norm).unwrap()).unwrap();
    randomized(&x, &top().call(&y).unwrap())
}

/// Runs `forward_backward` with each of these reducers on half of a batch of 16, each in its own thread. Returns the reducers.
fn replicas<R: GradientReducer>(executor: &dyn Executor, reducers: [R; REPLICAS]) -> [R; REPLICAS] {
    let (x, y) = (normal(&[16, 8, 8, 3], 40), one_hot(16, CLASSES));
    std::thread::scope(|scope| {
        let mut number = 0;
        let threads = reducers.map(|mut reducer| {
            let rows = 8 * number..8 * (number + 1);
            let (x, y) = (part(&x, rows.clone()), part(&y, rows));
            number += 1;
            scope.spawn(move || {
                let mut session = session(executor, &shared(), 8);
                session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut reducer).unwrap();
                reducer
            })
        });
        threads.map(|thread| thread.join().unwrap())
    })
}

fn exchange() -> Arc<Exchange> {
    Arc::new(Exchange { barrier: Barrier::new(REPLICAS), parts: Mutex::default() })
}

#[test]
fn gradients_are_offered_as_soon_as_they_are_final() {
    for executor in executors() {
        let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
        let statistics = exchange();
        let mut ends = [(to_second, from_second), (to_first, from_first)].into_iter().zip(0..);
        let reducers = [(); REPLICAS].map(|()| {
            let ((to_other, from_other), number) = ends.next().unwrap();
            let (waiting, sums, calls, exchange) = (VecDeque::new(), Vec::new(), Vec::new(), Arc::clone(&statistics));
            Offered { number, to_other, from_other, exchange, waiting, sums, calls }
        });
        let [first, second] = replicas(&*executor, reducers);

        let weights =
            ["top/kernel", "top/bias", "norm/gamma", "norm/beta", "shared/kernel", "shared/bias"].map(str::to_owned);
        let offers = |range: std::ops::Range<usize>| weights[range].iter().map(|path| format!("offer {path}"));
        let sums = |count: usize| vec!["statistics".to_owned(); count];
        // The batch normalization sums statistics twice in the forward pass. In the backward pass it sums them after the layer
        // above has offered its gradients. The shared layer offers nothing until both of its calls have contributed.
        let expected: Vec<String> = sums(2)
            .into_iter()
            .chain(offers(0..2))
            .chain(sums(1))
            .chain(offers(2..6))
            .chain(weights.iter().map(|path| format!("collect {path}")))
            .collect();
        assert_eq!(first.calls, expected, "{}", executor.name());
        assert_eq!(second.calls, expected, "{}", executor.name());

        let exchange = exchange();
        let reducers = [0, 1].map(|number| Replica {
            number,
            exchange: Arc::clone(&exchange),
            synchronizes_statistics: true,
            sums: Vec::new(),
        });
        let collected = replicas(&*executor, reducers);
        assert!(first.sums == collected[0].sums && second.sums == collected[1].sums, "{}", executor.name());
    }
}

/// A replica that sends its gradients to another, and closes the connection in `abort`.
struct Connected {
    number: usize,
    to_other: Option<Sender<Vec<f32>>>,
    from_other: Receiver<Vec<f32>>,
}

impl GradientReducer for Connected {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: REPLICAS * samples }
    }

    fn collect(&mut self, weight: &Weight, _gradient: &mut [f32]) -> Result<()> {
        // A real reducer waits here. The other replica has failed before, so there is nothing to wait for in this test.
        match self.from_other.try_recv() {
            Err(TryRecvError::Disconnected) => Err(Error::because(weight.path(), "the other replica has failed")),
            received => panic!("this replica would wait without end: {received:?}"),
        }
    }

    fn abort(&mut self, _error: &Error) {
        self.to_other = None;
    }
}

#[test]
fn a_replica_that_fails_leaves_no_other_waiting() {
    let (x, y) = (normal(&[8, 8, 8, 3], 40), one_hot(8, CLASSES));
    let not_finite = Tensor::new([8, 8, 8, 3], vec![f32::NAN; 8 * 8 * 8 * 3]).unwrap();
    let bad = [
        (normal(&[8, 9, 8, 3], 1), ErrorKind::InvalidArgument),
        (normal(&[9, 8, 8, 3], 1), ErrorKind::InvalidArgument),
        (not_finite, ErrorKind::NonFinite),
    ];
    for executor in executors() {
        let model = shared();
        let [mut first, mut second] = [(); REPLICAS].map(|()| session(&*executor, &model, 8));
        for (bad, kind) in &bad {
            let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
            let mut good_reducer = Connected { number: 0, to_other: Some(to_second), from_other: from_second };
            let mut bad_reducer = Connected { number: 1, to_other: Some(to_first), from_other: from_first };
            let inputs = [bad];
            let error = first.forward_backward(&LabelledBatch::new(&inputs, &y), 0, &mut bad_reducer).unwrap_err();
            assert_eq!(error.kind(), *kind, "{}: {error}", executor.name());
            let error = second.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut good_reducer).unwrap_err();
            assert!(error.to_string().contains("the other replica has failed"), "{}: {error}", executor.name());
        }
    }
}
