//! A `.keras` file unzipped in a folder opens; files of other programs are told, with the way to a file that opens.

mod support;

use support::Place;

/// Unzips `m.keras` into the folder `unzipped`.
fn unzip(place: &Place) {
    let entries = place.entries("m.keras");
    entries.iter().for_each(|(name, content)| place.write(&format!("unzipped/{name}"), content));
}

#[test]
fn a_model_unzipped_in_a_folder_is_that_model() {
    let place = Place::with_photos(2);
    place.add_classifier("m.keras");
    unzip(&place);
    for typed in [
        "predict MODEL photos/red/00.bmp --json",
        "summary MODEL",
        "evaluate MODEL photos --json",
        "export MODEL --to onnx -o m.onnx",
    ] {
        let run = |model: &str| place.run(&typed.replace("MODEL", model)).succeeds();
        assert_eq!(run("unzipped").out.replace("unzipped", "m.keras"), run("m.keras").out, "{typed}");
    }
    let inspected = place.run("inspect unzipped").succeeds().out;
    assert!(inspected.contains("Keras model (.keras in a folder)") && inspected.contains("blue"), "{inspected}");
    let run =
        place.run("predict photos/red/00.bmp unzipped").fails(2, &["the model comes first: engraft predict unzipped "]);
    assert!(run.out.is_empty(), "{run}");

    std::fs::remove_file(place.path("unzipped/model.weights.h5")).unwrap();
    place.run("summary unzipped").fails(1, &["unzipped: expected a model file, received a folder\nhint: "]);
}

#[test]
fn files_of_other_programs_are_told_with_the_way_to_one_that_opens() {
    let place = Place::with_photos(2);
    place.add_model("m.keras");
    let files: [(&str, &[u8], &str, &str); 9] = [
        (
            "exported/saved_model.pb",
            b"\x08\x01\x12\xc8\xb7\x01\x0a\xaa\x11",
            "a SavedModel of TensorFlow",
            "model.save(",
        ),
        ("lite.tflite", b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model", "model.save("),
        ("frozen.pb", b"\x0a\x1d\x0a\x01x\x12\x0bPlaceholder*\x0b", "a frozen graph of TensorFlow", "model.save("),
        ("page.keras", b"<!DOCTYPE html><html>", "a web page", "download the file itself"),
        ("pointer.keras", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "git lfs pull"),
        ("empty.keras", b"", "an empty file", "get the file again"),
        ("packed.keras", b"\x1f\x8b\x08\0", "a tar or gzip archive", "tar xf"),
        (
            "layers.json",
            b"{\"class_name\": \"Functional\"}",
            "the layers of a Keras model without weights",
            "load_weights",
        ),
        (
            "cut.keras",
            &place.read("m.keras")[..3000],
            "a zip archive that is damaged or cut short",
            "is the file complete",
        ),
    ];
    for (name, content, _, _) in &files {
        place.write(name, content);
    }
    let told = files.iter().map(|(name, _, what, hint)| (*name, *what, *hint));
    for (name, what, hint) in told.chain([("exported", "a SavedModel of TensorFlow", "model.save(")]) {
        for command in
            [format!("summary {name}"), format!("predict {name} photos/red/00.bmp"), format!("inspect {name}")]
        {
            let run = place.run(&command).fails(1, &[name, &format!("received {what}"), "\nhint: ", hint]);
            assert!(!run.err.contains("os error"), "{run}");
        }
    }
    // These can be inspected, but hold no layers.
    for (name, format, what) in
        [("m.onnx", "onnx", "an ONNX model"), ("m.safetensors", "safetensors", "a .safetensors file")]
    {
        place.run(&format!("export m.keras --to {format} -o {name}")).succeeds();
        place.run(&format!("inspect {name}")).succeeds();
        place.run(&format!("summary {name}")).fails(1, &[&format!("received {what}\nhint: "), "model.save("]);
    }
    place.write("torch.pt", b"\x80\x02}q\0.");
    place.run("summary torch.pt").fails(1, &["a pickle (.pkl, .pt, .pth, .bin) is refused", "safetensors"]);
}
