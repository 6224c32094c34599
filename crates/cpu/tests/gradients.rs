//! Gradients of whole models against finite differences: branches, shared layers, nested models.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft_cpu::CpuExecutor;
use engraft_ir::random::Rng;
use engraft_nn::prelude::*;
use engraft_plan::{Executor, Plan, Session};
use support::{options, request};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::new(shape, values).unwrap()
}

/// `sum(output * upstream)` in f64.
fn score(session: &mut dyn Session, x: &Tensor, upstream: &Tensor) -> f64 {
    let y = session.predict(&[x]).unwrap().remove(0);
    y.data().iter().zip(upstream.data()).map(|(y, u)| f64::from(*y) * f64::from(*u)).sum()
}

/// Compares gradients with central differences: one random direction in the inputs, and one for each trainable weight.
///
/// The slope along a random direction depends on every element of the gradient, so one comparison covers all of them.
fn check(model: &Model) {
    // The step of the central differences. Weights, inputs and third derivatives are of order 1. So the truncation error is about
    // STEP² = 1e-4, and the f32 rounding error about 1e-7 / STEP = 1e-5.
    const STEP: f32 = 1e-2;
    const TOLERANCE: f64 = 2e-3;
    for (i, weight) in model.weights().iter().enumerate() {
        let spread = random(&[weight.count()], 100 + i as u64);
        let positive = weight.name() == "moving_variance";
        let values = spread.data().iter().map(|v| if positive { 0.5 + v.abs() } else { 0.5 * v }).collect();
        weight.set(values).unwrap();
    }
    let batch = 3;
    let x = random(&[&[batch], model.input_shape().as_slice()].concat(), 1);
    let upstream = random(&[&[batch], model.output_shape().as_slice()].concat(), 2);
    let executor = CpuExecutor::new(Some(2)).unwrap();
    let mut session = executor.prepare(Plan::gradients(model, &request(false), batch, &options()).unwrap()).unwrap();
    let found = session.gradients(&[&x], &[&upstream], 0).unwrap();
    let mut session = executor.prepare(Plan::predict(model, batch, &options()).unwrap()).unwrap();

    let compare = |what: &str, gradient: &[f32], direction: &[f32], difference: f64| {
        let along: f64 = gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let size = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt().max(1.0);
        assert!((along - difference).abs() < TOLERANCE * size, "{what}: {along} where differences say {difference}");
    };
    let direction = random(x.shape(), 3);
    let moved = |sign: f32| {
        let values = x.data().iter().zip(direction.data()).map(|(x, d)| x + sign * STEP * d).collect();
        Tensor::new(x.shape(), values).unwrap()
    };
    let difference = (score(&mut *session, &moved(1.0), &upstream) - score(&mut *session, &moved(-1.0), &upstream))
        / f64::from(2.0 * STEP);
    compare("input", found.inputs[0].data(), direction.data(), difference);
    for (i, weight) in model.trainable_weights().iter().enumerate() {
        let start = weight.values().clone();
        let direction = random(&[weight.count()], 4 + i as u64);
        let mut scores = [1.0f32, -1.0].map(|sign| {
            weight.set(start.iter().zip(direction.data()).map(|(w, d)| w + sign * STEP * d).collect()).unwrap();
            score(&mut *session, &x, &upstream)
        });
        scores[0] -= scores[1];
        weight.set(start).unwrap();
        compare(&weight.path(), &found.weights[&weight.id()], direction.data(), scores[0] / f64::from(2.0 * STEP));
    }
}

#[test]
fn a_chain_with_every_kind_of_layer() {
    let x = Input::new([9, 8, 2]);
    let y = Rescaling::new(0.5).offset([0.1, -0.2]).call(&x).unwrap();
    let y = ZeroPadding2D::new(1).call(&y).unwrap();
    let y = Conv2D::new(4, 3).padding(Padding::Same).activation(Tanh).call(&y).unwrap();
    let y = BatchNormalization::new().call(&y).unwrap();
    let y = AveragePooling2D::new(2).call(&y).unwrap();
    let y = Conv2D::new(6, [1, 2]).strides([1, 2]).groups(2).activation(Sigmoid).call(&y).unwrap();
    let y = Resizing::new(4, 3).call(&y).unwrap();
    let y = Flatten::new().call(&y).unwrap();
    let y = Dense::new(5).activation(Tanh).call(&y).unwrap();
    let y = Dense::new(3).activation(Softmax).call(&y).unwrap();
    check(&Model::new(&x, &y).unwrap());
}

/// Compares gradients that overwrite values with the same gradients in buffers of their own.
///
/// Gradients overwrite the inputs of 3x3 convolutions and pools, but never an output of the model. So the second model outputs
/// every value.
#[test]
fn gradients_in_the_place_of_values() {
    let x = Input::new([18, 17, 3]);
    let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same);
    let layers = [
        conv(24).activation(Relu).into_layer(),
        conv(25).activation(Relu).into_layer(),
        MaxPooling2D::new(2).into_layer(),
        conv(26).activation(Relu).into_layer(),
        conv(24).into_layer(),
        MaxPooling2D::new(2).into_layer(),
        Flatten::new().into_layer(),
    ];
    let mut values = vec![x.clone()];
    layers.iter().for_each(|layer| values.push(layer.call(values.last().unwrap()).unwrap()));
    let (all, last) = (&values[1..], values.last().unwrap());
    let gradients = |model: &Model, expected: [bool; 7]| {
        let plan = Plan::gradients(model, &request(true), 2, &options()).unwrap();
        let replaced: Vec<bool> = plan.program().steps.iter().map(|s| plan.gradient_in_place(s.output)).collect();
        assert_eq!(replaced, expected);
        let outputs = plan.program().outputs.iter().map(|&output| plan.program().size(output)).collect::<Vec<_>>();
        let upstream: Vec<Tensor> = (0..outputs.len())
            .map(|index| match index + 1 == outputs.len() {
                true => random(&[2, outputs[index]], 2),
                false => {
                    Tensor::zeros([&[2], plan.program().shapes[plan.program().outputs[index]].as_slice()].concat())
                }
            })
            .collect();
        let mut session = CpuExecutor::new(Some(2)).unwrap().prepare(plan).unwrap();
        let found = session.gradients(&[&random(&[2, 18, 17, 3], 1)], &upstream.iter().collect::<Vec<_>>(), 0).unwrap();
        let weights = model.trainable_weights().iter().map(|weight| found.weights[&weight.id()].clone()).collect();
        [vec![found.inputs[0].data().to_vec()], weights].concat()
    };
    // The output of a pool isn't overwritten, because the backward pass of the pool reads it.
    let in_place = gradients(&Model::new(&x, last).unwrap(), [true, true, false, true, true, false, false]);
    let out_of_place = gradients(&Model::new(&x, all).unwrap(), [false; 7]);
    assert!(in_place.iter().all(|gradient| gradient.iter().any(|&g| g != 0.0)));
    assert!(in_place == out_of_place);
}

#[test]
fn values_read_more_than_once() {
    let x = Input::new([6, 6, 3]);
    let stem = Conv2D::new(4, 3).padding(Padding::Same).activation(Tanh).call(&x).unwrap();
    let branch = Conv2D::new(4, 3).padding(Padding::Same).call(&stem).unwrap();
    let sum = Add::new().call([&branch, &stem, &stem]).unwrap();
    let joined = Concatenate::new().call([&sum, &branch, &x]).unwrap();
    let rows = Concatenate::new().axis(1).call([&joined, &joined]).unwrap();
    let flat = Flatten::new().call(&rows).unwrap();
    let pooled = GlobalAveragePooling2D::new().call(&rows).unwrap();
    let y = Concatenate::new().call([&flat, &pooled, &flat]).unwrap();
    let y = Dense::new(2).activation(Sigmoid).call(&y).unwrap();
    check(&Model::new(&x, &y).unwrap());
}

#[test]
fn layers_and_models_called_twice() {
    let inner = Input::new([4]);
    let nested = Dense::new(4).activation(Tanh).call(&inner).unwrap();
    let nested = Model::new(&inner, &nested).unwrap();
    let shared = Dense::new(4).activation(Sigmoid).into_layer();
    let x = Input::new([4]);
    let y = nested.call(&shared.call(&x).unwrap()).unwrap();
    let y = nested.call(&shared.call(&y).unwrap()).unwrap();
    let y = Add::new().call([&y, &shared.call(&x).unwrap()]).unwrap();
    check(&Model::new(&x, &y).unwrap());
}

#[test]
fn an_input_reshaped_and_used_as_it_is() {
    let x = Input::new([2, 3, 2]);
    let flat = Dense::new(4).activation(Tanh).call(&Flatten::new().call(&x).unwrap()).unwrap();
    let pooled = GlobalAveragePooling2D::new().call(&x).unwrap();
    let y = Concatenate::new().call([&flat, &pooled]).unwrap();
    check(&Model::new(&x, &Dense::new(3).call(&y).unwrap()).unwrap());
}

#[test]
fn a_block_that_weighs_its_channels() {
    let x = Input::new([7, 6, 3]);
    let y = SeparableConv2D::new(4, 3).depth_multiplier(2).padding(Padding::Same).activation(Tanh).call(&x).unwrap();
    let y = DepthwiseConv2D::new(3).strides(2).padding(Padding::Same).activation(Sigmoid).call(&y).unwrap();
    let weights = GlobalAveragePooling2D::new().call(&y).unwrap();
    let weights = Dense::new(4).activation(Sigmoid).call(&weights).unwrap();
    let weights = Reshape::new([1, 1, 4]).call(&weights).unwrap();
    let weighed = Multiply::new().call([&weights, &y]).unwrap();
    let squared = Multiply::new().call([&y, &y, &weighed]).unwrap();
    let mean = Average::new().call([&squared, &weighed]).unwrap();
    let difference = Subtract::new().call([&mean, &y]).unwrap();
    let permuted = Permute::new([2, 3, 1]).call(&difference).unwrap();
    let soft = engraft_nn::layers::Softmax::new().axis(1).call(&permuted).unwrap();
    let cropped = Cropping2D::new([[1, 0], [0, 1]]).call(&soft).unwrap();
    let larger = UpSampling2D::new(2).call(&cropped).unwrap();
    let y = Dense::new(3).call(&Flatten::new().call(&larger).unwrap()).unwrap();
    check(&Model::new(&x, &y).unwrap());
}
