//! Reducers that fail, and plans whose folded gradients can't be summed over replicas.

use std::sync::Arc;

use engraft_nn::prelude::*;
use engraft_nn::{Error, ErrorKind, OptimizerState, Result, Slots, Weight};
use engraft_plan::{BatchPlace, GradientReducer, LabelledBatch, SingleReplica, Update};

use crate::reducers::Recorder;
use crate::support::{normal, one_hot, options, weights};
use crate::{CLASSES, normalized, plain, session, sgd};

/// A reducer that fails at one call of `method`: at the `left`-th from now.
struct Failing {
    method: &'static str,
    left: usize,
}

impl Failing {
    fn called(&mut self, method: &str) -> Result<()> {
        if self.method != method {
            return Ok(());
        }
        self.left -= 1;
        match self.left {
            0 => Err(Error::because("replica 1", "the connection was lost").with_kind(ErrorKind::Io)),
            _ => Ok(()),
        }
    }
}

impl GradientReducer for Failing {
    fn place(&self, samples: usize) -> BatchPlace {
        SingleReplica.place(samples)
    }

    fn offer(&mut self, _weight: &Weight, _gradient: &[f32]) -> Result<()> {
        self.called("offer")
    }

    fn collect(&mut self, _weight: &Weight, _gradient: &mut [f32]) -> Result<()> {
        self.called("collect")
    }

    fn sum_statistics(&mut self, _sums: &mut [f64]) -> Result<()> {
        self.called("sum_statistics")
    }
}

#[test]
fn a_reducer_that_fails_leaves_everything_as_it_was() {
    let model = normalized();
    let mut session = session(&model, 16, &sgd(), &options().fold_updates(false));
    let (x, y) = (normal(&[16, 8, 8, 3], 1), one_hot(16, CLASSES));
    let inputs = [&x];
    let batch = LabelledBatch::new(&inputs, &y);
    let state = OptimizerState::default();
    session.train_step(&batch, 0.1, &state).unwrap();
    let now = |state: &OptimizerState| -> (Vec<Vec<f32>>, Arc<Slots>, u64) {
        (weights(&model), state.slots(), state.iterations())
    };
    let before = now(&state);
    // Each method fails at its first call, at its fourth and at its last. The model has ten gradients. Each of the two batch
    // normalizations sums statistics twice in the forward pass and once in the backward pass.
    let calls = [("offer", [1, 4, 10]), ("collect", [1, 4, 10]), ("sum_statistics", [1, 4, 6])];
    for (method, left) in calls.into_iter().flat_map(|(method, calls)| calls.map(|left| (method, left))) {
        let mut reducer = Failing { method, left };
        let error = session.forward_backward(&batch, 1, &mut reducer).unwrap_err();
        assert_eq!((error.kind(), reducer.left), (ErrorKind::Io, 0), "{error}");
        assert!(error.to_string().contains("replica 1: the connection was lost"), "{error}");
        let error = session.apply(Update { learning_rate: 0.1, iteration: 1 }, &state).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
        assert!(now(&state) == before, "{method}, call {left}");
    }
    // A failed step doesn't change later steps either.
    session.train_step(&batch, 0.1, &state).unwrap();
    let found = now(&state);
    let fresh = normalized();
    let (mut session, state) =
        (crate::session(&fresh, 16, &sgd(), &options().fold_updates(false)), OptimizerState::default());
    (0..2).for_each(|_| drop(session.train_step(&batch, 0.1, &state).unwrap()));
    assert!(found.0 == weights(&fresh));
}

#[test]
fn folded_updates_are_refused_where_gradients_are_summed() {
    let (x, y) = (normal(&[16, 8, 8, 3], 1), one_hot(16, CLASSES));
    let inputs = [&x];
    let batch = LabelledBatch::new(&inputs, &y);
    let model = plain();
    let before = weights(&model);
    let mut folding = session(&model, 16, &sgd(), &options());
    folding.forward_backward(&batch, 0, &mut SingleReplica).unwrap();
    let error = folding.forward_backward(&batch, 0, &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("fold_updates(false)"), "{error}");
    let state = OptimizerState::default();
    let error = folding.apply(Update { learning_rate: 0.1, iteration: 0 }, &state).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "the gradients of the previous call are gone as well: {error}");
    assert!(weights(&model) == before && state.slots().is_empty());
}

#[test]
fn folded_updates_have_the_bits_of_whole_gradients() {
    let (x, y) = (normal(&[16, 8, 8, 3], 1), one_hot(16, CLASSES));
    let inputs = [&x];
    for optimizer in [sgd(), Adam::new(0.01).into(), Optimizer::adam_w(0.01), RmsProp::new(0.01).centered(true).into()]
    {
        let trained = |fold_updates: bool| {
            let model = plain();
            let mut session = session(&model, 16, &optimizer, &options().fold_updates(fold_updates));
            let folds = (0..session.plan().program().steps.len()).any(|step| session.plan().folds_update(step));
            assert_eq!(folds, fold_updates);
            let state = OptimizerState::default();
            let step = |_| session.train_step(&LabelledBatch::new(&inputs, &y), 0.01, &state).unwrap().loss;
            let losses: Vec<f64> = (0..4).map(step).collect();
            (losses, weights(&model))
        };
        assert!(trained(true) == trained(false), "{optimizer:?}");
    }
}
