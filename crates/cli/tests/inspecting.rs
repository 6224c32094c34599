//! `engraft inspect`: what files are said to hold.

mod support;

use engraft::recipe::{Classifier, Facts};
use support::Place;

#[test]
fn a_model_and_what_was_exported_of_it() {
    let place = Place::new();
    let facts = Facts::new(["blue", "green", "red"].map(str::to_owned).to_vec());
    Classifier::new(support::small_model(3), Some(facts)).unwrap().save(&place.path("small.keras")).unwrap();
    for format in ["h5", "safetensors", "weights.h5"] {
        place.run(&format!("export small.keras --to {format}")).succeeds();
    }
    let run = place.run("inspect small.keras").succeeds();
    assert!(run.out.contains("as Keras 3.15.1\nclasses: blue, green, red\noptimizer: Adam\n"), "{run}");
    assert!(run.out.contains("[14, 14, 8]         224\n"), "{run}");
    assert!(run.out.ends_with("251 parameters in 4 arrays\n"), "{run}");

    for (file, format, classes) in [
        ("small.keras", "Keras model (.keras)", 3),
        ("small.h5", "Keras model (.h5)", 3),
        ("small.safetensors", "safetensors", 3),
        ("small.weights.h5", "weights of Keras 3 (.weights.h5)", 0),
    ] {
        let json = place.run(&format!("inspect {file} --json")).succeeds().json();
        assert_eq!((&json["format"], &json["parameters"]), (&format.into(), &251.into()), "{file}");
        assert_eq!(json["classes"].as_array().unwrap().len(), classes, "{file}");
    }
    place.write("note.txt", b"no model");
    place.run("inspect note.txt").fails(1, &["note.txt: expected a .keras, .h5, "]);
}
