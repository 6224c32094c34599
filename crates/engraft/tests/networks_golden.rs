//! One network of each family of `keras.applications` predicts the same as in Keras and has the same gradients, with weights by a
//! formula on both sides.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft::ActivationFn;
use engraft::applications::{Architecture, Network};
use engraft::cpu::CpuExecutor;
use engraft::plan::{Executor, GradientRequest, Plan};
use engraft::prelude::*;
use engraft_golden::{Case, cases};

/// Numbers of array `k` by the formula of `golden/cases/networks.py`.
fn numbers(k: usize, count: usize, low: f64, high: f64) -> Vec<f32> {
    let number = |i: u32| {
        let mut x = i ^ (k as u32).wrapping_mul(0x9e37_79b9);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        (low + (high - low) * (f64::from(x) / 4_294_967_296.0)) as f32
    };
    (0..count as u32).map(number).collect()
}

/// The range of a weight.
fn bounds(name: &str, shape: &[usize]) -> (f64, f64) {
    if ["gamma", "moving_variance", "variance"].contains(&name) {
        return (0.7, 1.3);
    }
    if shape.len() < 2 {
        return (-0.3, 0.3);
    }
    let axes = if shape.last() == Some(&1) { 2 } else { shape.len() - 1 };
    let fan_in: usize = shape[..axes].iter().product();
    let limit = (6.0 / fan_in as f64).sqrt();
    (-limit, limit)
}

/// Weights by the formula. The factor of a BatchNormalization scales its moving variance, and the root its moving mean.
fn set_weights(model: &Model, case: &Case) {
    let mut factors = case.get("factors").as_array().unwrap().iter().map(|factor| factor.as_f64().unwrap() as f32);
    let mut factor = 1.0;
    for (k, weight) in model.weights().iter().enumerate() {
        let name = weight.name().rsplit('/').next().unwrap();
        if name == "count" {
            continue;
        }
        let (low, high) = bounds(name, weight.shape());
        let mut values = numbers(k, weight.count(), low, high);
        if name == "moving_mean" {
            factor = factors.next().unwrap();
            values.iter_mut().for_each(|value| *value *= factor.sqrt());
        }
        if name == "moving_variance" {
            values.iter_mut().for_each(|value| *value *= factor);
        }
        weight.set(values).unwrap();
    }
    assert_eq!(factors.next(), None);
}

/// The first images: blocks of 8 by 8 pixels, which differ by the numbers of array `noise`.
fn images(case: &Case, count: usize, noise: usize) -> Tensor {
    let side = case.get("side").as_u64().unwrap() as usize;
    let range = case.get("pixels").as_array().unwrap();
    let [low, high] = [0, 1].map(|end: usize| range[end].as_f64().unwrap());
    let blocks = side.div_ceil(8);
    let small = numbers(99_999, count * blocks * blocks * 3, low, high);
    let at =
        |image: usize, row: usize, column: usize, c: usize| ((image * blocks + row / 8) * blocks + column / 8) * 3 + c;
    let noise = numbers(noise, count * side * side * 3, low, high);
    let mut pixels = Vec::with_capacity(noise.len());
    for (image, row, column) in positions(count, side) {
        pixels.extend((0..3).map(|c| 0.75 * small[at(image, row, column, c)]));
    }
    pixels.iter_mut().zip(noise).for_each(|(pixel, noise)| *pixel += 0.25 * noise);
    Tensor::new([count, side, side, 3], pixels).unwrap()
}

fn positions(count: usize, side: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..count).flat_map(move |image| (0..side).flat_map(move |row| (0..side).map(move |column| (image, row, column))))
}

/// The network of a case, with the arguments of Keras' function.
fn network(case: &Case) -> Model {
    let side = case.get("side").as_u64().unwrap() as usize;
    let architecture = Architecture::find(case.get("network").as_str().unwrap()).unwrap();
    let mut network = Network::new(architecture).weights("none").input_shape([side, side, 3]);
    network = network.classifier_activation(ActivationFn::Linear);
    for (argument, value) in case.get("arguments").as_object().unwrap() {
        network = match argument.as_str() {
            "include_top" => network.include_top(value.as_bool().unwrap()),
            "pooling" => network.pooling(Pooling::Avg),
            "classes" => network.classes(value.as_u64().unwrap() as usize),
            "alpha" => network.alpha(value.as_f64().unwrap()),
            "depth_multiplier" => network.depth_multiplier(value.as_u64().unwrap() as usize),
            "minimalistic" => network.minimalistic(value.as_bool().unwrap()),
            "include_preprocessing" => network.include_preprocessing(value.as_bool().unwrap()),
            other => panic!("{other}"),
        };
    }
    network.build().unwrap()
}

/// Every third row and column of an image.
fn thirds(image: &Tensor) -> Vec<f32> {
    let side = image.shape()[1];
    let kept = positions(1, side).enumerate().filter(|(_, (_, row, column))| row % 3 == 0 && column % 3 == 0);
    kept.flat_map(|(pixel, _)| image.data()[3 * pixel..3 * pixel + 3].to_vec()).collect()
}

fn check(case: &Case) {
    let model = network(case);
    let place = case.name();
    assert_eq!(model.name(), case.get("model_name").as_str().unwrap(), "{place}");
    assert_eq!(model.count_params() as u64, case.get("parameters").as_u64().unwrap(), "{place}");
    set_weights(&model, case);
    let arrays = case.arrays();
    let near = |name: &str, found: &[f32]| {
        let (expected, tolerance) = (arrays.get(name), arrays.get(&format!("{name}_tolerance")));
        assert_eq!(found.len(), expected.data().len(), "{place}: {name}");
        for (i, (found, expected)) in found.iter().zip(expected.data()).enumerate() {
            let tolerance = tolerance.data()[i.min(tolerance.data().len() - 1)];
            let off = (found - expected).abs();
            assert!(
                off <= tolerance,
                "{place}: {name}[{i}] is {found} instead of {expected}, off by {off}, at most {tolerance}"
            );
        }
    };
    let y = model.predict(&images(case, 3, 99_997), 3).unwrap();
    near("y", y.data());

    // No number is near a kink of ReLU or the like for this image, where the gradient isn't determined at single precision.
    let image = images(case, 1, 100_000 + case.get("seed").as_u64().unwrap() as usize);
    let executor = CpuExecutor::new(Some(1)).unwrap();
    let request = GradientRequest { inputs: true, weights: true, ..GradientRequest::default() };
    let plan = Plan::gradients(&model, &request, 1, &executor.plan_options()).unwrap();
    let outputs = y.shape()[1];
    let upstream = Tensor::new([1, outputs], numbers(99_998, outputs, -1.0, 1.0)).unwrap();
    let found = executor.prepare(plan).unwrap().gradients(&[&image], &[&upstream], 0).unwrap();
    near("dx", &thirds(&found.inputs[0]));
    let sums = model.trainable_weights().into_iter().enumerate().map(|(k, weight)| {
        let factors = numbers(k, weight.count(), -1.0, 1.0);
        let gradient = &found.weights[&weight.id()];
        gradient.iter().zip(factors).map(|(g, factor)| f64::from(*g) * f64::from(factor)).sum::<f64>() as f32
    });
    near("sums", &sums.collect::<Vec<f32>>());
}

#[test]
fn networks_have_the_predictions_and_gradients_of_keras() {
    for case in cases("networks") {
        check(&case);
    }
}
