//! Files of NumPy and of the Python package safetensors, in both directions.

use engraft::formats::FloatType;
use engraft::formats::npy;
use engraft::formats::safetensors::{self, Naming, SaveOptions};
use engraft::prelude::*;

use crate::python::Peers;

#[test]
fn numpy_reads_our_arrays_and_we_read_its() {
    let Some(peers) = Peers::find() else { return };
    let counting: Vec<f32> = (0..24).map(|value| value as f32).collect();
    let x = Tensor::new([2, 3, 4], counting.iter().map(|value| value / 8.0).collect()).unwrap();
    peers.array("x.npy", &x);
    npy::save_npz(&peers.path("all.npz"), &[("one", &x), ("two", &Tensor::new([], vec![1.0]).unwrap())]).unwrap();
    peers.agree("numpy_reads.py", &[&peers.path("")]);

    let expected = Tensor::new([2, 3, 4], counting).unwrap();
    for file in ["stored.npz", "deflated.npz"] {
        let arrays = npy::load_npz(&peers.path(file)).unwrap();
        assert_eq!(arrays.len(), 12, "{file}");
        arrays.iter().for_each(|(name, array)| assert_eq!(array, &expected, "{file} {name}"));
    }
    assert_eq!(npy::load(&peers.path("empty.npy")).unwrap().shape(), [0, 3]);
}

#[test]
fn the_safetensors_package_reads_our_weights_and_we_read_its() {
    let Some(peers) = Peers::find() else { return };
    let model = || {
        let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("conv"));
        layers.add(Flatten::new()).add(Dense::new(2).named("top")).build().unwrap()
    };
    let saved = model();
    for (file, float_type) in [("f32.safetensors", FloatType::F32), ("f16.safetensors", FloatType::F16)] {
        let metadata = [("licence".to_owned(), "MIT".to_owned())].into();
        let options = SaveOptions { float_type, metadata, ..SaveOptions::default() };
        safetensors::save_weights(&peers.path(file), &saved.layers(), &options).unwrap();
    }
    let tensor = |weight: &engraft::Weight| Tensor::new(weight.shape(), weight.values().clone()).unwrap();
    let arrays: Vec<(String, Tensor)> = saved.weights().iter().map(|w| (w.path(), tensor(w))).collect();
    let arrays: Vec<(&str, &Tensor)> = arrays.iter().map(|(name, array)| (name.as_str(), array)).collect();
    npy::save_npz(&peers.path("expected.npz"), &arrays).unwrap();
    peers.agree("safetensors_reads.py", &[&peers.path("")]);

    let read = model();
    let left = safetensors::load_weights(&peers.path("theirs.safetensors"), &read.layers(), Naming::Keras).unwrap();
    assert!(left.is_empty(), "{left:?}");
    for (read, saved) in read.weights().iter().zip(saved.weights()) {
        assert_eq!(*read.values(), *saved.values());
    }
}
