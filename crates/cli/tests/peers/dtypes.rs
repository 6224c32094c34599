//! Files of models with dtype policies, LoRA, int8 weights or inputs of open size, written by engraft: Keras opens them.

use std::path::Path;

use engraft::formats::keras::{self, LoadOptions, SaveOptions, legacy};
use engraft::formats::npy;
use engraft::prelude::*;

use crate::python::Peers;

/// The models in `golden/stored`, and the largest accepted difference of a probability. Keras computes some in half precision.
const MODELS: [(&str, f32); 10] = [
    ("mixed_float16", 2e-2),
    ("mixed_bfloat16", 5e-2),
    ("float16", 2e-2),
    ("bfloat16", 5e-2),
    ("float64", 1e-5),
    ("policy_map", 5e-2),
    ("lora", 1e-5),
    ("int8", 1e-5),
    ("open_size", 1e-5),
    ("open_base", 1e-5),
];

#[test]
fn keras_opens_models_of_every_policy_and_size() {
    let Some(peers) = Peers::find() else { return };
    let pixels = (0..2 * 8 * 8 * 3).map(|value| (value * 37 % 256) as f32).collect();
    let x = Tensor::new([2, 8, 8, 3], pixels).unwrap();
    let folder = peers.path("models");
    std::fs::create_dir(&folder).unwrap();
    for (name, tolerance) in MODELS {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/stored").join(format!("{name}.keras"));
        let model = keras::load_with(&source, &LoadOptions::new().image_size([8, 8])).unwrap().model;
        let (y, tolerance) = (model.predict(&x, 2).unwrap(), Tensor::new([1], vec![tolerance]).unwrap());
        keras::save(&model, &folder.join(format!("{name}.keras")), &SaveOptions::default()).unwrap();
        legacy::save(&model, &folder.join(format!("{name}_h5.h5")), &SaveOptions::default()).unwrap();
        for file in [format!("{name}.npz"), format!("{name}_h5.npz")] {
            npy::save_npz(&folder.join(file), &[("x", &x), ("y", &y), ("tolerance", &tolerance)]).unwrap();
        }
    }
    peers.agree("keras_loads_all.py", &[&folder]);
}
