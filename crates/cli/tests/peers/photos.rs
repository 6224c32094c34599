//! A model that the program trained on real photos predicts the same in Keras.

use std::path::{Path, PathBuf};

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
