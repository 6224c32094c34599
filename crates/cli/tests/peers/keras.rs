//! Keras' own files.

use engraft::applications::vgg16::preprocess_input;
use engraft::formats::Precision;
use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::npy;
use engraft::prelude::*;
use engraft::random::Rng;

use crate::python::Peers;

/// What Keras and we may differ by in a probability.
const TOLERANCE: f32 = 1e-4;

/// Keras' losses after some steps, which sum in another order.
const LOSS_TOLERANCE: f64 = 1e-4;

/// Nested, with statistics, a shared layer and an operation.
fn model() -> Model {
    let x = Input::new([16, 16, 3]);
    let y = Rescaling::new(1.0 / 255.0).call(&preprocess_input(&x).unwrap()).unwrap();
    let base = Sequential::with_name("base").add(Input::new([16, 16, 3])).add(Conv2D::new(4, 3).activation(Relu));
    let base = base.add(MaxPooling2D::new(2)).add(BatchNormalization::new()).build().unwrap();
    let y = Flatten::new().call(&base.call(&y).unwrap()).unwrap();
    let y = Dense::new(8).activation(Relu).named("first").call(&y).unwrap();
    let shared = Dense::new(8).named("shared");
    let y = Add::new().call([&shared.call(&y).unwrap(), &shared.call(&shared.call(&y).unwrap()).unwrap()]).unwrap();
    let y = Dense::new(3).activation(Softmax).named("classes").call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

fn photos() -> (Tensor, Tensor) {
    let mut rng = Rng::new(3);
    let x = (0..4 * 16 * 16 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
    let y = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    (Tensor::new([4, 16, 16, 3], x).unwrap(), Tensor::new([4, 3], y).unwrap())
}

/// The largest difference, of predictions whose numbers are few.
fn largest_difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    found.data().iter().zip(expected.data()).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()))
}

/// The losses of some more steps on all photos.
fn losses(model: &Model, x: &Tensor, y: &Tensor, steps: usize) -> Vec<f32> {
    (0..steps).map(|_| model.train_on_batch(x, y).unwrap().loss as f32).collect()
}

#[test]
fn keras_opens_what_we_write_and_goes_on_training() {
    let Some(peers) = Peers::find() else { return };
    let (model, (x, y)) = (model(), photos());
    losses(&model, &x, &y, 2);
    let (archive, hdf5) = (peers.path("model.keras"), peers.path("model.h5"));
    let (weights, old_weights) = (peers.path("model.weights.h5"), peers.path("old.h5"));
    let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
    keras::save(&model, &archive, &options).unwrap();
    legacy::save(&model, &hdf5, &options).unwrap();
    keras::save_weights(&model, &weights, Precision::F32).unwrap();
    legacy::save_weights(&old_weights, &model.layers()).unwrap();

    let photos = peers.array("x.npy", &x);
    let expected = peers.array("y.npy", &model.predict(&x, 4).unwrap());
    peers.agree("keras_loads.py", &[&archive, &photos, &expected]);
    peers.agree("keras_loads.py", &[&hdf5, &photos, &expected]);
    peers.agree("keras_loads.py", &[&archive, &photos, &expected, &weights]);
    peers.agree("keras_loads.py", &[&archive, &photos, &expected, &old_weights]);
    peers.agree("keras_loads.py", &[&archive, &photos, &expected, &old_weights, "by_name".as_ref()]);

    let labels = peers.array("labels.npy", &y);
    let losses = losses(&model, &x, &y, 3);
    let losses = peers.array("losses.npy", &Tensor::new([3], losses).unwrap());
    // Not from the .h5: Keras 3 builds the optimizer of one for no weights, of its own files, too.
    peers.agree("keras_goes_on.py", &[&archive, &photos, &labels, &losses]);
}

#[test]
fn we_open_what_keras_writes_and_go_on_training() {
    let Some(peers) = Peers::find() else { return };
    peers.agree("keras_writes.py", &[&peers.path("")]);
    let arrays = npy::load_npz(&peers.path("arrays.npz")).unwrap();
    let array = |name: &str| &arrays.iter().find(|(found, _)| found == name).unwrap().1;
    let check = |model: &Model, what: &str| {
        let largest = largest_difference(&model.predict(array("x"), 4).unwrap(), array("y"));
        assert!(largest <= TOLERANCE, "{what}: off by {largest}");
    };
    for file in ["model.keras", "model.h5"] {
        let archive = keras::load(&peers.path(file)).unwrap();
        assert_eq!((archive.warnings.len(), archive.keras_version.as_deref()), (0, Some("3.15.1")), "{file}");
        let model = archive.model;
        check(&model, file);
        model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        keras::load_weights(&peers.path("model.weights.h5"), &model).unwrap();
        check(&model, "model.weights.h5");
        for (found, expected) in losses(&model, array("x"), array("labels"), 3).iter().zip(array("losses").data()) {
            let difference = f64::from((found - expected).abs());
            assert!(difference <= LOSS_TOLERANCE, "{file}: a loss of {found} and not {expected}");
        }
    }
}

/// Every program of the golden values, read and written again.
#[test]
fn keras_opens_its_own_models_as_we_write_them() {
    let Some(peers) = Peers::find() else { return };
    let mut files = 0;
    for case in engraft_golden::cases("models") {
        let file = case.get("file").as_str().unwrap();
        if !file.ends_with(".keras") || !case.get("weights_file").is_null() {
            continue;
        }
        let model = keras::load_model(&case.path(file)).unwrap();
        let arrays = format!("{}.npz", case.name());
        std::fs::copy(case.path(&arrays), peers.path(&arrays)).unwrap();
        let options = SaveOptions::default();
        keras::save(&model, &peers.path(file), &options).unwrap();
        legacy::save(&model, &peers.path(file).with_extension("h5"), &options).unwrap();
        files += 2;
    }
    assert!(files >= 36, "only {files} files");
    peers.agree("keras_loads_all.py", &[&peers.path("")]);
}

#[test]
fn keras_2_takes_our_weights_and_we_go_on_where_it_stopped() {
    let Some(peers) = Peers::find() else { return };
    let mut rng = Rng::new(5);
    let x = Input::new([8, 8, 3]);
    let base = Sequential::with_name("base").add(Input::new([8, 8, 3]));
    let base = base.add(Conv2D::new(4, 3).activation(Relu).named("conv")).add(BatchNormalization::new().named("norm"));
    let y = Rescaling::new(1.0 / 255.0).call(&x).unwrap();
    let y = Flatten::new().call(&base.build().unwrap().call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &Dense::new(3).activation(Softmax).named("top").call(&y).unwrap()).unwrap();
    for weight in model.weights() {
        // Statistics that are ones and zeros would agree anywhere.
        weight.values_mut().iter_mut().for_each(|value| *value += rng.uniform(0.0, 0.2));
    }
    let pixels = (0..4 * 8 * 8 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
    let (x, labels) = (Tensor::new([4, 8, 8, 3], pixels).unwrap(), photos().1);
    peers.array("x.npy", &x);
    peers.array("labels.npy", &labels);
    peers.array("y.npy", &model.predict(&x, 4).unwrap());
    legacy::save_weights(&peers.path("ours.h5"), &model.layers()).unwrap();
    peers.agree("keras2.py", &[&peers.path("")]);

    let array = |name: &str| npy::load(&peers.path(name)).unwrap();
    let check = |model: &Model, what: &str| {
        let largest = largest_difference(&model.predict(&x, 4).unwrap(), &array("theirs.npy"));
        assert!(largest <= TOLERANCE, "{what}: off by {largest}");
    };
    legacy::load_weights(&peers.path("their_weights.h5"), &model.layers()).unwrap();
    check(&model, "by order");
    model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
    legacy::load_weights_by_name(&peers.path("their_weights.h5"), &model.layers()).unwrap();
    check(&model, "by name");
    let archive = keras::load(&peers.path("theirs.h5")).unwrap();
    assert_eq!((archive.warnings, archive.keras_version.as_deref()), (vec![], Some("2.21.0")));
    check(&archive.model, "whole");
    for (found, expected) in losses(&archive.model, &x, &labels, 3).iter().zip(array("losses.npy").data()) {
        assert!(f64::from((found - expected).abs()) <= LOSS_TOLERANCE, "a loss of {found} and not {expected}");
    }
}
