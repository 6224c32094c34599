//! `--labels FILE.csv`: one class or several labels for each photo, in training, evaluation and prediction.

mod support;

use engraft::prelude::*;
use engraft::random::Rng;
use engraft::recipe::{Classifier, Metadata};
use serde_json::Value;
use support::{COLOURS, Place, bmp, save};

const TRAIN: &str = "train photos --labels labels.csv -o m.keras --image-size 64";

/// A BMP photo of 40 by 40 pixels: a square of each of these colours in a quarter of its own, on grey noise.
fn squares(colours: &[usize], rng: &mut Rng) -> Vec<u8> {
    let mut quarters = [0, 1, 2, 3];
    rng.shuffle(&mut quarters);
    bmp(40, 40, |x, y| {
        let quarter = 2 * (y / 20) + x / 20;
        let inside = (2..18).contains(&(x % 20)) && (2..18).contains(&(y % 20));
        match colours.iter().zip(quarters).find(|&(_, of)| inside && of == quarter) {
            Some((&colour, _)) => COLOURS[colour].1,
            None => [rng.uniform(60.0, 160.0) as u8; 3],
        }
    })
}

/// Writes `each` photos of every set of colours to a flat folder, without class folders, and their labels to the file `csv`.
fn add_squares(place: &Place, folder: &str, csv: &str, each: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut rows = "path,label\n".to_owned();
    for set in 0..8 {
        let colours: Vec<usize> = (0..3).filter(|colour| set >> colour & 1 == 1).collect();
        for number in 0..each {
            let name = format!("{}/{set}-{number}.bmp", number % 2);
            place.write(&format!("{folder}/{name}"), &squares(&colours, &mut rng));
            colours.iter().for_each(|&colour| rows.push_str(&format!("{name},{}\n", COLOURS[colour].0)));
            if colours.is_empty() {
                rows.push_str(&format!("{name},\n"));
            }
        }
    }
    place.write(csv, rows.as_bytes());
}

/// A place with `photos` and `labels.csv`, and others in `unseen` and `unseen.csv`.
fn with_squares(each: usize) -> Place {
    let place = Place::new();
    add_squares(&place, "photos", "labels.csv", each, 1);
    add_squares(&place, "unseen", "unseen.csv", 2, 2);
    place
}

/// A small network on 16 by 16 pixels with a sigmoid for each colour, as Keras would save it: without metadata.
fn add_sigmoid_model(place: &Place) {
    engraft::set_random_seed(1);
    let layers = Sequential::with_name("small").add(Input::new([16, 16, 3])).add(Rescaling::new(1.0 / 255.0));
    let layers = layers.add(Conv2D::new(24, 3).activation(Relu)).add(GlobalMaxPooling2D::new());
    #[allow(clippy::unwrap_used, reason = "only tests use it")]
    let model = layers.add(Dense::new(3).activation(Sigmoid)).build().unwrap();
    save(&model, &place.path("sigmoid.keras"));
}

#[track_caller]
fn number(json: &Value) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("{json}"))
}

#[test]
fn a_class_for_each_photo_gives_the_model_of_class_folders() {
    let place = Place::with_photos(4);
    place.add_model("small.keras");
    place.write("photos/unlabelled.bmp", &bmp(4, 4, |_, _| [9; 3]));
    // In another order, with Windows' separators, a header and a row twice.
    let mut rows: Vec<String> = COLOURS
        .iter()
        .flat_map(|(class, _)| (0..4).map(move |number| format!("{class}\\0{number}.bmp,\"{class}\"\r\n")))
        .collect();
    rows.reverse();
    rows.push(rows[3].clone());
    place.write("labels.csv", format!("\u{feff}Image,Class\r\n{}", rows.concat()).as_bytes());
    for options in ["--image-size 64", "--model small.keras --epochs 2 --batch-size 5"] {
        let folders = place.run(&format!("train photos -o folders.keras {options}")).succeeds();
        let labels = place.run(&format!("train photos --labels labels.csv -o labels.keras {options}")).succeeds();
        assert!(place.entries("labels.keras") == place.entries("folders.keras"), "{options}\n{folders}{labels}");
        assert!(labels.out.contains("12 photos of 3 classes, 1 photo without a row left out\n"), "{labels}");
    }
    let json =
        |arguments: &str| place.run(&format!("evaluate labels.keras photos --json {arguments}")).succeeds().json();
    let (folders, labels) = (json(""), json("--labels labels.csv"));
    assert_eq!((&folders["loss"], &folders["classes"]), (&labels["loss"], &labels["classes"]));
    assert_eq!((&labels["unlabelled"], folders.get("unlabelled")), (&1.into(), None));
}

#[test]
fn several_labels_are_trained_scored_predicted_and_evaluated() {
    let place = with_squares(4);
    let run = place.run(TRAIN).succeeds();
    for expected in [
        "Photos    32 photos with any of 3 labels\n          blue 16, green 16, red 16, several labels 16, no label 4\n",
        "Score     micro F1 0.",
        "the labels of each fold were decided by thresholds that the other folds chose",
        "Labels    ",
        "Saved     m.keras\n",
    ] {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    assert!(!run.out.contains("Unknown") && !run.out.contains("accuracy"), "{run}");
    let found = place.run("evaluate m.keras unseen --labels unseen.csv --json").succeeds().json();
    // Labels at random have a micro F1 of 0.5. The features are those of 64 pixels, where the network was trained on 224.
    assert!(number(&found["micro_f1"]) > 0.7, "{found}");
    assert_eq!((&found["images"], &found["labels"]["red"]["images"]), (&16.into(), &8.into()), "{found}");

    let classifier = Classifier::load(&place.path("m.keras")).expect("the model");
    let thresholds = classifier.metadata().and_then(|metadata| metadata.thresholds.clone()).expect("thresholds");
    assert_eq!(classifier.model().compiled().and_then(|compiled| compiled.loss), Some(Loss::binary_crossentropy()));
    for photo in ["unseen/0/0-0.bmp", "unseen/1/7-1.bmp"] {
        let json = place.run(&format!("predict m.keras {photo} --json")).succeeds().json();
        let mut expected: Vec<(&str, f64)> = COLOURS
            .iter()
            .zip(&thresholds)
            .map(|((name, _), threshold)| (*name, number(&json["probabilities"][*name]), f64::from(*threshold)))
            .filter(|(_, probability, threshold)| probability >= threshold)
            .map(|(name, probability, _)| (name, probability))
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(json["labels"], Value::from(names), "{json}");
        let text: String = match expected.as_slice() {
            [] => "  no label\n".to_owned(),
            labels => labels.iter().map(|(name, p)| format!("  {:5.1} %  {name}\n", 100.0 * p)).collect(),
        };
        assert_eq!(place.run(&format!("predict m.keras {photo} --top 1")).succeeds().out, format!("{photo}\n{text}"));
    }
    for wrong in ["unseen", "unseen/0"] {
        let hint = "hint: the model gives a photo several labels: list them with --labels FILE.csv, a row `path,label`";
        place.run(&format!("evaluate m.keras {wrong}")).fails(1, &[hint]);
    }
    place.add_photos("folders", 1, 3);
    let run = place.run("export m.keras folders --to onnx").succeeds();
    assert!(run.out.ends_with("\n3 of 3 photos have the labels that the model gives them\n"), "{run}");
    let run = place.run("evaluate m.keras unseen --labels unseen.csv").succeeds();
    assert!(run.out.contains("\n  label  precision  recall     F1  photos  threshold\n  blue "), "{run}");
}

#[test]
fn labels_of_held_out_photos_are_scored_apart() {
    let place = with_squares(5);
    let json = place.run(&format!("{TRAIN} --validation-split 0.2 --folds 3 --json")).succeeds().json();
    assert_eq!((&json["photos"], &json["held_out"]["photos"]), (&32.into(), &8.into()), "{json}");
    // Each colour is in 20 of the 40 photos; 5 have none.
    assert_eq!(json["held_out"]["labels"]["red"]["images"], 4, "{json}");
    assert_eq!((&json["thresholds"][2].is_number(), json.get("unknown")), (&true, None), "{json}");
    assert!(json["score"].get("accuracy").is_none() && number(&json["score"]["macro_f1"]) > 0.5, "{json}");
    place.run(&format!("{TRAIN} --class-weights balanced --backbone auto")).succeeds();
    let run = place.run(&format!("{TRAIN} --validation unseen"));
    run.fails(
        1,
        &["--labels: expected --validation-split where photos have several labels", "engraft evaluate MODEL DIR"],
    );
}

#[test]
fn the_same_labels_give_the_same_bytes_in_any_order_on_any_number_of_threads() {
    let place = with_squares(2);
    place.run(&format!("{TRAIN} --threads 1")).succeeds();
    let first = place.read("m.keras");
    let rows = String::from_utf8(place.read("labels.csv")).expect("UTF-8");
    let reversed: Vec<&str> = rows.lines().skip(1).collect::<Vec<_>>().into_iter().rev().collect();
    place.write("labels.csv", reversed.join("\n").as_bytes());
    place.run(&format!("{TRAIN} --threads 3")).succeeds();
    assert!(place.read("m.keras") == first);
}

#[test]
fn gradient_training_learns_several_labels() {
    let place = with_squares(8);
    add_sigmoid_model(&place);
    let options = "--labels labels.csv --epochs 60 --learning-rate 0.02 --batch-size 8";
    let run =
        place.run(&format!("train photos --model sigmoid.keras -o n.keras --history h.json {options}")).succeeds();
    assert!(place.json("h.json")["val_binary_accuracy"].is_array(), "{run}");
    let found = place.run("evaluate n.keras unseen --labels unseen.csv --json").succeeds().json();
    assert!(number(&found["micro_f1"]) > 0.95, "{found}");
    // The names of the labels are in the file now, and training goes on from it. A label without photos is no obstacle.
    place.write("two.csv", b"0/1-0.bmp,blue\n0/4-0.bmp,red\n1/0-1.bmp,\n0/2-0.bmp,green\n0/2-0.bmp,blue\n");
    let more = "--labels two.csv --epochs 1 --validation-split 0";
    place.run(&format!("train photos --model n.keras -o o.keras {more}")).succeeds();
    place.write("two.csv", b"0/1-0.bmp,blue\n0/4-0.bmp,yellow\n");
    let run = place.run(&format!("train photos --model n.keras -o o.keras {more}"));
    run.fails(1, &["two.csv:2: expected one of the classes blue, green, red, received `yellow`"]);
    // A new model has a sigmoid for each label, too.
    place
        .run(&format!("train photos -o p.keras --image-size 32 --head none {}", options.replace("60", "1")))
        .succeeds();
    assert!(Classifier::load(&place.path("p.keras")).expect("the model").is_multi_label());
}

#[test]
fn training_on_drops_the_thresholds_and_says_so() {
    let place = with_squares(2);
    place.run(TRAIN).succeeds();
    let run = place.run("train photos --labels labels.csv --model m.keras -o n.keras --epochs 1").succeeds();
    assert!(run.err.contains("note: the thresholds of the labels become 0.5"), "{run}");
    assert!(run.err.contains("will look too good; measure it on other photos with `engraft evaluate`"), "{run}");
    let classifier = Classifier::load(&place.path("n.keras")).expect("the model");
    assert_eq!(classifier.thresholds(), Some(&[0.5; 3][..]));
}

#[test]
fn a_model_with_several_labels_is_evaluated_on_class_folders_as_well() {
    let place = Place::with_photos(2);
    add_sigmoid_model(&place);
    let found = place.run("evaluate sigmoid.keras photos --json").succeeds().json();
    assert_eq!((&found["images"], &found["labels"]["0"]["images"]), (&6.into(), &2.into()), "{found}");
    assert_eq!(found["labels"]["2"]["threshold"], 0.5);
}

#[test]
fn a_model_with_one_class_a_photo_refuses_several_labels() {
    let place = with_squares(2);
    place.add_model("small.keras");
    let metadata = Metadata::new(COLOURS.map(|(name, _)| name.to_owned()).to_vec());
    let model = Classifier::load(&place.path("small.keras")).expect("the model").model().clone();
    Classifier::new(model, Some(metadata)).and_then(|named| named.save(&place.path("named.keras"))).expect("saved");
    for model in ["small.keras", "named.keras"] {
        for command in ["evaluate MODEL photos", "train photos --model MODEL -o n.keras"] {
            let run = place.run(&format!("{} --labels labels.csv", command.replace("MODEL", model)));
            run.fails(
                1,
                &[
                    "labels.csv: expected one label for each photo, as the model gives one, received ",
                    "hint: train a new",
                ],
            );
        }
    }
    assert!(!place.path("n.keras").exists());
}

#[test]
fn label_files_that_make_no_sense_are_refused_before_anything_is_computed() {
    let place = with_squares(1);
    for (rows, expected) in [
        (
            "path,label\n0/1-0.bmp,a\nmissing.bmp,b\n",
            "labels.csv:3: expected the path of a photo in the first column, received `missing.bmp`",
        ),
        ("0/1-0.bmp,a\n0/2-0.bmp,\n", "labels.csv:2: expected a label, received none"),
        ("0/1-0.bmp;a\n", "labels.csv:1: expected two columns, path and label, received 1"),
        ("0/1-0.bmp,a\n0/2-0.bmp,\"b\n0/3-0.bmp,c\n", "hint: is a double quote missing at the end of a field?"),
        ("0/1-0.bmp,a\n0/2-0.bmp,a\n", "labels.csv: expected two or more different labels, received one, `a`"),
        ("", "labels.csv: expected rows of a path and a label"),
    ] {
        place.write("labels.csv", rows.as_bytes());
        place.run(TRAIN).fails(1, &[expected]);
        place.run(&format!("{TRAIN} --epochs 1")).fails(1, &[expected]);
    }
    place.write("labels.csv", &[&b"0/1-0.bmp,\""[..], &vec![b'x'; 1 << 20]].concat());
    place.run(TRAIN).fails(1, &["labels.csv:1: expected a row of less than 65536 bytes, received more"]);
    place.run("train photos --labels no.csv -o m.keras").fails(1, &["no.csv: ", "hint: give a CSV file"]);
    assert!(!place.path("m.keras").exists());
}
