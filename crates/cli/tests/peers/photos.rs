//! A model that the program trained on real photos predicts the same in Keras.

use std::path::{Path, PathBuf};

use crate::python::Peers;
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
