//! Weights of networks of torchvision, timm and efficientnet-lite-pytorch, by the names of their state dicts.

use engraft::ActivationFn;
use engraft::applications::{Architecture, Network};
use engraft::formats::npy;
use engraft::prelude::*;
use engraft::random::Rng;
use engraft_golden::relative_error;

use crate::python::Peers;

/// Tolerance relative to the largest logit: f32 sums have another order in each of some fifty layers.
const TOLERANCE: f32 = 1e-4;

#[test]
fn networks_of_pytorch_lend_their_weights() {
    let Some(peers) = Peers::find() else { return };
    let mut rng = Rng::new(1);
    let mut images = |size: usize| {
        let pixels = (0..2 * size * size * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
        let x = Tensor::new([2, size, size, 3], pixels).unwrap();
        peers.array(&format!("x{size}.npy"), &x);
        x
    };
    // efficientnet-lite-pytorch pads for the size that a network was trained with.
    let images: Vec<Tensor> = [96, 224, 240, 260, 280, 300].map(&mut images).into();
    peers.agree("torch_writes.py", &[&peers.path("")]);
    let names = std::fs::read_to_string(peers.path("networks.txt")).unwrap();
    for name in names.lines() {
        let architecture = Architecture::find(name).unwrap();
        let file = peers.path(&format!("{name}.safetensors"));
        let size = if name.starts_with("efficientnet-lite") { architecture.image_size() } else { 96 };
        let x = images.iter().find(|x| x.shape()[1] == size).unwrap();
        let photos = Input::new([size, size, 3]);
        let input = architecture.preprocessing().call(&photos).unwrap();
        let network = Network::new(architecture).weights(file.as_path()).input_tensor(&input);
        let model = network.classifier_activation(ActivationFn::Linear).build().unwrap();
        let (found, expected) = (model.predict(x, 2).unwrap(), npy::load(&peers.path(&format!("{name}.npy"))).unwrap());
        let error = relative_error(found.data(), expected.data());
        assert!(error <= TOLERANCE, "{name}: off by {error}, relative to the largest logit");
        let (one, other) = expected.data().split_at(expected.data().len() / 2);
        let apart = relative_error(one, other);
        assert!(apart > 100.0 * error, "{name}: both images give the same logits");

        // The base takes its part of the same file.
        let base = Network::new(architecture).include_top(false).weights(file.as_path()).input_shape([96, 96, 3]);
        base.build().unwrap();
    }
    let refusals = [
        // The layers of the first are among those of the second.
        ("resnet18", "resnet34", "expected weights of resnet18, with or without its top"),
        // Blocks are numbered throughout the network.
        ("efficientnet-lite0", "efficientnet-lite1", "weight `block3a_dwconv/kernel`: expected [144, 1, 5, 5]"),
    ];
    for (name, deeper, refusal) in refusals {
        let file = peers.path(&format!("{deeper}.safetensors"));
        let network = Network::new(Architecture::find(name).unwrap()).include_top(false).weights(file.as_path());
        let error = network.build().map(drop).unwrap_err().to_string();
        assert!(error.contains(refusal), "{error}");
    }
}
