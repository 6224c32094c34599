//! Weights of VGG16 exchanged with torchvision, in both directions.

use engraft::ActivationFn;
use engraft::formats::npy;
use engraft::formats::safetensors::{self, Naming, SaveOptions};
use engraft::prelude::*;
use engraft::random::Rng;
use engraft_golden::relative_error;

use crate::python::Peers;

/// Tolerance relative to the largest logit: f32 sums have another order in each of the sixteen layers.
const TOLERANCE: f32 = 1e-4;

#[test]
fn vgg16_goes_there_and_comes_back() {
    let Some(peers) = Peers::find() else { return };
    let model = || vgg16().weights("none").classifier_activation(ActivationFn::Linear).build().unwrap();
    let mut rng = Rng::new(1);
    let x = (0..224 * 224 * 3).map(|_| rng.uniform(-2.0, 2.0)).collect();
    let x = Tensor::new([1, 224, 224, 3], x).unwrap();
    peers.array("x.npy", &x);
    let ours = model();
    // The initial biases are zeros, which would hide a missing or swapped bias.
    let biases = ours.weights().into_iter().filter(|weight| weight.name() == "bias");
    biases.for_each(|bias| bias.values_mut().iter_mut().for_each(|value| *value = rng.uniform(-0.1, 0.1)));
    peers.array("ours.npy", &ours.predict(&x, 1).unwrap());
    let options = SaveOptions { naming: Naming::Torchvision, ..SaveOptions::default() };
    safetensors::save_weights(&peers.path("ours.safetensors"), &ours.layers(), &options).unwrap();
    drop(ours);
    peers.agree("torchvision_loads.py", &[&peers.path("")]);

    let theirs = model();
    let path = peers.path("theirs.safetensors");
    assert!(safetensors::load_weights(&path, &theirs.layers(), Naming::Torchvision).unwrap().is_empty());
    let (found, expected) = (theirs.predict(&x, 1).unwrap(), npy::load(&peers.path("theirs.npy")).unwrap());
    let error = relative_error(found.data(), expected.data());
    assert!(error <= TOLERANCE, "off by {error}, relative to the largest logit");
}
