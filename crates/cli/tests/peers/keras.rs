//! Keras' own files.

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
    let y = Rescaling::new(1.0 / 255.0).call(&x).unwrap();
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
        let found = model.predict(array("x"), 4).unwrap();
        let differences = found.data().iter().zip(array("y").data()).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
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
