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
    for name in ["d.heic", "e.avif", "f.JXL", "g.nef"] {
        place.write(&format!("photos/red/{name}"), b"an image");
    }
    place.write("photos/red/scan.TIF", &testdata("orientation_6.tif"));
    place.write("photos/red/README", b"just a note");
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.out.contains("17 photos of 3 classes, 4 files skipped\n          blue 4, green 4, red 9\n"), "{run}");
    for expected in [
        "photos/red/d.heic: skipped: HEIC isn't read; convert it to JPEG or PNG\n",
        "photos/red/e.avif: skipped: AVIF isn't read; convert it to JPEG or PNG\n",
        "photos/red/f.JXL: skipped: JXL isn't read; convert it to JPEG or PNG\n",
        "photos/red/g.nef: skipped: raw files of cameras aren't read; export it as JPEG\n",
    ] {
        assert!(run.err.contains(expected), "expected {expected:?} in {run}");
    }
}

#[test]
fn many_skipped_files_are_counted_by_reason() {
    let place = Place::with_photos(4);
    (0..30).for_each(|number| place.write(&format!("photos/blue/{number}.heic"), b"an image"));
    (0..3).for_each(|number| place.write(&format!("photos/red/{number}.jxl"), b"an image"));
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.err.contains("warning: and 10 more skipped: HEIC isn't read; convert it to JPEG or PNG\n"), "{run}");
    assert!(run.err.contains("warning: and 3 more skipped: JXL isn't read; convert it to JPEG or PNG\n"), "{run}");
    assert_eq!(fs::read_dir(place.path("photos/blue")).unwrap().count(), 34, "photos are only read");
}

#[test]
fn every_file_that_is_no_photo_is_counted() {
    let place = Place::with_photos(4);
    for name in ["red/a.txt", "red/b.TXT", "blue/film.mp4", "labels.csv", "red/.DS_Store", "blue/Thumbs.db"] {
        place.write(&format!("photos/{name}"), b"no photo");
    }
    let counts = "2 .txt, 1 .csv, 1 .mp4, 2 hidden files";
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.out.contains(&format!("\nLeft out  {counts}\n")), "{run}");
    let run = place.run("evaluate m.keras photos --json").succeeds();
    assert!(run.err.contains(&format!("note: photos: left out: {counts}\n")), "{run}");
    let expected =
        serde_json::json!({"extensions": {"csv": 1, "mp4": 1, "txt": 2}, "others": 0, "hidden": 2, "folders": 0});
    assert_eq!(run.json()["left_out"], expected);
    let run = place.run("predict m.keras photos --recursive").succeeds();
    assert!(run.err.contains(&format!("note: photos: left out: {counts}\n")), "{run}");
    // Nothing is said where there is nothing to say, and a label file doesn't count itself.
    let place = Place::with_photos(4);
    place.write("photos/labels.csv", b"red/00.bmp,red\nred/01.bmp,red\nblue/00.bmp,blue\nblue/01.bmp,blue\n");
    let run = place
        .run(&format!("train photos --labels photos/labels.csv -o m.keras {OPTIONS} --validation-split 0"))
        .succeeds();
    assert!(!run.out.contains("Left out") && !run.err.contains("left out:"), "{run}");
}

#[test]
fn folders_of_thumbnails_are_neither_classes_nor_photos() {
    let place = Place::with_photos(4);
    let photo = testdata("orientation_1.jpg");
    for folder in ["@eaDir", "red/@eaDir/00.bmp", "blue/.@__thumb", "#recycle/red", "green/Trip Previews.lrdata"] {
        place.write(&format!("photos/{folder}/thumb.jpg"), &photo);
    }
    let folders = "5 hidden or system folders (such as ";
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    assert!(run.out.contains("12 photos of 3 classes\n") && run.out.contains(folders), "{run}");
    let run = place.run("evaluate m.keras photos --json").succeeds();
    assert_eq!((&run.json()["images"], &run.json()["left_out"]["folders"]), (&12.into(), &5.into()));
    let run = place.run("predict m.keras photos --recursive --csv").succeeds();
    assert!(run.out.lines().count() == 13 && run.err.contains(folders), "{run}");
    // Above train/ and val/, too.
    place.write("d/@eaDir/thumb.jpg", &photo);
    place.add_photos("d/train", 4, 1);
    place.add_photos("d/val", 2, 2);
    place.run(&format!("train d -o n.keras {OPTIONS}")).fails(2, &["engraft train d/train --validation d/val"]);
}

/// `café` in NFC, as most programs write it, and in NFD, as macOS does.
const NFC: &str = "caf\u{e9}";
const NFD: &str = "cafe\u{301}";

#[test]
fn class_folders_that_look_the_same_are_refused_and_others_matched_in_any_form() {
    let place = Place::with_photos(4);
    let rename = |from: &str, to: &str| fs::rename(place.path(from), place.path(to)).expect("a new name");
    rename("photos/red", &format!("photos/{NFC}"));
    rename("photos/green", &format!("photos/{NFD}"));
    let run = place.run(&format!("train photos -o m.keras {OPTIONS}"));
    run.fails(1, &["photos: expected class folders with names that differ", r"cafe\u{301}", r"caf\u{e9}", "hint: "]);
    rename(&format!("photos/{NFD}"), "photos/caff");
    place.add_photos("val", 1, 5);
    rename("val/red", &format!("val/{NFD}"));
    rename("val/green", "val/caff");
    // In NFD, `café` comes before `caff`; in NFC, after it.
    place.run(&format!("train photos --validation val -o m.keras {OPTIONS}")).succeeds();
    let accuracy = |run: support::Run| run.json()["accuracy"].as_f64().expect("a number");
    let before = accuracy(place.run("evaluate m.keras photos --json").succeeds());
    rename(&format!("photos/{NFC}"), &format!("photos/{NFD}"));
    assert_eq!(accuracy(place.run("evaluate m.keras photos --json").succeeds()), before);
    let run = place
        .run("train photos --model m.keras -o n.keras --epochs 30 --validation val --learning-rate 0.02")
        .succeeds();
    assert!(run.out.contains(&format!("          blue 4, caff 4, {NFC} 4\n")), "{run}");
    // Labels and paths of a label file, too.
    place.write("l.csv", format!("{NFC}/00.bmp,{NFD}\ncaff/00.bmp,caff\nblue/00.bmp,blue\n").as_bytes());
    place.run("evaluate n.keras photos --labels l.csv").succeeds();
}
