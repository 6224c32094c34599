//! Kills a process while it saves: the file must be the old one or the new one, complete.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_formats::onnx::{self, OnnxOptions};
use engraft_formats::safetensors::{self, Naming};
use engraft_formats::{FloatType, npy};
use engraft_nn::Weight;
use engraft_nn::prelude::*;
use engraft_nn::random::Rng;

/// The environment variable that gives the saving process the path of its file.
const VARIABLE: &str = "ENGRAFT_TEST_SAVES";

/// How often the process is killed, per format.
const KILLS: usize = 8;

const FORMATS: [&str; 6] =
    ["model.keras", "model.h5", "model.weights.h5", "model.safetensors", "model.onnx", "arrays.npz"];

/// A model large enough that a kill often happens in the middle of a write.
fn model() -> Model {
    Sequential::new().add(Input::new([300])).add(Dense::new(400).named("a")).build().unwrap()
}

fn save(model: &Model, path: &Path) {
    match path.file_name().unwrap().to_str().unwrap() {
        "model.keras" => keras::save(model, path, &SaveOptions::default()).unwrap(),
        "model.h5" => legacy::save(model, path, &SaveOptions::default()).unwrap(),
        "model.weights.h5" => keras::save_weights(model, path, FloatType::F32).unwrap(),
        "model.onnx" => onnx::save(model, path, &OnnxOptions::default()).unwrap(),
        "arrays.npz" => {
            let array = |weight: &Weight| Tensor::new(weight.shape(), weight.values().clone()).unwrap();
            let arrays: Vec<Tensor> = model.weights().iter().map(array).collect();
            npy::save_npz(path, &[("kernel", &arrays[0]), ("bias", &arrays[1])]).unwrap();
        }
        _ => safetensors::save_weights(path, &model.layers(), &safetensors::SaveOptions::default()).unwrap(),
    }
}

fn load(path: &Path) -> Model {
    let model = model();
    match path.file_name().unwrap().to_str().unwrap() {
        "model.keras" | "model.h5" => return keras::load_model(path).unwrap(),
        "model.weights.h5" => keras::load_weights(path, &model).unwrap(),
        "model.onnx" => onnx::load_weights(path, &model).unwrap(),
        "arrays.npz" => {
            let arrays = npy::load_npz(path).unwrap();
            assert_eq!(arrays.len(), 2);
            model.weights().iter().zip(arrays).for_each(|(w, (_, array))| w.set(array.into_data()).unwrap());
        }
        _ => assert!(safetensors::load_weights(path, &model.layers(), Naming::Keras).unwrap().is_empty()),
    }
    model
}

/// The process that is killed: saves versions 1, 2, 3, … of a model whose weights all equal the version.
///
/// In a normal test run, without [`VARIABLE`], it does nothing.
#[test]
fn saves_until_it_is_killed() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let model = model();
    for version in 1u32.. {
        model.weights().iter().for_each(|weight| weight.values_mut().fill(version as f32));
        save(&model, Path::new(&path));
    }
}

#[test]
fn the_file_is_always_one_of_the_versions() {
    let mut rng = Rng::new(5);
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format);
        let first = model();
        first.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        save(&first, &path);
        let mut latest = 0.0;
        for _ in 0..KILLS {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "saves_until_it_is_killed"])
                .env(VARIABLE, &path)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(rng.uniform(5_000.0, 120_000.0) as u64));
            process.kill().unwrap();
            process.wait().unwrap();
            let values: Vec<f32> = load(&path).weights().iter().flat_map(|weight| weight.values().clone()).collect();
            assert!(values.iter().all(|&value| value == values[0]), "{format}: parts of two versions");
            latest = values[0].max(latest);
        }
        assert!(latest > 0.0, "{format}: no process got as far as saving");
    }
}
