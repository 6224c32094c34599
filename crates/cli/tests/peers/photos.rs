//! What the program trained, on real photos, in Keras.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::Peers;

const ENGRAFT: &str = env!("CARGO_BIN_EXE_engraft");

/// Something that `cargo xtask assets` brings, or a loud word that the test is skipped.
fn asset(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: assets/{name} is missing; `cargo xtask assets` brings it");
    }
    path.exists().then_some(path)
}

/// The first photos of a class.
fn photos(class: &Path, count: usize) -> Vec<PathBuf> {
    let mut photos: Vec<PathBuf> = std::fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()).collect();
    photos.sort();
    photos.truncate(count);
    assert_eq!(photos.len(), count, "{}", class.display());
    photos
}

#[test]
fn a_trained_classifier_predicts_the_same_in_keras() {
    let Some(peers) = Peers::find() else { return };
    let weights = asset("keras/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5");
    let (Some(weights), Some(food)) = (weights, asset("food5")) else { return };
    let mut unseen = Vec::new();
    for class in ["fish", "fruit"] {
        let mut photos = photos(&food.join(class), 6);
        unseen.extend(photos.split_off(4));
        std::fs::create_dir_all(peers.path("photos").join(class)).unwrap();
        for photo in photos {
            std::fs::copy(&photo, peers.path("photos").join(class).join(photo.file_name().unwrap())).unwrap();
        }
    }
    let options = "--image-size 64 --head 16 --epochs 2 --batch-size 8 --validation-split 0 --learning-rate 0.01";
    let model = peers.path("m.keras");
    let mut train = Command::new(ENGRAFT);
    train.arg("train").arg(peers.path("photos")).args(options.split(' ')).arg("-o").arg(&model);
    let output = train.arg("--weights").arg(&weights).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut arguments = vec![Path::new(ENGRAFT), &model];
    arguments.extend(unseen.iter().map(PathBuf::as_path));
    peers.agree("keras_predicts.py", &arguments);
}
