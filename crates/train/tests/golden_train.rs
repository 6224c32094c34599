//! Ten training steps, and metrics, compared with Keras.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_data::{Arrays, Dataset};
use engraft_formats::keras;
use engraft_golden::{Case, relative_error};
use engraft_nn::prelude::*;
use engraft_nn::{LossKind, MetricState};
use engraft_train::{Fit, Train};

/// The batch of step `index`.
fn batch(arrays: &engraft_golden::Arrays, index: usize) -> (Tensor, Tensor) {
    let part = |name: &str| {
        let all = arrays.get(name);
        Tensor::new(&all.shape()[1..], all.row(index).to_vec()).unwrap()
    };
    (part("x"), part("y"))
}

/// The losses of ten training steps.
fn ten_losses(case: &Case, model: &Model) -> Vec<f64> {
    let batches = engraft_golden::Arrays::open(&case.path(case.get("batches").as_str().unwrap()));
    let class_weights: Option<Vec<f32>> = case
        .get("class_weight")
        .as_object()
        .map(|weights| (0..weights.len()).map(|class| weights[&class.to_string()].as_f64().unwrap() as f32).collect());
    (0..10)
        .map(|index| {
            let (x, y) = batch(&batches, index);
            match &class_weights {
                None => model.train_on_batch(&x, &y).unwrap().loss,
                Some(weights) => {
                    let size = x.batch();
                    let data = Arrays::new(x, y).unwrap();
                    let options = Fit::new().batch_size(size).shuffle(false).class_weights(weights);
                    model.fit(&data, options).unwrap().last("loss").unwrap()
                }
            }
        })
        .collect()
}

#[test]
fn ten_steps_as_keras_makes_them() {
    let cases = engraft_golden::cases("train");
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let arrays = case.arrays();
        let model = keras::load_model(&case.path(case.get("model").as_str().unwrap())).unwrap();
        let (x, _) = batch(&engraft_golden::Arrays::open(&case.path("batches.npz")), 0);
        let before: Vec<Vec<f32>> = model.weights().iter().map(|w| w.values().clone()).collect();
        let error = relative_error(model.predict(&x, 6).unwrap().data(), arrays.get("predict_before").data());
        assert!(error < 1e-5, "{}: predictions before differ by {error}", case.name());

        let losses = ten_losses(case, &model);
        for (step, (found, expected)) in losses.iter().zip(arrays.get("losses").data()).enumerate() {
            let expected = f64::from(*expected);
            assert!((found - expected).abs() <= 1e-4 * expected, "{} step {step}: {found} for {expected}", case.name());
        }
        let error = relative_error(model.predict(&x, 6).unwrap().data(), arrays.get("predict_after").data());
        // Differences grow over ten steps of Adam.
        assert!(error < 1e-3, "{}: predictions after differ by {error}", case.name());
        let trainable: Vec<usize> = model.trainable_weights().iter().map(|w| w.id()).collect();
        for ((weight, name), before) in model.weights().iter().zip(case.names("weights_after")).zip(&before) {
            let error = relative_error(&weight.values(), arrays.get(name).data());
            assert!(error < 1e-3, "{} {}: off by {error}", case.name(), weight.path());
            if !trainable.contains(&weight.id()) && weight.trainable() {
                assert_eq!(*weight.values(), *before, "{}: frozen {} has changed", case.name(), weight.path());
            }
        }
        if case.name() == "batch_normalization_frozen" {
            let moving = model.weights().into_iter().zip(&before).filter(|(w, _)| w.name().starts_with("moving"));
            assert!(moving.map(|(w, before)| assert_eq!(*w.values(), *before)).count() >= 4);
        }
    }
}

#[test]
fn metrics_as_keras_counts_them() {
    let mut checked = 0;
    for case in engraft_golden::cases("metrics") {
        let updates = case.get("updates").as_array().unwrap();
        if updates.iter().any(|update| !update["sample_weight"].is_null()) {
            continue;
        }
        let arrays = case.arrays();
        let array = |update: &serde_json::Value, key: &str| arrays.get(update[key].as_str().unwrap()).clone();
        let class_name = case.get("metric")["class_name"].as_str().unwrap();
        let kind = match class_name {
            name if name.starts_with("Sparse") => LossKind::SparseCategoricalCrossentropy,
            name if name.starts_with("Binary") => LossKind::BinaryCrossentropy,
            _ => LossKind::CategoricalCrossentropy,
        };
        if case.name() == "binary_accuracy_threshold" {
            assert!(Metric::from_keras(case.get("metric")).unwrap_err().to_string().contains("threshold of 0.5"));
            continue;
        }
        let mut state = MetricState::new(Metric::from_keras(case.get("metric")).unwrap());
        let results = arrays.get(case.get("results").as_str().unwrap());
        for (update, expected) in updates.iter().zip(results.data()) {
            let outputs = array(update, "y_pred");
            let width = outputs.shape().last().copied().unwrap();
            state.update(kind, outputs.data(), array(update, "y_true").data(), width);
            assert!(
                (state.result() - f64::from(*expected)).abs() < 1e-6,
                "{}: {} for {expected}",
                case.name(),
                state.result()
            );
        }
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} cases");
}

/// The weights of a small network with all kinds of random layers, trained on forty random images.
fn trained_weights(threads: usize) -> Vec<Vec<f32>> {
    engraft_nn::clear_session();
    let x = Input::new([20, 20, 3]);
    let y = RandomFlip::horizontal().call(&x).unwrap();
    let y = RandomRotation::new(0.1).call(&y).unwrap();
    let y = RandomZoom::new(0.2).call(&y).unwrap();
    let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).call(&y).unwrap();
    let y = BatchNormalization::new().call(&y).unwrap();
    let y = MaxPooling2D::new(2).call(&y).unwrap();
    let y = Conv2D::new(16, 3).activation(Relu).call(&y).unwrap();
    let y = Flatten::new().call(&y).unwrap();
    let y = Dense::new(64).activation(Relu).call(&y).unwrap();
    let y = Dropout::new(0.3).call(&y).unwrap();
    let y = Dense::new(4).activation(Softmax).call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    let mut rng = engraft_nn::random::Rng::new(5);
    let images = (0..40 * 20 * 20 * 3).map(|_| rng.uniform(0.0, 1.0)).collect();
    let targets = (0..40).flat_map(|i| (0..4).map(move |c| f32::from(u8::from(i % 4 == c)))).collect();
    let data =
        Arrays::new(Tensor::new([40, 20, 20, 3], images).unwrap(), Tensor::new([40, 4], targets).unwrap()).unwrap();
    let runtime = engraft_runtime::Runtime::cpu(Some(threads)).unwrap();
    let options = Fit::new().epochs(2).batch_size(7).seed(3).runtime(&runtime).validation(&data);
    assert_eq!(data.len(), 40);
    model.fit(&data, options).unwrap();
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let one = trained_weights(1);
    assert_eq!(one, trained_weights(1));
    assert_eq!(one, trained_weights(2));
    assert_eq!(one, trained_weights(3));
}
