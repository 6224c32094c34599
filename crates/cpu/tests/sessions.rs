//! What a session promises beyond single operations: chunks, small batches, several outputs, several threads.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_cpu::CpuExecutor;
use engraft_nn::plan::{Plan, Precision};
use engraft_nn::prelude::*;
use engraft_nn::random::Rng;
use engraft_nn::{Executor, LabelledBatch, OptimizerState, Session};
use rayon::prelude::*;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values = (0..shape.iter().product()).map(|_| rng.unit() as f32).collect();
    Tensor::new(shape, values).unwrap()
}

fn session(plan: Plan) -> Box<dyn Session> {
    CpuExecutor::new(Some(2)).unwrap().prepare(plan).unwrap()
}

fn training(model: &Model, batch: usize) -> Plan {
    Plan::train(model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), batch, 7).unwrap()
}

/// One-hot targets of two classes.
fn targets(rows: usize) -> Tensor {
    Tensor::new([rows, 2], (0..rows).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect())
        .unwrap()
}

/// Random layers, then a border so wide that a chunk holds one image, or none.
fn randomly_changed(border: usize) -> Model {
    engraft_nn::clear_session();
    let x = Input::new([6, 5, 12]);
    let y = RandomFlip::horizontal_and_vertical().call(&x).unwrap();
    let y = RandomRotation::new(0.2).call(&y).unwrap();
    let y = Dropout::new(0.5).call(&y).unwrap();
    let y = if border > 0 { ZeroPadding2D::new(border).call(&y).unwrap() } else { y };
    // No value is below zero, and so the border changes no maximum.
    let y = GlobalMaxPooling2D::new().call(&y).unwrap();
    let y = Dense::new(2).activation(Softmax).call(&y).unwrap();
    Model::new(&x, &y).unwrap()
}

#[test]
fn a_chunk_draws_what_the_whole_batch_draws() {
    let batch = 5;
    let (x, y) = (random(&[batch, 6, 5, 12], 1), targets(batch));
    let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    let outputs = [(0, batch), (450, 1)].map(|(border, chunk)| {
        let plan = training(&randomly_changed(border), batch);
        assert_eq!((plan.prefix().len(), plan.chunk()), (if border > 0 { 5 } else { 0 }, chunk));
        session(plan).test_step(&labelled).unwrap().output
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn convolutions_in_bands_give_the_bits_of_whole_ones() {
    let x = Input::new([260, 264, 3]);
    let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
    let between = conv(32).call(&Rescaling::new(0.5).call(&x).unwrap()).unwrap();
    let y = MaxPooling2D::new(2).call(&conv(9).call(&between).unwrap()).unwrap();
    let in_bands = Plan::predict(&Model::new(&x, &y).unwrap(), 3).unwrap();
    // What is wanted is made as a whole.
    let whole = Plan::predict(&Model::new(&x, [&between, &y]).unwrap(), 3).unwrap();
    let banded = |plan: &Plan| (0..plan.program().steps.len()).any(|step| plan.band(step).is_some());
    assert!(banded(&in_bands) && !banded(&whole));
    let photos = random(&[3, 260, 264, 3], 1);
    for precision in precisions() {
        let [in_bands, whole] = [&in_bands, &whole].map(|plan| session(plan.clone().in_precision(precision)));
        let [in_bands, whole] = [in_bands, whole].map(|mut session| session.predict(&[&photos]).unwrap());
        assert_eq!(in_bands[0].data(), whole[1].data(), "{precision}");
    }
}

/// What this CPU can compute with.
fn precisions() -> impl Iterator<Item = Precision> {
    let executor = CpuExecutor::new(Some(2)).unwrap();
    [Precision::F32, Precision::Bf16].into_iter().filter(move |&precision| executor.check(precision).is_ok())
}

/// Frozen and trained convolutions, pooled and not, of every kernel.
#[test]
fn training_in_bf16_stays_close_and_needs_hardly_more_memory() {
    let x = Input::new([24, 24, 3]);
    let conv = |filters, size: usize| Conv2D::new(filters, size).padding(Padding::Same).activation(Relu);
    let y = MaxPooling2D::new(2).call(&conv(40, 3).call(&conv(16, 3).call(&x).unwrap()).unwrap()).unwrap();
    let y = conv(33, 3).call(&conv(70, 5).call(&conv(150, 1).call(&y).unwrap()).unwrap()).unwrap();
    let y = Dense::new(2).activation(Softmax).call(&GlobalAveragePooling2D::new().call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() < 0.02 * b.abs();
    for frozen in [0, 2] {
        model.layers()[1..].iter().take(frozen).for_each(|layer| layer.set_trainable(false));
        let plan = training(&model, 4);
        let (_, exact) = trained(&model, plan.clone());
        if CpuExecutor::new(Some(2)).unwrap().check(Precision::Bf16).is_err() {
            assert!(CpuExecutor::new(Some(2)).unwrap().prepare(plan.in_precision(Precision::Bf16)).is_err());
            continue;
        }
        let [plan, rounded] = [Precision::F32, Precision::Bf16].map(|precision| plan.clone().in_precision(precision));
        let (weights, losses) = trained(&model, rounded.clone());
        assert!(losses.iter().zip(&exact).all(|(&a, &b)| close(a, b)) && losses != exact, "{losses:?} {exact:?}");
        assert!(trained(&model, rounded.clone().thrifty()) == (weights, losses), "{frozen} layers frozen");
        // Working space may be larger, by what a task of bf16 holds for each thread.
        let executor = CpuExecutor::new(Some(2)).unwrap();
        let [rounded, exact] = [rounded, plan].map(|plan| executor.memory(&plan).total());
        assert!(rounded <= exact + (4 << 20), "{rounded} bytes in bf16, {exact} in f32");
    }
}

#[test]
fn frozen_convolutions_above_trained_ones_carry_the_gradient() {
    let x = Input::new([16, 16, 3]);
    let trained = Conv2D::new(8, 1).named("trained");
    let frozen = || Conv2D::new(256, 3).padding(Padding::Same).activation(Relu);
    let y = frozen().named("first").call(&trained.call(&x).unwrap()).unwrap();
    let y = GlobalAveragePooling2D::new().call(&frozen().named("second").call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    ["first", "second"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
    let (x, y) = (random(&[4, 16, 16, 3], 1), targets(4));
    let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    let before = model.weights()[0].values().clone();
    let mut session = CpuExecutor::new(Some(1)).unwrap().prepare(training(&model, 4)).unwrap();
    session.train_step(&labelled, &mut OptimizerState::default()).unwrap();
    assert_ne!(*model.weights()[0].values(), before);
}

#[test]
fn a_batch_smaller_than_the_plan_s_is_as_good() {
    let model = randomly_changed(0);
    let (x, y) = (random(&[7, 6, 5, 12], 2), targets(7));
    let some = |rows: usize| {
        let cut =
            |t: &Tensor| Tensor::new([&[rows], &t.shape()[1..]].concat(), t.data()[..rows * t.row(0).len()].into());
        (cut(&x).unwrap(), cut(&y).unwrap())
    };
    let mut large = session(training(&model, 7));
    // After a full one, whose values still stand in the buffers.
    for rows in [7, 1, 3] {
        let (x, y) = some(rows);
        let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
        let own = session(training(&model, rows)).test_step(&labelled).unwrap();
        let found = large.test_step(&labelled).unwrap();
        assert_eq!((found.loss, found.output), (own.loss, own.output));
    }
}

#[test]
fn outputs_that_share_a_buffer_share_their_gradient() {
    let x = Input::new([2, 2]);
    let y = Activation::new(Tanh).call(&x).unwrap();
    let flat = Flatten::new().call(&y).unwrap();
    let model = Model::new(&x, [&y, &flat, &y, &x]).unwrap();
    let mut session = session(Plan::gradients(&model, false, 1, 0).unwrap());
    let x = Tensor::new([1, 2, 2], vec![0.1, -0.2, 0.3, 0.4]).unwrap();
    let one = Tensor::new([1, 2, 2], vec![1.0; 4]).unwrap();
    let flat = Tensor::new([1, 4], vec![10.0; 4]).unwrap();
    let found = session.gradients(&[&x], &[&one, &flat, &one, &one], 0).unwrap();
    for (gradient, x) in found.inputs[0].data().iter().zip(x.data()) {
        let expected = 12.0 * (1.0 - x.tanh() * x.tanh()) + 1.0;
        // A few roundings of f32.
        assert!((gradient - expected).abs() < 1e-5, "{gradient} for {expected}");
    }
    let error = session.gradients(&[&x], &[&one], 0).unwrap_err().to_string();
    assert!(error.contains("expected 4 tensors, received 1"), "{error}");
}

#[test]
fn an_input_that_nothing_reads_has_a_gradient_of_zero() {
    let (x, unread) = (Input::new([3]), Input::new([3]));
    let y = Dense::new(3).activation(Tanh).call(&x).unwrap();
    let model = Model::new([&x, &unread], &Dense::new(2).call(&y).unwrap()).unwrap();
    let mut session = session(Plan::gradients(&model, false, 2, 0).unwrap());
    let x = random(&[2, 3], 3);
    let found = session.gradients(&[&x, &x], &[&random(&[2, 2], 4)], 0).unwrap();
    assert!(found.inputs[0].data().iter().all(|g| *g != 0.0));
    assert_eq!(found.inputs[1].data(), [0.0; 6]);
}

#[test]
fn a_plan_is_held_to_its_purpose() {
    let x = Input::new([3]);
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&x).unwrap()).unwrap();
    let x = random(&[4, 3], 5);
    let y = targets(4);
    let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    let expected = session(Plan::predict(&model, 4).unwrap()).predict(&[&x]).unwrap();
    let mut training = session(training(&model, 4));
    assert_eq!(training.predict(&[&x]).unwrap(), expected, "outputs are probabilities whatever the plan");
    assert!(training.gradients(&[&x], &[&y], 0).unwrap_err().to_string().contains("a plan of gradients"));
    let mut predicting = session(Plan::predict(&model, 4).unwrap());
    assert!(predicting.test_step(&labelled).unwrap_err().to_string().contains("a plan with a loss"));
    let error = predicting.train_step(&labelled, &mut OptimizerState::default()).unwrap_err().to_string();
    assert!(error.contains("a plan of training"), "{error}");
}

#[test]
fn a_normalisation_called_twice_moves_its_statistics_in_order() {
    let x = Input::new([1]);
    let shared = BatchNormalization::new().momentum(0.5).into_layer();
    let doubled = Rescaling::new(2.0).call(&shared.call(&x).unwrap()).unwrap();
    let y = shared.call(&Rescaling::new(1.0).offset(8.0).call(&doubled).unwrap()).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    let x = Tensor::new([2, 1], vec![3.0, 5.0]).unwrap();
    let y = targets(2);
    let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    session(training(&model, 2)).train_step(&labelled, &mut OptimizerState::default()).unwrap();
    // Batch means of 4 and then 8: (0 + 4) / 2, (2 + 8) / 2. The other order would end at 4.
    let mean = shared.weights()[2].values()[0];
    assert!((mean - 5.0).abs() < 1e-5, "{mean}");
}

#[test]
fn one_model_trains_and_predicts_at_once() {
    let x = Input::new([64]);
    let y = Dense::new(512).activation(Relu).call(&x).unwrap();
    let y = Dense::new(512).activation(Relu).call(&y).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let (x, y) = (random(&[16, 64], 6), targets(16));
    let mut predicting: Vec<_> =
        (0..2).map(|_| executor.prepare(Plan::predict(&model, 16).unwrap()).unwrap()).collect();
    let mut training = executor.prepare(training(&model, 16)).unwrap();
    std::thread::scope(|scope| {
        for session in &mut predicting {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(session.predict(&[&x]).unwrap()[0].shape(), [16, 2])));
        }
        let mut state = OptimizerState::default();
        let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
        (0..200).for_each(|_| assert!(training.train_step(&labelled, &mut state).unwrap().loss.is_finite()));
    });
}

#[test]
fn callers_may_be_threads_of_a_pool() {
    let x = Input::new([64]);
    let y = Dense::new(512).activation(Relu).call(&x).unwrap();
    let model = Model::new(&x, &Dense::new(256).call(&y).unwrap()).unwrap();
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let x = random(&[16, 64], 6);
    let expected = executor.prepare(Plan::predict(&model, 16).unwrap()).unwrap().predict(&[&x]).unwrap();
    (0..64).into_par_iter().for_each(|_| {
        let mut session = executor.prepare(Plan::predict(&model, 16).unwrap()).unwrap();
        (0..5).for_each(|_| assert_eq!(session.predict(&[&x]).unwrap(), expected));
    });
}

/// What a few steps of training make of a model's weights, moving statistics included, and their losses.
fn trained(model: &Model, plan: Plan) -> (Vec<Vec<f32>>, Vec<f64>) {
    let x = random(&[&[4], model.input_shape().as_slice()].concat(), 1);
    let y = targets(4);
    let batch = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    let start: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
    let (mut session, mut state) = (session(plan), OptimizerState::default());
    let losses = (0..4).map(|_| session.train_step(&batch, &mut state).unwrap().loss).collect();
    let end = model.weights().iter().map(|weight| weight.values().clone()).collect();
    model.weights().iter().zip(start).for_each(|(weight, start)| weight.set(start).unwrap());
    (end, losses)
}

/// Trains with all values kept and with some recomputed; returns how many bytes that saves.
fn saved_by_recomputing(model: &Model) -> usize {
    let plan = training(model, 4);
    let thrifty = plan.clone().thrifty();
    assert!((0..plan.program().steps.len()).any(|step| !thrifty.running_again(step).is_empty()));
    let saved = plan.memory().buffers - thrifty.memory().buffers;
    assert!(trained(model, plan) == trained(model, thrifty));
    saved
}

#[test]
fn a_pooled_image_is_recomputed() {
    let x = Input::new([16, 16, 3]);
    let conv = |y: &SymbolicTensor| {
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).call(y).unwrap();
        MaxPooling2D::new(2).call(&y).unwrap()
    };
    let y = Flatten::new().call(&conv(&conv(&x))).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    assert!(saved_by_recomputing(&model) > 0);
}

#[test]
fn normalised_and_activated_values_are_recomputed() {
    let x = Input::new([16, 16, 3]);
    let active =
        |y: &SymbolicTensor| ReLU::new().max_value(6.0).call(&BatchNormalization::new().call(y).unwrap()).unwrap();
    let mut y = active(&Conv2D::new(8, 3).padding(Padding::Same).call(&x).unwrap());
    for _ in 0..3 {
        let wide = active(&Conv2D::new(16, 1).call(&y).unwrap());
        let deep = active(&DepthwiseConv2D::new(3).padding(Padding::Same).call(&wide).unwrap());
        let narrow = BatchNormalization::new().call(&Conv2D::new(8, 1).call(&deep).unwrap()).unwrap();
        y = Add::new().call([&y, &Dropout::new(0.2).call(&narrow).unwrap()]).unwrap();
    }
    let y = GlobalAveragePooling2D::new().call(&y).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    // At least the inner activations of two blocks: 16 channels, twice a block, 4 samples.
    assert!(saved_by_recomputing(&model) >= 4 * 4 * (2 * 2 * 16 * 16 * 16), "{}", saved_by_recomputing(&model));
}
