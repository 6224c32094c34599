//! `engraft export`: writes files for other programs, and keeps a file only if its predictions pass a comparison.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft::Tensor;
use engraft::formats::safetensors::SafetensorsFile;
use engraft::interpreter::OnnxModel;
use engraft::prelude::Train;
use engraft::recipe::{Classifier, Metadata};
use support::Place;

fn names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path(".")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn each_format_is_written_checked_and_named_after_the_model() {
    let place = Place::with_photos(2);
    place.add_model("small.keras");
    for (format, file) in [("safetensors", "small.safetensors"), ("weights.h5", "small.weights.h5"), ("h5", "small.h5")]
    {
        let run = place.run(&format!("export small.keras --to {format}")).succeeds();
        assert!(run.out.starts_with(&format!("Saved {file}: 251 parameters, ")), "{run}");
        assert!(run.out.contains("on 8 synthetic images: 0.0e0"), "{run}");
        let run = place.run(&format!("export small.keras photos --to {format} --precision f16")).succeeds();
        assert!(run.out.contains("on 6 photos: ") && run.out.contains("Accuracy "), "{run}");
    }
    assert_eq!(
        names(&place),
        ["photos", "small.h5", "small.keras", "small.safetensors", "small.weights.h5"],
        "no trial is left"
    );
    let written = std::io::Cursor::new(place.read("small.safetensors"));
    let tensors = SafetensorsFile::new(written).unwrap().tensors();
    let found: Vec<(&str, &str)> = tensors.iter().map(|t| (t.name.as_str(), t.dtype.as_str())).collect();
    assert_eq!(found, [("conv/bias", "F32"), ("top/bias", "F32"), ("conv/kernel", "F16"), ("top/kernel", "F16")]);
    let whole = place.run("evaluate small.h5 photos --json").succeeds().json();
    assert_eq!(whole["images"], 6, "the .h5 is a model like another");
}

#[test]
fn onnx_holds_preprocessing_and_the_names_of_the_classes() {
    let place = Place::with_photos(2);
    let metadata = Metadata::new(["blue", "green", "red"].map(str::to_owned).to_vec());
    Classifier::new(support::small_model(3), Some(metadata)).unwrap().save(&place.path("small.keras")).unwrap();
    for (precision, tolerance) in [("f32", 1e-6), ("f16", 1e-3)] {
        let run = place.run(&format!("export small.keras photos --to onnx --precision {precision}")).succeeds();
        assert!(
            run.out.starts_with("Saved small.onnx: 251 parameters, ") && run.out.contains("on 6 photos: "),
            "{run}"
        );
        let written = OnnxModel::load(&place.path("small.onnx")).unwrap();
        assert_eq!(written.metadata()["class_names"], r#"["blue","green","red"]"#);
        let pixels = (0..2 * 16 * 16 * 3).map(|index| (index * 37 % 256) as f32).collect();
        let x = Tensor::new([2, 16, 16, 3], pixels).unwrap();
        let (found, expected) = (
            &written.run(&[&x]).unwrap()[0],
            Classifier::load(&place.path("small.keras")).unwrap().model().predict(&x, 2).unwrap(),
        );
        for (found, expected) in found.data().iter().zip(expected.data()) {
            assert!((found - expected).abs() <= tolerance, "{precision}: {found}, not {expected}");
        }
    }
    place.add_model("unnamed.keras");
    place.run("export unnamed.keras --to onnx").succeeds();
    assert!(!OnnxModel::load(&place.path("unnamed.onnx")).unwrap().metadata().contains_key("class_names"));
}

#[test]
fn torchvision_s_names_are_for_safetensors() {
    let place = Place::new();
    place.add_model("small.keras");
    place.run("export small.keras --to safetensors --names torchvision -o t.safetensors").succeeds();
    let tensors = SafetensorsFile::new(std::io::Cursor::new(place.read("t.safetensors"))).unwrap().tensors();
    let found: Vec<(&str, &[usize])> = tensors.iter().map(|t| (t.name.as_str(), &t.shape[..])).collect();
    let expected: [(&str, &[usize]); 4] = [
        ("features.0.weight", &[8, 3, 3, 3]),
        ("features.0.bias", &[8]),
        ("classifier.0.weight", &[3, 8]),
        ("classifier.0.bias", &[3]),
    ];
    assert_eq!(found, expected);
    let run = place.run("export small.keras --to h5 --names torchvision");
    run.fails(2, &["--names torchvision: expected --to safetensors, received h5"]);
}

#[test]
fn a_file_that_cannot_be_made_leaves_the_old_one() {
    let place = Place::new();
    place.write("small.h5", b"old");
    place.add_model("small.keras");
    let model = engraft::formats::keras::load_model(&place.path("small.keras")).unwrap();
    model.weights()[0].values_mut()[0] = 1e6;
    support::save(&model, &place.path("small.keras"));
    let run = place.run("export small.keras --to h5 --precision f16 --force");
    run.fails(1, &["weight `conv/kernel`: expected values of at most 65504 for f16, received 1000000"]);
    model.weights()[0].values_mut()[0] = f32::NAN;
    support::save(&model, &place.path("small.keras"));
    let run = place.run("export small.keras --to h5 --force");
    run.fails(1, &["the file written: expected predictions that differ", "received NaN"]);
    assert_eq!(place.read("small.h5"), b"old");
    assert_eq!(names(&place), ["small.h5", "small.keras"]);
}
