//! Sessions beyond single operations: chunks, small batches, several outputs, several threads, recomputation, forks.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft_cpu::CpuExecutor;
use engraft_ir::Precision;
use engraft_ir::random::Rng;
use engraft_nn::prelude::*;
use engraft_nn::{ErrorKind, OptimizerState, Slots};
use engraft_plan::{Executor, LabelledBatch, Plan, Session, SingleReplica, Update};
use rayon::prelude::*;
use support::{options, request, weights};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values = (0..shape.iter().product()).map(|_| rng.unit() as f32).collect();
    Tensor::new(shape, values).unwrap()
}

fn session(plan: Plan) -> Box<dyn Session> {
    CpuExecutor::new(Some(2)).unwrap().prepare(plan).unwrap()
}

fn training(model: &Model, batch: usize) -> Plan {
    Plan::train(model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), batch, 7, &options()).unwrap()
}

/// One-hot targets of two classes.
fn targets(rows: usize) -> Tensor {
    Tensor::new([rows, 2], (0..rows).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect())
        .unwrap()
}

/// A model of random layers, then zero padding. A wide border makes the images so large that a chunk has one image only.
fn randomly_changed(border: usize) -> Model {
    engraft_nn::clear_session();
    let x = Input::new([6, 5, 12]);
    let y = RandomFlip::horizontal_and_vertical().call(&x).unwrap();
    let y = RandomRotation::new(0.2).call(&y).unwrap();
    let y = Dropout::new(0.5).call(&y).unwrap();
    let y = if border > 0 { ZeroPadding2D::new(border).call(&y).unwrap() } else { y };
    // Inputs are in 0..1, and no layer so far makes them negative. So the zeros of the border change no maximum.
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
        session(plan).evaluate(&labelled).unwrap().output
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn streamed_rows_give_the_bits_of_whole_images() {
    let x = Input::new([260, 264, 3]);
    let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
    let intermediate = conv(32).call(&Rescaling::new(0.5).call(&x).unwrap()).unwrap();
    let y = MaxPooling2D::new(2).call(&conv(9).call(&intermediate).unwrap()).unwrap();
    let streamed = Plan::predict(&Model::new(&x, &y).unwrap(), 3, &options()).unwrap();
    // Outputs are computed as whole images, so an intermediate output prevents streaming.
    let unstreamed = Plan::predict(&Model::new(&x, [&intermediate, &y]).unwrap(), 3, &options()).unwrap();
    let streams = |plan: &Plan| (0..plan.program().steps.len()).any(|step| plan.stream(step).is_some());
    assert!(streams(&streamed) && !streams(&unstreamed));
    let photos = random(&[3, 260, 264, 3], 1);
    for precision in precisions() {
        let [streamed, unstreamed] = [&streamed, &unstreamed].map(|plan| session(plan.clone().in_precision(precision)));
        let [streamed, unstreamed] = [streamed, unstreamed].map(|mut session| session.predict(&[&photos]).unwrap());
        assert_eq!(streamed[0].data(), unstreamed[1].data(), "{precision}");
    }
}

/// The stem and two inverted residual blocks of EfficientNet-Lite0, with fewer filters, and a classifier.
fn inverted_residuals() -> Model {
    let norm = |y: &SymbolicTensor| BatchNormalization::new().call(y).unwrap();
    let relu6 = |y: &SymbolicTensor| ReLU::new().max_value(6.0).call(&norm(y)).unwrap();
    let pointwise =
        |filters, y: &SymbolicTensor| Conv2D::new(filters, 1).use_bias(false).padding(Padding::Same).call(y).unwrap();
    let depthwise = |size, strides, y: &SymbolicTensor| {
        DepthwiseConv2D::new(size).strides(strides).use_bias(false).padding(Padding::Same).call(y).unwrap()
    };
    let x = Input::new([29, 28, 3]);
    let stem = Conv2D::new(40, 3).strides(2).use_bias(false).padding(Padding::Same).call(&x).unwrap();
    let y = relu6(&stem);
    let expanded = relu6(&pointwise(240, &y));
    let reduced = norm(&pointwise(40, &relu6(&depthwise(5, 1, &expanded))));
    let y = Add::new().call([&reduced, &y]).unwrap();
    let expanded = relu6(&pointwise(264, &y));
    let reduced = norm(&pointwise(250, &relu6(&depthwise(3, 2, &expanded))));
    let y = GlobalAveragePooling2D::new().call(&relu6(&pointwise(300, &reduced))).unwrap();
    Model::new(&x, &Dense::new(5).activation(Softmax).call(&y).unwrap()).unwrap()
}

#[test]
fn a_sample_has_the_same_bits_in_every_batch() {
    let model = inverted_residuals();
    support::randomize(&model, 3);
    let photos = random(&[17, 29, 28, 3], 1);
    let first = |samples: usize| {
        let values = photos.data()[..samples * 29 * 28 * 3].to_vec();
        Tensor::new([samples, 29, 28, 3], values).unwrap()
    };
    let predict = |batch: usize| {
        let mut session = session(Plan::predict(&model, batch, &options()).unwrap());
        assert!(session.plan().program().steps.iter().filter(|step| step.normalization.is_some()).count() >= 8);
        // From the second run on, kernels are prepared.
        let runs = [(); 3].map(|()| session.predict(&[&first(batch)]).unwrap().remove(0).into_data());
        assert!(runs[0] == runs[1] && runs[1] == runs[2], "batch {batch}");
        runs[0].clone()
    };
    let all = predict(17);
    assert!(all[5..10] != all[..5], "the photos differ");
    for batch in [1, 3, 8] {
        assert!(predict(batch) == all[..5 * batch], "batch {batch}");
    }
}

#[test]
fn a_changed_normalization_changes_the_next_prediction() {
    let model = inverted_residuals();
    support::randomize(&model, 3);
    let photos = random(&[2, 29, 28, 3], 1);
    let mut session = session(Plan::predict(&model, 2, &options()).unwrap());
    let mut predict = || session.predict(&[&photos]).unwrap().remove(0).into_data();
    let before = [predict(), predict()];
    for weight in model.weights().iter().filter(|weight| ["beta", "moving_mean"].contains(&weight.name())).take(2) {
        let values = weight.values().clone();
        weight.set(values.iter().map(|value| value + 0.5).collect()).unwrap();
        let changed = [(); 3].map(|()| predict());
        assert!(changed[0] != before[0] && changed[0] == changed[1] && changed[1] == changed[2], "{}", weight.path());
        weight.set(values).unwrap();
        assert!(predict() == before[1], "{}", weight.path());
    }
}

/// The precisions that this CPU supports.
fn precisions() -> impl Iterator<Item = Precision> {
    let executor = CpuExecutor::new(Some(2)).unwrap();
    [Precision::F32, Precision::Bf16].into_iter().filter(move |&precision| executor.check_precision(precision).is_ok())
}

/// The convolutions of the model use every algorithm. If the first two are frozen, the max pooling is fused into the second.
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
        if CpuExecutor::new(Some(2)).unwrap().check_precision(Precision::Bf16).is_err() {
            assert!(CpuExecutor::new(Some(2)).unwrap().prepare(plan.in_precision(Precision::Bf16)).is_err());
            continue;
        }
        let [plan, rounded] = [Precision::F32, Precision::Bf16].map(|precision| plan.clone().in_precision(precision));
        let (weights, losses) = trained(&model, rounded.clone());
        assert!(losses.iter().zip(&exact).all(|(&a, &b)| close(a, b)) && losses != exact, "{losses:?} {exact:?}");
        assert!(trained(&model, rounded.clone().low_memory().unwrap()) == (weights, losses), "{frozen} layers frozen");
        // Scratch space may be larger in bf16: each thread keeps a copy of its operands in bf16.
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
    session.train_step(&labelled, 0.1, &OptimizerState::default()).unwrap();
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
    // The first batch is full and leaves its values in the buffers. Smaller batches must not read them.
    for rows in [7, 1, 3] {
        let (x, y) = some(rows);
        let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
        let own = session(training(&model, rows)).evaluate(&labelled).unwrap();
        let found = large.evaluate(&labelled).unwrap();
        assert_eq!((found.loss, found.output), (own.loss, own.output));
    }
}

#[test]
fn outputs_that_share_a_buffer_share_their_gradient() {
    let x = Input::new([2, 2]);
    let y = Activation::new(Tanh).call(&x).unwrap();
    let flat = Flatten::new().call(&y).unwrap();
    let model = Model::new(&x, [&y, &flat, &y, &x]).unwrap();
    let mut session = session(Plan::gradients(&model, &request(false), 1, &options()).unwrap());
    let x = Tensor::new([1, 2, 2], vec![0.1, -0.2, 0.3, 0.4]).unwrap();
    let one = Tensor::new([1, 2, 2], vec![1.0; 4]).unwrap();
    let flat = Tensor::new([1, 4], vec![10.0; 4]).unwrap();
    let found = session.gradients(&[&x], &[&one, &flat, &one, &one], 0).unwrap();
    for (gradient, x) in found.inputs[0].data().iter().zip(x.data()) {
        let expected = 12.0 * (1.0 - x.tanh() * x.tanh()) + 1.0;
        // The tolerance allows for a few rounding errors of f32.
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
    let mut session = session(Plan::gradients(&model, &request(false), 2, &options()).unwrap());
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
    let expected = session(Plan::predict(&model, 4, &options()).unwrap()).predict(&[&x]).unwrap();
    let mut training = session(training(&model, 4));
    assert_eq!(training.predict(&[&x]).unwrap(), expected, "outputs are probabilities whatever the plan");
    assert!(training.gradients(&[&x], &[&y], 0).unwrap_err().to_string().contains("a plan of gradients"));
    let mut predicting = session(Plan::predict(&model, 4, &options()).unwrap());
    assert!(predicting.evaluate(&labelled).unwrap_err().to_string().contains("a plan with a loss"));
    let error = predicting.train_step(&labelled, 0.1, &OptimizerState::default()).unwrap_err().to_string();
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
    session(training(&model, 2)).train_step(&labelled, 0.1, &OptimizerState::default()).unwrap();
    // The batch means are 4 in the first call and 8 in the second, and the momentum is 0.5. The moving mean is first
    // (0 + 4) / 2 = 2, then (2 + 8) / 2 = 5. In the other order it would end at 4.
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
        (0..2).map(|_| executor.prepare(Plan::predict(&model, 16, &options()).unwrap()).unwrap()).collect();
    let mut training = executor.prepare(training(&model, 16)).unwrap();
    std::thread::scope(|scope| {
        for session in &mut predicting {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(session.predict(&[&x]).unwrap()[0].shape(), [16, 2])));
        }
        let state = OptimizerState::default();
        let labelled = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
        (0..200).for_each(|_| assert!(training.train_step(&labelled, 0.1, &state).unwrap().loss.is_finite()));
    });
}

#[test]
fn callers_may_be_threads_of_a_pool() {
    let x = Input::new([64]);
    let y = Dense::new(512).activation(Relu).call(&x).unwrap();
    let model = Model::new(&x, &Dense::new(256).call(&y).unwrap()).unwrap();
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let x = random(&[16, 64], 6);
    let expected = executor.prepare(Plan::predict(&model, 16, &options()).unwrap()).unwrap().predict(&[&x]).unwrap();
    (0..64).into_par_iter().for_each(|_| {
        let mut session = executor.prepare(Plan::predict(&model, 16, &options()).unwrap()).unwrap();
        (0..5).for_each(|_| assert_eq!(session.predict(&[&x]).unwrap(), expected));
    });
}

/// Weights (including moving statistics) and losses after a few training steps. Restores the weights.
fn trained(model: &Model, plan: Plan) -> (Vec<Vec<f32>>, Vec<f64>) {
    let x = random(&[&[4], model.input_shape().as_slice()].concat(), 1);
    let y = targets(4);
    let batch = LabelledBatch { inputs: &[&x], targets: &y, sample_weights: None };
    let start: Vec<Vec<f32>> = model.weights().iter().map(|weight| weight.values().clone()).collect();
    let (mut session, state) = (session(plan), OptimizerState::default());
    let losses = (0..4).map(|_| session.train_step(&batch, 0.1, &state).unwrap().loss).collect();
    let end = model.weights().iter().map(|weight| weight.values().clone()).collect();
    model.weights().iter().zip(start).for_each(|(weight, start)| weight.set(start).unwrap());
    (end, losses)
}

/// Checks that training with recomputed values gives the same bits, and returns the bytes that recomputing saves.
fn saved_by_recomputing(model: &Model) -> usize {
    let plan = training(model, 4);
    let low_memory = plan.clone().low_memory().unwrap();
    assert!((0..plan.program().steps.len()).any(|step| !low_memory.recomputed_steps(step).is_empty()));
    let saved = plan.memory().buffers - low_memory.memory().buffers;
    assert!(trained(model, plan) == trained(model, low_memory));
    saved
}

#[test]
fn a_pooled_image_is_recomputed() {
    let x = Input::new([32, 32, 3]);
    let conv = |y: &SymbolicTensor| {
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).call(y).unwrap();
        MaxPooling2D::new(2).call(&y).unwrap()
    };
    // Memory peaks in the backward pass of the wide layers. The pooled image below is recomputed later, so it isn't live then.
    let wide = || Conv2D::new(128, 3).padding(Padding::Same).activation(Relu);
    let y = wide().call(&wide().call(&conv(&conv(&x))).unwrap()).unwrap();
    let y = GlobalAveragePooling2D::new().call(&y).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).call(&y).unwrap()).unwrap();
    assert!(saved_by_recomputing(&model) > 0);
}

#[test]
fn normalised_and_activated_values_are_recomputed() {
    let x = Input::new([32, 32, 3]);
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
    // Recomputing saves at least the activations inside of two blocks: each has two of 32 x 32 x 16, in f32, for 4 samples.
    assert!(saved_by_recomputing(&model) >= 4 * 4 * (2 * 2 * 32 * 32 * 16), "{}", saved_by_recomputing(&model));
}

/// A frozen convolution, whose prepared kernel is cached, below a trainable head.
fn frozen_base() -> Model {
    let x = Input::new([20, 20, 24]);
    let frozen = Conv2D::new(24, 3).padding(Padding::Same).activation(Relu).named("frozen").call(&x).unwrap();
    let y = Dropout::new(0.2).call(&GlobalAveragePooling2D::new().call(&frozen).unwrap()).unwrap();
    let y = Dense::new(16).activation(Relu).named("hidden").call(&y).unwrap();
    let model = Model::new(&x, &Dense::new(2).activation(Softmax).named("top").call(&y).unwrap()).unwrap();
    model.get_layer("frozen").unwrap().set_trainable(false);
    model
}

#[test]
fn sessions_side_by_side_give_the_bits_of_sessions_alone() {
    let model = frozen_base();
    let (x, y) = (random(&[8, 20, 20, 24], 1), targets(8));
    let inputs = [&x];
    let labelled = LabelledBatch::new(&inputs, &y);
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let features = || executor.prepare(Plan::features(&model, "frozen", 8, &options()).unwrap()).unwrap();
    let start = weights(&model);
    let train = || {
        support::restore(&model, &start);
        let mut session = executor.prepare(training(&model, 8)).unwrap();
        let state = OptimizerState::default();
        let step = |_| session.train_step(&labelled, 0.1, &state).unwrap().loss;
        let losses: Vec<f64> = (0..60).map(step).collect();
        (losses, weights(&model))
    };
    let (expected_features, expected_training) = (features().predict(&inputs).unwrap(), train());
    assert_ne!(expected_training.1, start);
    // One thread trains the head while three others predict with the frozen convolution. Two of the three share prepared
    // kernels: one runs a session, the other its fork.
    let first = features();
    let mut predicting = [first.fork().unwrap(), first, features()];
    let trained = std::thread::scope(|scope| {
        for session in &mut predicting {
            let (inputs, expected) = (&inputs, &expected_features);
            scope.spawn(move || (0..60).for_each(|_| assert_eq!(session.predict(inputs).unwrap(), *expected)));
        }
        scope.spawn(train).join().unwrap()
    });
    assert!(trained == expected_training);
}

#[test]
fn a_fork_gives_the_same_bits_from_buffers_of_its_own() {
    let model = frozen_base();
    let (x, y) = (random(&[8, 20, 20, 24], 1), targets(8));
    let inputs = [&x];
    let labelled = LabelledBatch::new(&inputs, &y);
    let mut first = session(training(&model, 8));
    let (state, update) = (OptimizerState::default(), Update { learning_rate: 0.1, iteration: 0 });
    let expected = first.forward_backward(&labelled, 0, &mut SingleReplica).unwrap();
    let mut fork = first.fork().unwrap();
    let error = fork.apply(update, &state).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "gradients of a session are its own: {error}");
    let found = fork.forward_backward(&labelled, 0, &mut SingleReplica).unwrap();
    assert_eq!((found.loss, &found.output), (expected.loss, &expected.output));
    let before = weights(&model);
    let applied = [&mut fork, &mut first].map(|session| {
        support::restore(&model, &before);
        session.apply(update, &OptimizerState::default()).unwrap();
        weights(&model)
    });
    assert!(applied[0] == applied[1] && applied[0] != before);
    // Both sessions see a change of the weights.
    model.get_layer("frozen").unwrap().weights()[0].values_mut().fill(0.01);
    let [a, b] = [first, fork].map(|mut session| session.evaluate(&labelled).unwrap().output);
    assert!(a == b && a != expected.output);
}

#[test]
fn gradients_are_applied_once() {
    let model = frozen_base();
    let (x, y) = (random(&[8, 20, 20, 24], 1), targets(8));
    let inputs = [&x];
    let labelled = LabelledBatch::new(&inputs, &y);
    let (mut session, state) = (session(training(&model, 8)), OptimizerState::default());
    let update = Update { learning_rate: 0.1, iteration: 0 };
    let before = weights(&model);
    let refused = |session: &mut dyn Session| {
        let (weights_now, version) = (weights(&model), state.version());
        let error = session.apply(update, &state).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
        assert!(error.to_string().contains("call forward_backward before it"), "{error}");
        assert!(weights(&model) == weights_now && state.version() == version);
    };
    refused(&mut *session);
    session.forward_backward(&labelled, 0, &mut SingleReplica).unwrap();
    assert!(weights(&model) == before, "nothing is changed before apply");
    session.apply(update, &state).unwrap();
    assert!(weights(&model) != before);
    refused(&mut *session);
    // Another run overwrites the buffers of the gradients.
    session.forward_backward(&labelled, 1, &mut SingleReplica).unwrap();
    session.evaluate(&labelled).unwrap();
    refused(&mut *session);
}

#[test]
fn an_update_with_the_state_of_another_optimizer_changes_nothing() {
    let model = frozen_base();
    let (x, y) = (random(&[8, 20, 20, 24], 1), targets(8));
    let inputs = [&x];
    let labelled = LabelledBatch::new(&inputs, &y);
    let adam = |model: &Model, options| {
        let loss = Loss::categorical_crossentropy();
        session(Plan::train(model, Adam::new(0.1).into(), loss, 8, 7, &options).unwrap())
    };
    for options in [options(), options().fold_updates(false)] {
        let mut session = adam(&model, options);
        // State of SGD: one velocity for the last weight. The other weights have no slots yet.
        let last = model.trainable_weights().last().unwrap().clone();
        let other = OptimizerState::new(0, Slots::from([(last.id(), vec![vec![0.5; last.count()]])]));
        let (before, slots) = (weights(&model), other.slots());
        session.forward_backward(&labelled, 0, &mut SingleReplica).unwrap();
        let update = Update { learning_rate: 0.1, iteration: 0 };
        let error = session.apply(update, &other).unwrap_err().to_string();
        assert!(error.contains("it belongs to another optimizer"), "{error}");
        assert!(weights(&model) == before && other.slots() == slots);
        // The gradients can still be applied with the right state.
        let state = OptimizerState::default();
        session.apply(update, &state).unwrap();
        let found = weights(&model);
        support::restore(&model, &before);
        adam(&model, session.plan().options().clone()).train_step(&labelled, 0.1, &OptimizerState::default()).unwrap();
        assert!(found == weights(&model) && found != before);
        support::restore(&model, &before);
    }
}
