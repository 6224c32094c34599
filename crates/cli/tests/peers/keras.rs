//! Files of Keras 3 and Keras 2, in both directions: predictions, weights and resumed training.

use std::path::{Path, PathBuf};

use engraft::applications::vgg16::preprocess_input;
use engraft::formats::FloatType;
use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::npy;
use engraft::prelude::*;
use engraft::random::Rng;

use crate::python::Peers;

/// Largest accepted difference of a probability from Keras.
const TOLERANCE: f32 = 1e-4;

/// Largest accepted difference of a loss from Keras. It covers other orders of f32 sums, accumulated over the steps.
const LOSS_TOLERANCE: f64 = 1e-4;

/// Number of steps after training is resumed. The optimizer's state affects the losses from the second step on.
const MORE_STEPS: usize = 3;

/// Optimizers that together use all state variables (moments, momentum, mean gradient), and two learning rate schedules.
fn optimizers() -> [Optimizer; 9] {
    [
        Adam::new(0.01).into(),
        Optimizer::adam_w(0.01),
        Sgd::new(0.01).into(),
        Sgd::new(0.01).momentum(0.9).nesterov(true).into(),
        RmsProp::new(1e-3).momentum(0.5).into(),
        RmsProp::new(1e-3).centered(true).into(),
        RmsProp::new(1e-3).momentum(0.5).centered(true).into(),
        Adam::new(CosineDecay::new(0.001, 4).warmup_target(0.01).warmup_steps(1).alpha(0.1)).into(),
        Sgd::new(ExponentialDecay::new(0.01, 1, 0.5)).into(),
    ]
}

/// A model with a nested base, moving statistics, a shared layer and an `Add`. The first layers of the base are frozen.
pub(crate) fn model(optimizer: Optimizer) -> Model {
    let x = Input::new([16, 16, 3]);
    let y = Rescaling::new(1.0 / 255.0).call(&preprocess_input(&x).unwrap()).unwrap();
    let base = Sequential::with_name("base").add(Input::new([16, 16, 3])).add(Conv2D::new(4, 3).activation(Relu));
    let base = base.add(MaxPooling2D::new(2)).add(Conv2D::new(4, 3).activation(Relu)).add(BatchNormalization::new());
    let base = base.build().unwrap();
    base.layers().iter().take(2).for_each(|layer| layer.set_trainable(false));
    let y = Flatten::new().call(&base.call(&y).unwrap()).unwrap();
    let y = Dense::new(8).activation(Relu).named("first").call(&y).unwrap();
    let shared = Dense::new(8).named("shared");
    let y = Add::new().call([&shared.call(&y).unwrap(), &shared.call(&shared.call(&y).unwrap()).unwrap()]).unwrap();
    let y = Dense::new(3).activation(Softmax).named("classes").call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    model.compile(optimizer, Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

pub(crate) fn photos() -> (Tensor, Tensor) {
    let mut rng = Rng::new(3);
    let x = (0..4 * 16 * 16 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
    let y = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    (Tensor::new([4, 16, 16, 3], x).unwrap(), Tensor::new([4, 3], y).unwrap())
}

/// The largest absolute difference of two tensors of the same shape.
fn largest_difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    found.data().iter().zip(expected.data()).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()))
}

fn same_losses(found: &[f32], expected: &Tensor, what: &str) {
    assert_eq!(expected.data().len(), found.len(), "{what}");
    for (found, expected) in found.iter().zip(expected.data()) {
        let difference = f64::from((found - expected).abs());
        assert!(difference <= LOSS_TOLERANCE, "{what}: a loss of {found} and not {expected}");
    }
}

/// Makes `steps` training steps on all photos, and returns their losses.
pub(crate) fn losses(model: &Model, x: &Tensor, y: &Tensor, steps: usize) -> Vec<f32> {
    (0..steps).map(|_| model.train_on_batch(x, y).unwrap().loss as f32).collect()
}

#[test]
fn keras_opens_what_we_write() {
    let Some(peers) = Peers::find() else { return };
    let (model, (x, y)) = (model(Adam::new(0.01).into()), photos());
    losses(&model, &x, &y, 2);
    let (archive, hdf5) = (peers.path("model.keras"), peers.path("model.h5"));
    let (weights, old_weights) = (peers.path("model.weights.h5"), peers.path("old.h5"));
    let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
    keras::save(&model, &archive, &options).unwrap();
    legacy::save(&model, &hdf5, &options).unwrap();
    keras::save_weights(&model, &weights, FloatType::F32).unwrap();
    legacy::save_weights(&old_weights, &model.layers()).unwrap();

    let photos = peers.array("x.npy", &x);
    let expected = peers.array("y.npy", &model.predict(&x, 4).unwrap());
    let loads = |model: &Path, weights: &[&Path]| {
        peers.agree("keras_loads.py", &[&[model, "1e-4".as_ref(), &photos, &expected], weights].concat());
    };
    loads(&archive, &[]);
    loads(&hdf5, &[]);
    loads(&archive, &[&weights]);
    loads(&archive, &[&old_weights]);
    loads(&archive, &[&old_weights, "by_name".as_ref()]);
}

#[test]
fn keras_answers_the_same_with_normalized_features() {
    let Some(peers) = Peers::find() else { return };
    let layers =
        Sequential::new().add(Input::new([16, 16, 3])).add(Conv2D::new(4, 3)).add(GlobalAveragePooling2D::new());
    let model =
        layers.add(Normalization::adapted().named("feature_normalization")).add(Dense::new(3).activation(Softmax));
    let model = model.build().unwrap();
    let statistics = model.get_layer("feature_normalization").unwrap().weights();
    statistics[0].set(vec![-3.0, 0.5, 20.0, 100.0]).unwrap();
    statistics[1].set(vec![400.0, 900.0, 2500.0, 1e4]).unwrap();
    let (photos, _) = photos();
    let (x, expected) = (peers.array("x.npy", &photos), peers.array("y.npy", &model.predict(&photos, 4).unwrap()));
    for name in ["model.keras", "model.h5"] {
        let file = peers.path(name);
        match name {
            "model.keras" => keras::save(&model, &file, &SaveOptions::default()).unwrap(),
            _ => legacy::save(&model, &file, &SaveOptions::default()).unwrap(),
        }
        peers.agree("keras_loads.py", &[&file, Path::new("1e-4"), &x, &expected]);
    }
}

#[test]
fn keras_goes_on_where_our_training_stopped() {
    let Some(peers) = Peers::find() else { return };
    let (x, y) = photos();
    let mut files = vec![peers.array("x.npy", &x), peers.array("labels.npy", &y)];
    for (number, optimizer) in optimizers().into_iter().enumerate() {
        let config = optimizer.to_keras().to_string();
        let model = model(optimizer);
        losses(&model, &x, &y, 2);
        // Not as `.h5`: Keras 3 loses the optimizer's state in such a file, even in one of its own, because it builds the
        // optimizer without weights.
        files.push(peers.path(&format!("{number}.keras")));
        let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
        keras::save(&model, &files[files.len() - 1], &options).unwrap();
        let losses = Tensor::new([MORE_STEPS], losses(&model, &x, &y, MORE_STEPS)).unwrap();
        files.push(peers.array(&format!("{number}.npy"), &losses));
        files.push(config.into());
    }
    peers.agree("keras_resumes.py", &files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
}

#[test]
fn we_open_what_keras_writes_and_go_on_training() {
    let Some(peers) = Peers::find() else { return };
    let optimizers = optimizers().map(|optimizer| optimizer.to_keras().to_string());
    let mut arguments = vec![peers.path("")];
    arguments.extend(optimizers.iter().map(PathBuf::from));
    peers.agree("keras_writes.py", &arguments.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    for (number, optimizer) in optimizers.iter().enumerate() {
        let file = |name: &str| peers.path(&number.to_string()).join(name);
        let arrays = npy::load_npz(&file("arrays.npz")).unwrap();
        let array = |name: &str| &arrays.iter().find(|(found, _)| found == name).unwrap().1;
        let check = |model: &Model, what: &str| {
            let largest = largest_difference(&model.predict(array("x"), 4).unwrap(), array("y"));
            assert!(largest <= TOLERANCE, "{what}: off by {largest}");
        };
        for name in ["model.keras", "model.h5"] {
            let archive = keras::load(&file(name)).unwrap();
            assert_eq!((archive.warnings, archive.keras_version.as_deref()), (vec![], Some("3.15.1")), "{optimizer}");
            let model = archive.model;
            assert_eq!(model.compiled().as_ref().unwrap().state.iterations(), 2, "{optimizer} in {name}");
            check(&model, name);
            model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
            keras::load_weights(&file("model.weights.h5"), &model).unwrap();
            check(&model, "model.weights.h5");
            let what = format!("{optimizer} in {name}");
            same_losses(&losses(&model, array("x"), array("labels"), MORE_STEPS), array("losses"), &what);
        }
    }
}

/// Loads each golden model that Keras wrote as `.keras`, saves it as `.keras` and `.h5`, and lets Keras load both.
#[test]
fn keras_opens_its_own_models_as_we_write_them() {
    let Some(peers) = Peers::find() else { return };
    let mut files = 0;
    let folders = ["models", "attention_models"];
    for case in folders.into_iter().flat_map(engraft_golden::cases) {
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
    let base = base.build().unwrap();
    // A frozen layer changes the order of weights in the file: Keras 2 writes trainable weights before the others.
    base.get_layer("conv").unwrap().set_trainable(false);
    let y = Rescaling::new(1.0 / 255.0).call(&x).unwrap();
    let y = Flatten::new().call(&base.call(&y).unwrap()).unwrap();
    let y = Dense::new(4).activation(Tanh).named("hidden").call(&y).unwrap();
    let model = Model::new(&x, &Dense::new(3).activation(Softmax).named("top").call(&y).unwrap()).unwrap();
    for weight in model.weights() {
        // Initial weights such as zeros and ones would hide a missing or swapped weight.
        weight.values_mut().iter_mut().for_each(|value| *value += rng.uniform(0.0, 0.2));
    }
    let pixels = (0..4 * 8 * 8 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
    let (x, labels) = (Tensor::new([4, 8, 8, 3], pixels).unwrap(), photos().1);
    peers.array("x.npy", &x);
    peers.array("labels.npy", &labels);
    peers.array("y.npy", &model.predict(&x, 4).unwrap());
    legacy::save_weights(&peers.path("ours.h5"), &model.layers()).unwrap();
    peers.agree("keras2.py", &[&peers.path("")]);

    let folders: Vec<PathBuf> =
        (0..).map(|number: usize| peers.path(&number.to_string())).take_while(|folder| folder.exists()).collect();
    assert_eq!(folders.len(), 8, "one of each optimizer");
    for folder in folders {
        let (file, array) = (|name: &str| folder.join(name), |name: &str| npy::load(&folder.join(name)).unwrap());
        let check = |model: &Model, what: &str| {
            let largest = largest_difference(&model.predict(&x, 4).unwrap(), &array("y.npy"));
            assert!(largest <= TOLERANCE, "{what} in {}: off by {largest}", folder.display());
        };
        legacy::load_weights(&file("weights.h5"), &model.layers()).unwrap();
        check(&model, "by order");
        model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        legacy::load_weights_by_name(&file("weights.h5"), &model.layers()).unwrap();
        check(&model, "by name");
        let archive = keras::load(&file("model.h5")).unwrap();
        assert_eq!((archive.warnings, archive.keras_version.as_deref()), (vec![], Some("2.21.0")));
        check(&archive.model, "whole");
        let optimizer = archive.model.compiled().unwrap().optimizer.unwrap();
        assert_eq!(archive.model.compiled().as_ref().unwrap().state.iterations(), 2, "{optimizer:?}");
        let found = losses(&archive.model, &x, &labels, MORE_STEPS);
        same_losses(&found, &array("losses.npy"), &format!("{optimizer:?}"));
    }
}
