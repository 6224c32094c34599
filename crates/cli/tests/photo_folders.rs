//! Folders as people have them: a split data set, photos with rare extensions, photos in formats that aren't read.

mod support;

use std::fs;

use support::{Place, testdata};

const OPTIONS: &str = "--image-size 32 --head none --weights none --epochs 1 --augment none";

#[test]
fn the_folder_above_train_and_val_is_refused_with_the_right_line() {
    let place = Place::new();
    place.add_photos("d/train", 4, 1);
    place.add_photos("d/valid", 2, 2);
    let run = place.run(&format!("train d -o m.keras {OPTIONS}"));
    let line = format!("hint: use these folders: engraft train d/train --validation d/valid -o m.keras {OPTIONS}\n");
    run.fails(2, &["d: expected one folder per class, received the folders of a training set", &line]);
    assert!(!place.path("m.keras").exists());
    // The line works as it is.
    place.run(&format!("train d/train --validation d/valid -o m.keras {OPTIONS}")).succeeds();
    place.run("evaluate m.keras d").fails(2, &["engraft evaluate m.keras d/valid\n"]);
    place
        .run("train d -o n.keras --validation d/valid")
        .fails(2, &["engraft train d/train -o n.keras --validation d/valid\n"]);
}

#[test]
fn photos_count_whatever_their_extension_and_others_are_named() {
    let place = Place::with_photos(4);
    let photo = testdata("orientation_1.jpg");
    for name in ["a.jfif", "b.JPE", "c.pjpeg", "IMG_0001"] {
        place.write(&format!("photos/red/{name}"), &photo);
    }
    for name in ["d.heic", "e.avif", "f.TIF", "g.nef"] {
        place.write(&format!("photos/red/{name}"), b"an image");
    }
    place.write("photos/red/README", b"just a note");
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.out.contains("16 photos of 3 classes, 4 files skipped\n          blue 4, green 4, red 8\n"), "{run}");
    for expected in [
        "photos/red/d.heic: skipped: HEIC isn't read; convert it to JPEG or PNG\n",
        "photos/red/e.avif: skipped: AVIF isn't read; convert it to JPEG or PNG\n",
        "photos/red/f.TIF: skipped: TIF isn't read; convert it to JPEG or PNG\n",
        "photos/red/g.nef: skipped: raw files of cameras aren't read; export it as JPEG\n",
    ] {
        assert!(run.err.contains(expected), "expected {expected:?} in {run}");
    }
}

#[test]
fn many_skipped_files_are_counted_by_reason() {
    let place = Place::with_photos(4);
    (0..30).for_each(|number| place.write(&format!("photos/blue/{number}.heic"), b"an image"));
    (0..3).for_each(|number| place.write(&format!("photos/red/{number}.tiff"), b"an image"));
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.err.contains("warning: and 10 more skipped: HEIC isn't read; convert it to JPEG or PNG\n"), "{run}");
    assert!(run.err.contains("warning: and 3 more skipped: TIFF isn't read; convert it to JPEG or PNG\n"), "{run}");
    assert_eq!(fs::read_dir(place.path("photos/blue")).unwrap().count(), 34, "photos are only read");
}
