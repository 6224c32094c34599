//! `fit` on two replicas, in threads of one process, that sum their gradients.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use engraft_data::{Arrays, Batch, Dataset};
use engraft_nn::prelude::*;
use engraft_nn::{Error, Result, Weight};
use engraft_plan::{BatchPlace, GradientReducer};
use engraft_runtime::Runtime;
use engraft_train::{BatchEnd, Callback, Fit, Train, Training};
use support::{data, dense, weights};

/// One of two replicas. Each sends its gradients to the other.
struct Replica {
    number: usize,
    to_other: Option<Sender<Vec<f32>>>,
    from_other: Receiver<Vec<f32>>,
}

impl Replica {
    fn pair() -> [Self; 2] {
        let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
        [(0, to_second, from_second), (1, to_first, from_first)].map(|(number, to_other, from_other)| Self {
            number,
            to_other: Some(to_other),
            from_other,
        })
    }
}

impl GradientReducer for Replica {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: 2 * samples }
    }

    fn offer(&mut self, _weight: &Weight, gradient: &[f32]) -> Result<()> {
        // Sending fails if the other replica has ended. `collect` notices that.
        self.to_other.iter().for_each(|other| drop(other.send(gradient.to_vec())));
        Ok(())
    }

    fn collect(&mut self, _weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        // Far more time than a step takes. Without a limit, a replica that isn't told of the other's failure would wait forever.
        let other = self.from_other.recv_timeout(Duration::from_secs(20));
        let other = other.map_err(|error| Error::because("the other replica", error))?;
        gradient.iter_mut().zip(other).for_each(|(sum, gradient)| *sum += gradient);
        Ok(())
    }

    fn abort(&mut self, _error: &Error) {
        self.to_other = None;
    }
}

fn model() -> Model {
    let layers = Sequential::new().add(Input::new([3])).add(dense(6, 1).activation(Tanh).named("hidden"));
    let model = layers.add(dense(2, 2).activation(Softmax).named("top")).build().unwrap();
    model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
    model
}

#[test]
fn two_replicas_of_fit_train_the_weights_that_one_trains() {
    compare_two_replicas_with_one(&[1.0, 1.0]);
}

#[test]
fn class_weights_count_the_same_on_two_replicas_and_on_one() {
    let [weighted, plain] =
        [[0.25, 3.0], [1.0, 1.0]].map(|class_weights| compare_two_replicas_with_one(&class_weights));
    assert_ne!(weighted, plain);
}

fn options(batch_size: usize, class_weights: &[f32]) -> Fit<'_> {
    Fit::new().epochs(5).batch_size(batch_size).shuffle(false).class_weights(class_weights)
}

/// Trains with these class weights on two replicas and on one, and returns the weights of the one.
fn compare_two_replicas_with_one(class_weights: &[f32]) -> Vec<f32> {
    let alone = model();
    alone.fit(&data(0, 16), options(16, class_weights)).unwrap();
    let models = [model(), model()];
    std::thread::scope(|scope| {
        for (model, mut replica) in models.iter().zip(Replica::pair()) {
            scope.spawn(move || {
                let data = data(8 * replica.number, 8);
                model.fit(&data, options(8, class_weights).reducer(&mut replica)).unwrap();
            });
        }
    });
    let [first, second] = models.each_ref().map(weights);
    assert!(first == second, "both make the same steps, bit for bit");
    // The tolerance covers a few f32 rounding errors per step: two replicas sum gradients in another order than one.
    let largest = first.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    assert!(first.iter().zip(weights(&alone)).all(|(a, b)| (a - b).abs() <= 1e-6 * largest));
    weights(&alone)
}

/// A callback that fails after the first step.
struct Fails;

impl Callback for Fails {
    fn on_batch_end(&mut self, _: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
        Err(Error::because("Fails", "after a step"))
    }
}

/// Eight samples, of which those from number 4 on can't be read.
struct Unreadable(Arrays);

impl Dataset for Unreadable {
    fn len(&self) -> usize {
        8
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        match indices.iter().find(|&&index| index >= 4) {
            Some(index) => Err(Error::because(format_args!("sample {index}"), "unreadable")),
            None => self.0.batch(indices),
        }
    }
}

/// Trains two replicas, the first with the options of `fails`. Returns the errors of both.
///
/// The caller owns the replicas, so they outlive the threads. A replica that is dropped at the end of its thread would close its
/// channel, which would hide a missing call of `abort`.
fn errors<'a>(
    [first, second]: &'a mut [Replica; 2],
    first_data: &'a dyn Dataset,
    fails: impl FnOnce(Fit<'a>) -> Fit<'a> + Send,
) -> [String; 2] {
    fn fit<'f>() -> Fit<'f> {
        Fit::new().epochs(3).batch_size(4).shuffle(false)
    }
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| model().fit(first_data, fails(fit().reducer(first))));
        let waiting = scope.spawn(|| model().fit(&data(8, 8), fit().reducer(second)));
        [failing, waiting].map(|replica| replica.join().unwrap().unwrap_err().to_string())
    })
}

#[test]
fn a_replica_that_fails_outside_of_a_step_ends_the_other_one() {
    let (readable, unreadable) = (data(0, 8), Unreadable(data(0, 8)));
    let told = |[error, other]: [String; 2], expected: &str| {
        assert!(error.contains(expected), "{error}");
        assert!(other.contains("the other replica") && !other.contains("timed out"), "{other}");
    };
    let mut callback = Fails;
    told(errors(&mut Replica::pair(), &readable, |fit| fit.callback(&mut callback)), "Fails: after a step");
    told(errors(&mut Replica::pair(), &unreadable, |fit| fit), "sample 4: unreadable");
    told(errors(&mut Replica::pair(), &readable, |fit| fit.validation(&unreadable)), "sample 4: unreadable");
    let small = Runtime::cpu(Some(1)).unwrap().memory_limit(Some(1));
    told(errors(&mut Replica::pair(), &readable, |fit| fit.runtime(&small)), "the plan needs");
}
