//! A model that the program trained on real photos predicts the same in Keras.

use std::path::{Path, PathBuf};

use engraft::formats::keras;
use engraft::prelude::*;

use crate::python::Peers;
use crate::support::Place;
use crate::trained::Trained;

#[test]
fn a_trained_classifier_predicts_the_same_in_keras() {
    let Some(peers) = Peers::find() else { return };
    let Some(Trained { place, unseen }) = Trained::new() else { return };
    let model = place.path("m.keras");
    let mut arguments = vec![Path::new(env!("CARGO_BIN_EXE_engraft")), &model];
    arguments.extend(unseen.iter().map(PathBuf::as_path));
    peers.agree("keras_predicts.py", &arguments);
}

/// Temperature, standardization and pooled blocks are inside the model, so Keras computes the same probabilities.
#[test]
fn a_model_of_the_bare_command_predicts_the_same_in_keras() {
    let Some(peers) = Peers::find() else { return };
    let place = Place::new();
    let drawings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drawings");
    let train = drawings.join("train");
    place.run_with("train -o m.keras", |command| command.arg(&train)).succeeds();
    let model = place.path("m.keras");
    let new = ["elephant.jpg", "tulips.jpg", "yellow-house.jpg"].map(|name| drawings.join("new").join(name));
    let mut arguments = vec![Path::new(env!("CARGO_BIN_EXE_engraft")), &model];
    arguments.extend(new.iter().map(PathBuf::as_path));
    peers.agree("keras_predicts.py", &arguments);
}

/// Keras loads the sigmoid head with its loss and metric, and computes the same probabilities.
#[test]
fn a_model_with_several_labels_predicts_the_same_in_keras() {
    let Some(peers) = Peers::find() else { return };
    let place = Place::new();
    let drawings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drawings");
    let (train, mut rows) = (drawings.join("train"), String::new());
    for kind in ["animal", "flower", "house"] {
        let mut photos: Vec<String> = std::fs::read_dir(train.join(kind))
            .expect("drawings")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        photos.sort();
        photos.iter().for_each(|photo| rows.push_str(&format!("{kind}/{photo},{kind}\n")));
        // A second label: the names that start with an early letter.
        let early = photos.iter().filter(|photo| photo.as_str() < "h");
        early.for_each(|photo| rows.push_str(&format!("{kind}/{photo},early\n")));
    }
    place.write("labels.csv", rows.as_bytes());
    place.run_with("train -o m.keras --labels labels.csv", |command| command.arg(&train)).succeeds();
    let model = place.path("m.keras");
    let new = ["elephant.jpg", "tulips.jpg", "yellow-house.jpg"].map(|name| drawings.join("new").join(name));
    let mut arguments = vec![Path::new(env!("CARGO_BIN_EXE_engraft")), &model];
    arguments.extend(new.iter().map(PathBuf::as_path));
    peers.agree("keras_predicts.py", &arguments);
    peers.agree("keras_has_labels.py", &[&model]);
}

/// Models of one, three and four channels get the pixels of `load_img` in the mode `grayscale`, `rgb` and `rgba`.
#[test]
fn photos_in_every_color_mode_are_those_of_keras() {
    let Some(peers) = Peers::find() else { return };
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/testdata");
    let opaque = ["exact_420.jpg", "exact_grey.jpg", "palette.bmp", "animated.gif"];
    let transparent = ["rgba.png", "rgba.webp", "rgba.tif", "palette.png", "grey_alpha.png"];
    for channels in [1, 3, 4] {
        let layers = Sequential::new().add(Input::new([5, 6, channels])).add(Rescaling::new(1.0 / 255.0));
        let model = layers.add(Flatten::new()).add(Dense::new(3).activation(Softmax)).build().unwrap();
        let path = peers.path(&format!("{channels}.keras"));
        keras::save_model(&model, &path).unwrap();
        // Keras drops the transparency in the other modes; engraft blends it onto white.
        let names = opaque.iter().chain(transparent.iter().filter(|_| channels == 4));
        let files: Vec<PathBuf> = names.map(|name| photos.join(name)).collect();
        let mut arguments = vec![Path::new(env!("CARGO_BIN_EXE_engraft")), &path];
        arguments.extend(files.iter().map(PathBuf::as_path));
        peers.agree("keras_predicts.py", &arguments);
    }
}
