//! Arguments in the wrong place are told in words, with the command line that was meant.

mod support;

use support::Place;

fn place() -> Place {
    let place = Place::with_photos(3);
    place.add_model("m.keras");
    // Content decides, not the name.
    place.write("model.jpg", &place.read("m.keras"));
    place.write("photo.keras", &place.read("photos/red/00.bmp"));
    place
}

#[test]
fn arguments_in_the_wrong_order_are_told_with_the_right_line() {
    let place = place();
    for (typed, meant) in [
        ("predict photos/red/00.bmp m.keras --top 1", "predict m.keras photos/red/00.bmp --top 1"),
        ("predict photo.keras model.jpg", "predict model.jpg photo.keras"),
        ("predict photos/red m.keras", "predict m.keras photos/red"),
        ("evaluate photos m.keras --json", "evaluate m.keras photos --json"),
        (
            "features photos/red/00.bmp m.keras --layer top -o f.npy",
            "features m.keras photos/red/00.bmp --layer top -o f.npy",
        ),
        ("export photos m.keras --to onnx", "export m.keras photos --to onnx"),
        ("train m.keras -o photos", "train photos -o m.keras"),
        ("train -o photos new.keras --epochs 1", "train -o new.keras photos --epochs 1"),
    ] {
        let run = place.run(typed).fails(2, &[&format!("first: engraft {meant}\n")]);
        assert!(run.err.contains("expected ") && run.out.is_empty(), "{run}");
    }
}

#[test]
fn the_wrong_kind_of_file_is_told_by_its_content() {
    let place = place();
    place.write("empty.keras", b"");
    for (typed, expected) in [
        (
            "predict photos/red/00.bmp photos/red/01.bmp",
            "photos/red/00.bmp: expected a model file, received a photo\nhint: ",
        ),
        ("predict photo.keras photos/red/01.bmp", "photo.keras: expected a model file, received a photo\nhint: "),
        ("summary photos", "photos: expected a model file, received a folder\nhint: "),
        ("summary empty.keras", "empty.keras: expected a model file, received an empty file\nhint: "),
        ("inspect photos/red/00.bmp", "expected a model file, received a photo\nhint: "),
        ("evaluate m.keras m.keras", "m.keras: expected a folder of photos, received a model file\nhint: "),
        ("evaluate m.keras photos/red/00.bmp", "expected a folder of photos, received a photo\nhint: "),
        ("export m.keras photos/red/00.bmp --to onnx", "expected a folder of photos, received a photo\nhint: "),
        ("train photos/red/00.bmp -o n.keras", "expected a folder of photos, received a photo\nhint: "),
        ("train model.jpg -o n.keras", "model.jpg: expected a folder of photos, received a model file\nhint: "),
        ("train photos -o n.keras --validation m.keras", "m.keras: expected a folder of photos, received a model file"),
        ("train photos -o n.keras --model photos", "photos: expected a model file, received a folder\nhint: "),
        (
            "train photos -o n.keras --model photos/red/00.bmp",
            "00.bmp: expected a model file, received a photo\nhint: ",
        ),
        ("train photos -o n.keras --weights photos --epochs 1", "received photos, a folder\nhint: give a weights file"),
        ("train photos -o n.keras --weights photo.keras --epochs 1", "received photo.keras, a photo\nhint: "),
        ("predict absent.keras photos/red/00.bmp", "absent.keras: no such file or folder"),
    ] {
        let run = place.run(typed).fails(1, &[expected]);
        assert!(!run.err.contains("os error") && !run.err.contains("EOCD"), "{run}");
        assert!(!place.path("n.keras").exists(), "{run}");
    }
    place.write("cut.keras", &place.read("m.keras")[..3000]);
    let run = place.run("summary cut.keras").fails(1, &["received a zip archive that is damaged or cut short"]);
    assert!(!run.err.contains("EOCD"), "{run}");
}

#[test]
fn an_option_given_twice_is_told_with_a_line_that_has_it_once() {
    let place = place();
    for (typed, once) in [
        ("train photos -o n.keras --seed 1 --seed 2", "give --seed once: engraft train photos -o n.keras --seed 2\n"),
        ("train photos -o a.keras --output b.keras", "give --output once: engraft train photos --output b.keras\n"),
        (
            "predict m.keras --json a.jpg --top 2 --json",
            "give --json once: engraft predict m.keras a.jpg --top 2 --json\n",
        ),
        ("cache --memory-limit 1G --memory-limit=2G", "give --memory-limit once: engraft cache --memory-limit=2G\n"),
    ] {
        place.run(typed).fails(2, &["cannot be used multiple times", once]);
    }
}
