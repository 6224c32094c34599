//! What the commands make of models from Keras by what their outputs are: probabilities, logits, other values or features.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;

use support::Place;

/// Photos, and models of the golden values.
fn place(models: &[&str]) -> Place {
    let place = Place::with_photos(4);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/outputs");
    for model in models {
        std::fs::copy(golden.join(format!("{model}.keras")), place.path(&format!("{model}.keras"))).unwrap();
    }
    place
}

const PHOTO: &str = "photos/red/00.bmp";

#[test]
fn probabilities_are_printed_whatever_operation_gives_them() {
    let models = ["weighted_softmax", "one_minus_sigmoid", "clipped", "pooled_softmax", "pixel_softmax"];
    let place = place(&models);
    for model in models {
        let run = place.run(&format!("predict {model}.keras {PHOTO} --json")).succeeds();
        let json = run.json();
        let sum: f64 = json["probabilities"].as_object().unwrap().values().map(|value| value.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5 && json["outputs"].is_null() && run.err.is_empty(), "{run}");
    }
}

#[test]
fn logits_are_told_and_printed_raw_on_request() {
    let models = ["temperature", "einsum", "pooled_logits", "pixel_logits"];
    let place = place(&models);
    for model in models {
        let run = place.run(&format!("predict {model}.keras {PHOTO} --json")).succeeds();
        assert!(run.err.contains("the outputs are logits; a softmax makes probabilities of them (--raw"), "{run}");
        let run = place.run(&format!("predict {model}.keras {PHOTO} --json --raw")).succeeds();
        assert!(run.json()["outputs"] == "logits" && run.err.is_empty(), "{run}");
    }
}

#[test]
fn what_may_be_features_is_refused_with_a_command_that_works_and_printed_raw() {
    let models = ["product_softmax", "pooled_features", "normalized", "embedding"];
    let place = place(&models);
    for model in models {
        let expected = ["which may be features", "`engraft predict --raw` prints them", "engraft features"];
        let run = place.run(&format!("predict {model}.keras {PHOTO}")).fails(1, &expected);
        let (_, command) = run.err.split_once("to a file: engraft ").unwrap();
        place.run(command.split_once(';').unwrap().0).succeeds();
        std::fs::remove_file(place.path("features.npy")).unwrap();
        let raw = place.run(&format!("predict {model}.keras {PHOTO} --raw --json")).succeeds();
        assert_eq!(raw.json()["outputs"], "features", "{raw}");
        for command in ["evaluate MODEL photos", "train photos --model MODEL -o n.keras"] {
            place.run(&command.replace("MODEL", &format!("{model}.keras"))).fails(1, &expected);
        }
    }
}

#[test]
fn an_image_of_one_pixel_is_evaluated_trained_and_exported() {
    for model in ["pixel_softmax", "pixel_compiled", "pooled_logits", "temperature"] {
        let place = place(&[model]);
        let run = place.run(&format!("evaluate {model}.keras photos --json")).succeeds();
        assert!(run.json()["accuracy"].is_number(), "{run}");
        place.run(&format!("export {model}.keras photos --to onnx -o m.onnx")).succeeds();
        place.run(&format!("train photos --model {model}.keras -o n.keras --epochs 1 --batch-size 4")).succeeds();
        place.run(&format!("predict n.keras {PHOTO}")).succeeds();
    }
}

#[test]
fn an_output_is_chosen_by_its_key_in_a_dictionary() {
    let place = place(&["dictionary"]);
    let run = place.run(&format!("predict dictionary.keras {PHOTO} --json --model-output size")).succeeds();
    assert_eq!(run.json()["probabilities"].as_object().unwrap().len(), 2, "{run}");
    assert!(run.err.contains("the outputs are logits; a sigmoid makes probabilities"), "{run}");
    let run = place.run(&format!("predict dictionary.keras {PHOTO} --json --model-output color")).succeeds();
    assert!(run.json()["probabilities"].as_object().unwrap().len() == 3 && run.err.is_empty(), "{run}");
    place
        .run(&format!("predict dictionary.keras {PHOTO} --model-output age"))
        .fails(1, &["expected one of color, size, received age"]);
}

#[test]
fn an_architecture_of_another_kind_is_told_what_to_write() {
    let place = place(&["clipped"]);
    place.run("export clipped.keras --to weights.h5 -o w.weights.h5").succeeds();
    place.write("config.json", br#"{"name": "m", "layers": [], "input_layers": [], "output_layers": []}"#);
    for (file, expected) in [
        ("clipped.keras", "received a .keras or .h5 file"),
        ("config.json", "received the dictionary of model.get_config()"),
        ("photos/red/00.bmp", "layers"),
    ] {
        let run = place.run(&format!("predict w.weights.h5 {PHOTO} --architecture {file}"));
        run.fails(1, &[expected, "write(model.to_json())"]);
    }
}

#[test]
fn class_names_of_other_forms_are_read_or_refused() {
    let place = place(&["clipped"]);
    let predict = |file: &str| place.run(&format!("predict clipped.keras {PHOTO} --json --class-names {file}"));
    for (name, text) in [
        ("a.csv", "index,name\n0,cat\n1,dog\n2,elk\n"),
        ("b.txt", "0,cat\n1,dog\n2,elk"),
        ("c.txt", "cat,dog,elk\n"),
        ("d.txt", "['cat', 'dog', 'elk']"),
        ("e.txt", "{'dog': 1, 'cat': 0, 'elk': 2}"),
        ("f.yaml", "names:\n  0: cat # tame\n# wild\n  1: dog\n  2: elk\n"),
        ("g.csv", "id;name\n1;cat\n2;dog\n3;elk\n"),
        ("h.json", r#"{"1": "cat", "2": "dog", "3": "elk"}"#),
        ("i.txt", "cat;dog;elk\n"),
    ] {
        place.write(name, text.as_bytes());
        let run = predict(name).succeeds();
        let names: Vec<String> = run.json()["probabilities"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["cat", "dog", "elk"], "{run}");
    }
    place.write("n.npy", b"\x93NUMPY\x01\0");
    predict("n.npy")
        .fails(1, &["received a NumPy file", "json.dump(numpy.load(\"n.npy\", allow_pickle=True).tolist()"]);
    place.write("j.csv", b"2,cat\n3,dog\n4,elk\n");
    predict("j.csv").fails(1, &["expected the indices 0 to 2 or 1 to 3", "number the classes from 0"]);
    place.write("k.csv", b"cat,\ndog,1\nelk,2\ncow,3\n");
    predict("k.csv").fails(1, &["may be a class without its index", "give the first class its index"]);
    place.write("l.yaml", b"- name: cat\n- name: dog\n- name: elk\n");
    predict("l.yaml").fails(1, &["received `name: cat`", "write one name an item, such as `- cat`"]);
    predict("['cat','dog','elk']").fails(1, &["--class-names", "leave out brackets and quotes"]);
}
