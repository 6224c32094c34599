//! Photos that show the same picture at another size share a fold, and are named where they make a score too good.

mod support;

use support::{Place, bmp};

const TRAIN: &str = "train photos -o m.keras --image-size 64 --budget 0";

/// The photo `from` at twice its size, and a little brighter.
fn add_double(place: &Place, from: &str, to: &str) {
    let photo = place.read(from);
    let pixel = |x: usize, y: usize| {
        // Rows are stored from the bottom, pixels as blue, green, red.
        let at = 54 + 3 * ((35 - y / 2) * 40 + x / 2);
        [photo[at + 2], photo[at + 1], photo[at]].map(|value| value.saturating_add(3))
    };
    place.write(to, &bmp(80, 72, pixel));
}

#[test]
fn resized_photos_share_a_fold_and_are_told() {
    let place = Place::with_photos(6);
    let run = place.run(&format!("{TRAIN} --json")).succeeds();
    assert_eq!(run.json()["near_duplicates"], serde_json::json!({"pairs": 0, "in_two_classes": 0, "held_out": 0}));
    assert!(!run.err.contains("same picture"), "{run}");
    add_double(&place, "photos/red/01.bmp", "photos/red/double.bmp");
    let run = place.run(TRAIN).succeeds();
    let pair = "such as photos/red/01.bmp and photos/red/double.bmp: they share a fold";
    assert!(run.err.contains(&format!("note: 1 pair of photos show the same picture, {pair}")), "{run}");
    assert!(!run.err.contains("warning"), "{run}");
    add_double(&place, "photos/red/02.bmp", "photos/blue/double.bmp");
    add_double(&place, "photos/red/03.bmp", "other/red/double.bmp");
    add_double(&place, "photos/green/03.bmp", "other/green/double.bmp");
    let run = place.run(&format!("{TRAIN} --validation other")).succeeds();
    for expected in [
        "warning: 1 pair of photos that show the same picture are in two classes, such as photos/blue/double.bmp and photos/red/02.bmp",
        "warning: 2 held-out photos show the same picture as a training photo, such as photos/green/03.bmp and other/green/double.bmp",
    ] {
        assert!(run.err.contains(expected), "expected {expected:?} in {run}");
    }
    let run = place.run(&format!("{TRAIN} --validation other --json")).succeeds();
    assert_eq!(run.json()["near_duplicates"], serde_json::json!({"pairs": 2, "in_two_classes": 1, "held_out": 2}));
}
