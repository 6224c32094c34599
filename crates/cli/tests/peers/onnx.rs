//! onnxruntime, on photos.

use std::fs;
use std::path::{Path, PathBuf};

use engraft::data::decode;
use engraft::prelude::*;
use engraft::recipe::Classifier;

use crate::python::Peers;
use crate::support::Place;

/// What onnxruntime and we may differ by in a probability. Each number of a kernel loses 1/4096 of itself at most in f16,
/// which moves a probability by some thousandths after sixteen layers.
const TOLERANCES: [(&str, &str); 2] = [("f32", "1e-4"), ("f16", "5e-3")];

/// Two photos of each class, in the folder `photos`.
fn add_photos(place: &Place, folder: &Path) -> Vec<PathBuf> {
    let sorted = |folder: &Path| {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let photos: Vec<PathBuf> = sorted(folder).iter().flat_map(|class| sorted(class).into_iter().take(2)).collect();
    for photo in &photos {
        let name = photo.strip_prefix(folder).unwrap().to_str().unwrap();
        place.write(&format!("photos/{name}"), &fs::read(photo).unwrap());
    }
    photos
}

#[test]
fn an_exported_vgg16_sees_in_photos_what_the_model_sees() {
    let Some(peers) = Peers::find() else { return };
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let (model, folder) = (assets.join("demo/imagenet.keras"), assets.join("food5-test"));
    if !model.exists() || !folder.exists() {
        eprintln!("SKIPPED: a trained VGG16 isn't in assets; `cargo xtask assets` and `cargo xtask demo` bring it");
        return;
    }
    let place = Place::new();
    let photos = add_photos(&place, &folder);
    let classifier = Classifier::load(&model).unwrap();
    let [height, width] = classifier.image_size();
    let pixels = photos.iter().flat_map(|photo| decode(photo).unwrap().resize(height, width)).collect();
    let x = Tensor::new([photos.len(), height, width, 3], pixels).unwrap();
    let expected = classifier.model().predict(&x, 8).unwrap();
    let (x, y, classes) = (peers.array("x.npy", &x), peers.array("y.npy", &expected), peers.path("classes.json"));
    fs::write(&classes, serde_json::to_string(classifier.classes()).unwrap()).unwrap();

    for (precision, tolerance) in TOLERANCES {
        let file = format!("{precision}.onnx");
        let arguments = format!("export {} photos --to onnx --precision {precision} -o {file}", model.display());
        let run = place.run(&arguments).succeeds();
        assert!(run.out.contains("on 10 photos: ") && run.out.contains("Accuracy "), "{run}");
        peers.agree("onnx_predicts.py", &[&place.path(&file), tolerance.as_ref(), &x, &y, &classes]);
    }
}
