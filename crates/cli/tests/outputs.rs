//! An output file replaces nothing of value: no input, photo, device or other output, and without `--force` no file of others.

mod support;

use std::fs;

use support::Place;

const TRAIN: &str = "train photos --model m.keras --epochs 1 -o";

fn place() -> Place {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    place
}

#[test]
fn a_name_that_promises_other_content_is_refused_with_the_right_command() {
    let place = place();
    for (name, hint) in [
        ("n.onnx", "hint: use --output n.keras, then convert it: engraft export n.keras --to onnx"),
        ("n.h5", "engraft export n.keras --to h5"),
        ("n.weights.h5", "engraft export n.keras --to weights.h5"),
        ("n.safetensors", "engraft export n.keras --to safetensors"),
        ("n.jpg", "expected a name that ends in .keras, for a model, received n.jpg\nhint: use --output n.keras\n"),
        ("n.txt", "hint: use --output n.keras\n"),
        ("n.csv", "hint: use --output n.keras\n"),
        ("m.json", "hint: use --output m-2.keras\n"),
    ] {
        let run = place.run(&format!("{TRAIN} {name}")).fails(2, &[hint]);
        assert!(!place.path(name).exists() && run.out.is_empty(), "{run}");
    }
    place.run(&format!("{TRAIN} n.keras --history h.csv")).fails(2, &["hint: use --history h.json\n"]);
    place.run("export m.keras --to onnx -o n.h5").fails(2, &["hint: use --to h5, or --output n.onnx\n"]);
    place.run("export m.keras --to h5 -o n.keras").fails(2, &["hint: use --output n.h5\n"]);
    place.run("features m.keras photos/red/00.bmp --layer top -o f.csv").fails(2, &["hint: use --output f.npy\n"]);
}

#[test]
fn a_file_of_others_is_replaced_by_force_alone() {
    let place = place();
    let features = "features m.keras photos/red/00.bmp --layer top -o mine.npy";
    for (command, name) in [
        (format!("{TRAIN} mine.keras"), "mine.keras"),
        (format!("{TRAIN} n.keras --history mine.json"), "mine.json"),
        ("export m.keras --to onnx -o mine.onnx".to_owned(), "mine.onnx"),
        ("export m.keras --to h5 -o mine.h5".to_owned(), "mine.h5"),
        ("export m.keras --to weights.h5 -o mine.weights.h5".to_owned(), "mine.weights.h5"),
        ("export m.keras --to safetensors -o mine.safetensors".to_owned(), "mine.safetensors"),
        (features.to_owned(), "mine.npy"),
    ] {
        place.write(name, b"years of work");
        let expected =
            format!("received {name}, another file\nhint: name another file, or add --force to replace this one");
        place.run(&command).fails(1, &[&expected]);
        assert_eq!(place.read(name), b"years of work");
        place.run(&format!("{command} --force")).succeeds();
        assert!(place.read(name) != b"years of work", "{name}");
        // What engraft wrote may be replaced again. An array says nothing of who wrote it.
        match name {
            "mine.npy" => drop(place.run(&command).fails(1, &["add --force"])),
            _ => drop(place.run(&command).succeeds()),
        }
    }
    // An empty file, as `mktemp` makes it, holds nothing to lose.
    place.write("empty.keras", b"");
    place.run(&format!("{TRAIN} empty.keras")).succeeds();
}

#[test]
fn inputs_and_other_outputs_are_never_replaced() {
    let place = place();
    place.run("export m.keras --to h5").succeeds();
    for (command, expected) in [
        (
            format!("{TRAIN} m.keras"),
            "--output: expected another file than --model, received m.keras\nhint: name a file such as m-2.keras",
        ),
        (format!("{TRAIN} ./photos/../m.keras"), "expected another file than --model"),
        (format!("{TRAIN} n.keras --history ./n.keras"), "--history: expected another file than --output"),
        ("export m.h5 --to h5".to_owned(), "--output: expected another file than MODEL, received m.h5"),
        (
            "features m.keras photos/red/00.bmp --layer top -o photos/red/00.bmp".to_owned(),
            "expected another file than IMAGE",
        ),
    ] {
        let before = [place.read("m.keras"), place.read("m.h5"), place.read("photos/red/00.bmp")];
        place.run(&format!("{command} --force")).fails(1, &[expected]);
        assert!([place.read("m.keras"), place.read("m.h5"), place.read("photos/red/00.bmp")] == before);
    }
}

#[test]
fn folders_and_devices_are_never_replaced() {
    let place = place();
    place.run(&format!("{TRAIN} photos --force")).fails(2, &["the name of a file to write, received photos"]);
    #[cfg(unix)]
    place.run(&format!("{TRAIN} /dev/null --force")).fails(2, &["/dev/null, a device or pipe"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_stay() {
    use std::os::unix::fs::symlink;
    let place = place();
    fs::create_dir(place.path("store")).unwrap();
    for (command, link) in [
        (format!("{TRAIN} latest.keras"), "latest.keras"),
        ("export m.keras --to onnx -o latest.onnx".into(), "latest.onnx"),
    ] {
        // The target doesn't exist in the first run.
        symlink(format!("store/{link}"), place.path(link)).unwrap();
        for _ in 0..2 {
            place.run(&command).succeeds();
            assert!(place.path(link).is_symlink() && place.path(&format!("store/{link}")).is_file());
        }
    }
    symlink("photos/red/00.bmp", place.path("photo.keras")).unwrap();
    let photo = place.read("photos/red/00.bmp");
    place.run(&format!("{TRAIN} photo.keras --force")).fails(1, &["photo.keras, a photo\nhint: name another file"]);
    assert!(place.read("photos/red/00.bmp") == photo);
    symlink("m.keras", place.path("input.keras")).unwrap();
    place.run(&format!("{TRAIN} input.keras --force")).fails(1, &["expected another file than --model"]);
    symlink("/dev/null", place.path("null.keras")).unwrap();
    place.run(&format!("{TRAIN} null.keras --force")).fails(2, &["a device or pipe"]);
    symlink("absent/n.keras", place.path("dangling.keras")).unwrap();
    place.run(&format!("{TRAIN} dangling.keras")).fails(1, &["there is no such folder"]);
}

/// A file system of 8 MB is too small for the network's 14 MB. Making one takes root.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_is_told_before_the_work() {
    let place = Place::with_photos(4);
    fs::create_dir(place.path("small")).unwrap();
    let mount = |arguments: &[&str]| {
        let small = place.path("small");
        let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(small).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs"]) {
        eprintln!("SKIPPED: this user may not mount a file system");
        return;
    }
    let gradient = "train photos -o small/m.keras --image-size 32 --weights none --epochs 1";
    let runs = [place.run(gradient), place.run("train photos -o small/m.keras --image-size 32")];
    assert!(mount(&["umount"]));
    for run in runs {
        let run = run.fails(
            1,
            &["small/m.keras: expected 13.0 MiB of free disk space, received ", "hint: make room on this disk"],
        );
        assert!(!run.err.contains("Epoch"), "{run}");
    }
}
