//! Runs the examples that train, on a few small photos.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../examples/fine_tune.rs"]
#[expect(dead_code, reason = "its main isn't called")]
mod fine_tune;
#[path = "../examples/own_callback.rs"]
#[expect(dead_code, reason = "its main isn't called")]
mod own_callback;
#[path = "../examples/save_and_resume.rs"]
#[expect(dead_code, reason = "its main isn't called")]
mod save_and_resume;
#[path = "../examples/train_on_a_folder.rs"]
#[expect(dead_code, reason = "its main isn't called")]
mod train_on_a_folder;

use std::fs;

use tempfile::TempDir;

/// Uncompressed BMP of `side` by `side` pixels of one grey.
fn bmp(side: u32, grey: u8) -> Vec<u8> {
    // Rows are padded to multiples of four bytes.
    let row = (3 * side).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for number in [54 + row * side, 0, 54, 40, side, side, 1 | 24 << 16, 0, row * side, 0, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(vec![grey; (row * side) as usize]);
    file
}

/// Five dark and five light photos, no two alike.
fn photos() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, grey) in [("dark", 20), ("light", 200)] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for photo in 0..5 {
            fs::write(folder.path().join(class).join(format!("{photo}.bmp")), bmp(8, grey + 5 * photo)).unwrap();
        }
    }
    folder
}

#[test]
fn a_folder_becomes_a_classifier() {
    let folder = photos();
    let photo = folder.path().join("light/0.bmp");
    let probabilities = train_on_a_folder::run(folder.path(), &photo, "none", 32).unwrap();
    let classes: Vec<&str> = probabilities.iter().map(|(class, _)| class.as_str()).collect();
    let sum: f32 = probabilities.iter().map(|(_, probability)| probability).sum();
    assert_eq!(classes, ["dark", "light"]);
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn the_last_block_is_fine_tuned_after_the_head() {
    let (history, model) = fine_tune::run(photos().path(), "none", 32).unwrap();
    assert_eq!(history.epochs(), 4);
    // Three convolutions and the head, a kernel and a bias each.
    assert_eq!(model.trainable_weights().len(), 2 * 4);
}

#[test]
fn training_goes_on_where_it_stopped() {
    let (photos, folder) = (photos(), tempfile::tempdir().unwrap());
    let file = folder.path().join("m.keras");
    let resumed = save_and_resume::run(photos.path(), &file).unwrap();
    let uninterrupted = save_and_resume::run_uninterrupted(photos.path()).unwrap();
    let weights = |model: engraft::Model| model.weights().iter().map(|w| w.values().clone()).collect::<Vec<_>>();
    assert_eq!(weights(resumed), weights(uninterrupted));
    assert!(file.is_file());
}

#[test]
fn a_callback_of_ones_own_sets_the_learning_rate_and_stops() {
    let (history, callback) = own_callback::run(photos().path(), 500).unwrap();
    assert_eq!(callback.rates[..6], [0.01, 0.02, 0.03, 0.04, 0.05, 0.05]);
    assert!(history.epochs() < 500 && history.last("loss").unwrap() < 0.1, "{:?}", history.last("loss"));
}
