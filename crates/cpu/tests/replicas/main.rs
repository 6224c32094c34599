//! Training steps of two replicas whose gradients are summed, compared with the same steps in one session.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod offers;
mod reducers;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex};

use engraft_cpu::CpuExecutor;
use engraft_nn::OptimizerState;
use engraft_nn::prelude::*;
use engraft_plan::{Executor, GradientReducer, LabelledBatch, Plan, PlanOptions, Session, Update};
use reducers::{Exchange, Recorder, Replica};
use support::{normal, one_hot, options, randomize, weights};

const REPLICAS: usize = 2;
const CLASSES: usize = 3;

fn session(model: &Model, batch: usize, optimizer: &Optimizer, options: &PlanOptions) -> Box<dyn Session> {
    let plan = Plan::train(model, optimizer.clone(), Loss::categorical_crossentropy(), batch, 5, options).unwrap();
    CpuExecutor::new(Some(1)).unwrap().prepare(plan).unwrap()
}

fn sgd() -> Optimizer {
    Sgd::new(0.1).momentum(0.9).into()
}

/// Results of some training steps.
struct Trained {
    /// Gradients of the last step, by path of the weight.
    gradients: Vec<(String, Vec<f32>)>,
    losses: Vec<f64>,
    /// Output of the last step.
    output: Tensor,
    weights: Vec<Vec<f32>>,
}

impl Trained {
    fn gradient(&self, path: &str) -> &[f32] {
        &self.gradients.iter().find(|(name, _)| name == path).unwrap().1
    }
}

/// Trains `steps` steps on the rows `rows` of each step's batch.
fn train<R: GradientReducer>(
    model: &Model,
    rows: Range<usize>,
    steps: u64,
    reducer: &mut R,
    gradients: impl Fn(&mut R) -> Vec<(String, Vec<f32>)>,
) -> Trained {
    let options = options().fold_updates(false);
    let mut session = session(model, rows.len(), &sgd(), &options);
    let state = OptimizerState::default();
    let mut trained =
        Trained { gradients: Vec::new(), losses: Vec::new(), output: Tensor::zeros([0]), weights: Vec::new() };
    for iteration in 0..steps {
        let full = normal(&[&[rows.end.max(16)], model.input_shape().as_slice()].concat(), 40 + iteration);
        let [x, y] = [full, one_hot(rows.end.max(16), CLASSES)].map(|tensor| part(&tensor, rows.clone()));
        let inputs = [&x];
        let step = session.forward_backward(&LabelledBatch::new(&inputs, &y), iteration, reducer).unwrap();
        session.apply(Update { learning_rate: 0.02, iteration }, &state).unwrap();
        trained.losses.push(step.loss);
        trained.gradients = gradients(reducer);
        trained.output = step.output;
    }
    trained.weights = weights(model);
    trained
}

fn part(tensor: &Tensor, rows: Range<usize>) -> Tensor {
    let values = rows.clone().flat_map(|row| tensor.row(row).to_vec()).collect();
    Tensor::new([&[rows.len()], &tensor.shape()[1..]].concat(), values).unwrap()
}

/// Trains the same steps in one session and in two replicas, each with half of the batch and a model of its own.
fn single_and_replicas(
    model: fn() -> Model,
    batch: usize,
    steps: u64,
    synchronizes_statistics: bool,
) -> (Trained, [Trained; REPLICAS]) {
    let single = train(&model(), 0..batch, steps, &mut Recorder::default(), |recorder| std::mem::take(&mut recorder.0));
    let exchange = Arc::new(Exchange { barrier: Barrier::new(REPLICAS), parts: Mutex::default() });
    let share = batch / REPLICAS;
    let replicas = std::thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let exchange = Arc::clone(&exchange);
            let mut reducer = Replica { number, exchange, synchronizes_statistics, sums: Vec::new() };
            scope.spawn(move || {
                let rows = number * share..(number + 1) * share;
                train(&model(), rows, steps, &mut reducer, |reducer| std::mem::take(&mut reducer.sums))
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    (single, replicas)
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The largest difference divided by the largest expected value.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert!(found.iter().chain(expected).all(|value| value.is_finite()), "{found:?} and {expected:?}");
    assert!(found.len() == expected.len() && largest(expected) > 0.0, "{expected:?}");
    let differences: Vec<f32> = found.iter().zip(expected).map(|(found, expected)| found - expected).collect();
    largest(&differences) / largest(expected)
}

/// The largest [`distance`] of a replica's gradient and of a replica's weight from those of the single session.
fn distances(single: &Trained, replicas: &[Trained; REPLICAS]) -> [f32; 2] {
    let [first, second] = replicas;
    assert!(first.gradients == second.gradients, "both have the same sums");
    let names = |trained: &Trained| trained.gradients.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert!(names(first) == names(single) && !first.gradients.is_empty());
    let gradients = first.gradients.iter().zip(&single.gradients).map(|((name, found), (_, expected))| {
        match name == ZERO_GRADIENT && names(single).iter().any(|name| name == "norm/gamma") {
            true => largest(found.iter().chain(expected)) / largest(single.gradient("conv/kernel")),
            false => distance(found, expected),
        }
    });
    let weights = replicas.iter().flat_map(|replica| replica.weights.iter().zip(&single.weights));
    [gradients.fold(0.0, f32::max), weights.map(|(found, expected)| distance(found, expected)).fold(0.0, f32::max)]
}

/// The bias of the convolution below `norm`. With batch statistics, `norm` subtracts this bias again, so its gradient is 0 in
/// exact arithmetic. The computed gradient is rounding error only. It sums the same terms as the gradient with respect to
/// `conv/kernel`, so it is compared with the size of that gradient.
const ZERO_GRADIENT: &str = "conv/bias";

fn randomized(x: &SymbolicTensor, y: &SymbolicTensor) -> Model {
    let model = Model::new(x, y).unwrap();
    randomize(&model, 1);
    model
}

fn top() -> Layer {
    Dense::new(CLASSES).activation(Softmax).kernel_regularizer(Regularizer::l2(0.01)).named("top").into_layer()
}

/// A model without batch normalization, all of whose layers are trainable.
fn plain() -> Model {
    let x = Input::new([8, 8, 3]);
    let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv").call(&x).unwrap();
    let y = Flatten::new().call(&MaxPooling2D::new(2).call(&y).unwrap()).unwrap();
    let y = Dense::new(12).activation(Tanh).named("hidden").call(&y).unwrap();
    randomized(&x, &top().call(&y).unwrap())
}

/// A model with batch normalization after convolutions.
///
/// The values after `norm2` are flattened rather than averaged. An average has the same gradient at every position. `norm2`
/// subtracts the mean gradient, so the terms in the gradient with respect to `conv2/kernel` would nearly cancel. The rounding
/// error was 1.5e-6.
fn normalized() -> Model {
    let x = Input::new([8, 8, 3]);
    let y = Conv2D::new(8, 3).padding(Padding::Same).named("conv").call(&x).unwrap();
    let y = BatchNormalization::new().named("norm").call(&y).unwrap();
    let y = Conv2D::new(4, 1).activation(Tanh).named("conv2").call(&y).unwrap();
    let y = BatchNormalization::new().named("norm2").call(&y).unwrap();
    randomized(&x, &top().call(&Flatten::new().call(&y).unwrap()).unwrap())
}

fn frozen_normalized() -> Model {
    let model = normalized();
    ["norm", "norm2"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
    model
}

/// The largest [`distance`] allowed after one step. Each replica rounds its partial sums to f32, and kernels may sum half a
/// batch in another order. That makes a few rounding errors of 6e-8; the largest distance observed is 3.1e-7.
const ONE_STEP: f32 = 1e-6;

/// The largest [`distance`] allowed after up to ten steps. Rounding errors of earlier steps change the weights, and so the
/// gradients of later steps. The largest distance observed is 1.1e-5, with the portable kernels, which have the fewest partial
/// sums.
const TEN_STEPS: f32 = 5e-5;

#[test]
fn gradients_are_those_of_the_whole_batch() {
    for model in [plain, frozen_normalized] {
        let (single, replicas) = single_and_replicas(model, 16, 1, false);
        let [gradients, weights] = distances(&single, &replicas);
        assert!(gradients < ONE_STEP && weights < ONE_STEP, "{gradients} {weights}");
        let mean = (replicas[0].losses[0] + replicas[1].losses[0]) / 2.0;
        assert!((mean - single.losses[0]).abs() < 1e-6, "each has the mean loss of its own samples");
    }
}

/// With one sample for each replica, the gradient of a Dense bias is the same sum of two numbers, in one session and in two.
/// Longer sums may run in another order, so their bits may differ.
#[test]
fn gradients_of_biases_have_the_bits_of_the_whole_batch_where_each_replica_has_one_sample() {
    let (single, replicas) = single_and_replicas(plain, 2, 1, false);
    for ((name, sum), (_, expected)) in replicas[0].gradients.iter().zip(&single.gradients) {
        let same_order = ["hidden/bias", "top/bias"].contains(&name.as_str());
        assert!(!same_order || sum == expected, "{name}: {sum:?} for {expected:?}");
    }
    assert_eq!(single.gradients.iter().filter(|(name, _)| name.ends_with("bias")).count(), 3);
}

#[test]
fn ten_steps_end_at_the_same_weights() {
    let before = weights(&plain());
    let (single, replicas) = single_and_replicas(plain, 16, 10, false);
    let [gradients, weights] = distances(&single, &replicas);
    // The learning rate is small, so the weights differ less than the gradients: by 2.8e-7 at most, as observed.
    assert!(gradients < TEN_STEPS && weights < ONE_STEP, "{gradients} {weights}");
    assert!(replicas[0].weights == replicas[1].weights, "both replicas make the same step, bit for bit");
    assert!(single.weights.iter().zip(&before).all(|(after, before)| distance(after, before) > 1000.0 * ONE_STEP));
}

/// A model with random layers below and above the first trainable layer.
fn random_layers() -> Model {
    let x = Input::new([8, 8, 3]);
    let y = RandomFlip::horizontal_and_vertical().call(&x).unwrap();
    let y = RandomRotation::new(0.2).call(&y).unwrap();
    let y = RandomZoom::new(0.2).call(&y).unwrap();
    let y = Dropout::new(0.3).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let y = Dense::new(12).activation(Tanh).named("hidden").call(&y).unwrap();
    randomized(&x, &top().call(&Dropout::new(0.3).call(&y).unwrap()).unwrap())
}

#[test]
fn random_layers_draw_by_the_place_in_the_whole_batch() {
    for steps in [1, 2] {
        let (single, replicas) = single_and_replicas(random_layers, 16, steps, false);
        for (number, replica) in replicas.iter().enumerate() {
            let expected = part(&single.output, 8 * number..8 * (number + 1));
            assert!(distance(replica.output.data(), expected.data()) < ONE_STEP, "replica {number}");
        }
        let [gradients, weights] = distances(&single, &replicas);
        assert!(gradients < TEN_STEPS && weights < TEN_STEPS, "{gradients} {weights}");
    }
    // The counter-check: trained alone, replica 1's samples are the first of their batch and draw other random numbers.
    let model = random_layers();
    let misplaced = train(&model, 8..16, 1, &mut Recorder::default(), |recorder| std::mem::take(&mut recorder.0));
    let (single, _) = single_and_replicas(random_layers, 16, 1, false);
    assert!(distance(misplaced.output.data(), part(&single.output, 8..16).data()) > 0.01);
}

#[test]
fn synchronized_batch_normalization_is_that_of_the_whole_batch() {
    let (single, replicas) = single_and_replicas(normalized, 16, 1, true);
    let [gradients, weights] = distances(&single, &replicas);
    assert!(gradients < ONE_STEP && weights < ONE_STEP, "{gradients} {weights}");
    for (number, replica) in replicas.iter().enumerate() {
        let expected = part(&single.output, 8 * number..8 * (number + 1));
        assert!(distance(replica.output.data(), expected.data()) < ONE_STEP, "replica {number}");
    }
    let (single, replicas) = single_and_replicas(normalized, 16, 10, true);
    let [gradients, weights] = distances(&single, &replicas);
    // The learning rate is small, so the weights differ less than the gradients: by 2.8e-7 at most, as observed.
    assert!(gradients < TEN_STEPS && weights < ONE_STEP, "{gradients} {weights}");
    assert!(replicas[0].weights == replicas[1].weights, "moving statistics included");
}

#[test]
fn without_synchronization_each_replica_normalizes_by_its_own_samples() {
    let (single, replicas) = single_and_replicas(normalized, 16, 1, false);
    let [gradients, weights] = distances(&single, &replicas);
    assert!(gradients > 0.01 && weights > 1e-3, "{gradients} {weights}");
    assert!(replicas[0].weights != replicas[1].weights, "moving statistics are each replica's own");
}
