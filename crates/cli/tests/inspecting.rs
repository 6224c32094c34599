//! `engraft inspect`: the contents that it prints for a model and for its exported files.

mod support;

use engraft::recipe::{Classifier, Metadata};
use support::Place;

#[test]
fn a_model_and_what_was_exported_of_it() {
    let place = Place::new();
    let metadata = Metadata::new(["blue", "green", "red"].map(str::to_owned).to_vec());
    Classifier::new(support::small_model(3), Some(metadata)).unwrap().save(&place.path("small.keras")).unwrap();
    for format in ["h5", "safetensors", "weights.h5", "onnx"] {
        place.run(&format!("export small.keras --to {format} --precision f16")).succeeds();
    }
    let run = place.run("inspect small.keras").succeeds();
    assert!(run.out.contains("as Keras 3.15.1\nclasses: blue, green, red\noptimizer: Adam\n"), "{run}");
    assert!(run.out.contains("[14, 14, 8]         224\n"), "{run}");
    assert!(run.out.ends_with("251 parameters in 4 arrays\n"), "{run}");

    for (file, format, classes, parameters) in [
        ("small.keras", "Keras model (.keras)", 3, 251),
        ("small.h5", "Keras model (.h5)", 3, 251),
        ("small.safetensors", "safetensors", 3, 251),
        ("small.weights.h5", "weights of Keras 3 (.weights.h5)", 0, 251),
        // In ONNX, the factor of the Rescaling layer is an initializer, which counts as one more parameter.
        ("small.onnx", "ONNX model (.onnx)", 3, 252),
    ] {
        let json = place.run(&format!("inspect {file} --json")).succeeds().json();
        assert_eq!((&json["format"], &json["parameters"]), (&format.into(), &parameters.into()), "{file}");
        assert_eq!(json["classes"].as_array().unwrap().len(), classes, "{file}");
    }
    let run = place.run("inspect small.onnx").succeeds();
    assert!(
        run.out.starts_with("ONNX model (.onnx), written by engraft 0.1.0\nclasses: blue, green, red\nopset: 17\n"),
        "{run}"
    );
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = run.out.lines().map(words).collect();
    for row in
        [["conv/kernel", "FLOAT16", "[8,", "3,", "3,", "3]", "216"].as_slice(), &["conv/bias", "FLOAT", "[8]", "8"]]
    {
        assert!(rows.iter().any(|found| found == row), "{row:?} in {run}");
    }
    let json = place.run("inspect small.onnx --json").succeeds().json();
    assert_eq!((&json["opset"], &json["written_by"]), (&17.into(), &"engraft 0.1.0".into()));
    place.write("note.txt", b"no model");
    place.run("inspect note.txt").fails(1, &["note.txt: expected a .keras, .h5, "]);
}
