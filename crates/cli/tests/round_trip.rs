//! Trains a model on photos, evaluates it and classifies photos with it, by the commands of the program.

mod support;

use serde_json::json;
use support::{COLOURS, Place};

/// Options for a small and fast VGG16: 32 pixels, random weights, a hidden layer of 16 units.
const SMALL: &str =
    "--backbone vgg16 --weights none --image-size 32 --head 16 --augment flip --batch-size 8 --learning-rate 0.003";

#[test]
fn a_model_is_trained_evaluated_and_used() {
    let place = Place::with_photos(10);
    place.add_photos("unseen", 3, 2);
    let before = place.snapshot("photos");
    // A base with random weights has small outputs. A head of one layer trains faster on them than a head of two.
    let options = "--backbone vgg16 --weights none --image-size 32 --head none --augment flip --batch-size 8 --learning-rate 0.05";
    let run = place.run(&format!("train photos -o m.keras {options} --epochs 14 --history h.json")).succeeds();
    for expected in [
        "Photos    30 photos of 3 classes\n          blue 10, green 10, red 10\n          24 for training, 6 for validation\n",
        "Model     vgg16 with random weights, 32 x 32 pixels, augmentation flip, head 3\n",
        "Training  14 epochs of 3 steps of 8 photos, Adam at a learning rate of 0.05\n",
        "          1,539 of 14,716,227 parameters are trainable: dense\nMemory    ",
        "Output    m.keras\nSaved m.keras: epoch ",
    ] {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    assert!(run.out.contains(" of 14, the best by val_loss "), "{run}");
    assert!(run.err.contains("Epoch 14/14: 0:"), "{run}");
    assert!(
        run.err.contains(" - loss: ") && run.err.contains(" - val_accuracy: ") && run.err.contains(" images/s\n"),
        "{run}"
    );
    assert_eq!(place.snapshot("photos"), before, "photos are only read");

    let history = place.json("h.json");
    let lists: Vec<&String> = history.as_object().unwrap().keys().collect();
    assert_eq!(lists, ["loss", "accuracy", "val_loss", "val_accuracy"]);
    assert!(history.as_object().unwrap().values().all(|list| list.as_array().unwrap().len() == 14), "{history}");

    let found = place.run("evaluate m.keras unseen --json").succeeds().json();
    assert_eq!((&found["images"], &found["skipped"]), (&json!(9), &json!(0)));
    assert!(found["loss"].as_f64().unwrap() > 0.0);
    // Classes differ by colour, which is easy: at most one of nine photos may be wrong.
    assert!(found["accuracy"].as_f64().unwrap() >= 8.0 / 9.0 - 1e-9, "{found}");
    assert_eq!(found["classes"]["red"]["images"], 3);

    let predicted = place.run("predict m.keras unseen/blue/00.bmp unseen/red/00.bmp --json").succeeds();
    let lines: Vec<serde_json::Value> = predicted.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, image) in lines.iter().zip(["unseen/blue/00.bmp", "unseen/red/00.bmp"]) {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["image", "class", "probability", "probabilities"]);
        assert_eq!(line["image"], image);
        let probabilities = line["probabilities"].as_object().unwrap();
        assert_eq!(probabilities.keys().collect::<Vec<_>>(), COLOURS.map(|(class, _)| class));
        assert_eq!(probabilities[line["class"].as_str().unwrap()], line["probability"]);
        // The tolerance covers the f32 rounding of a softmax over three classes.
        let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
}

#[test]
fn balanced_class_weights_change_the_model_and_are_stated() {
    let place = Place::with_photos(4);
    // Three blue photos, one green, one red in the training set.
    for photo in ["green/02", "green/03", "red/02", "red/03"] {
        std::fs::remove_file(place.path(&format!("photos/{photo}.bmp"))).unwrap();
    }
    let train = |options: &str| {
        let options = format!("train photos -o m.keras {SMALL} --epochs 1 --validation-split 0.25 {options}");
        (place.run(&options).succeeds().out, place.entries("m.keras"))
    };
    let (out, balanced) = train("--class-weights balanced");
    assert!(out.contains("balanced: a photo of blue counts 0.56, one of red 1.67\n"), "{out}");
    let (out, plain) = train("--class-weights none");
    assert!(!out.contains("balanced"), "{out}");
    assert!(plain != balanced);
    assert!(train("").1 == plain);
}

#[test]
fn one_seed_gives_one_model_whatever_the_threads() {
    let place = Place::with_photos(3);
    let train = |name: &str, options: &str| {
        let options = format!("{SMALL} --epochs 1 --validation-split 0 {options}");
        place.run(&format!("train photos -o {name} {options}")).succeeds();
        place.entries(name)
    };
    let one = train("1.keras", "--seed 7 --threads 1");
    let names: Vec<&String> = one.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["config.json", "model.weights.h5", "engraft.json", "engraft.split"]);
    assert!(one == train("2.keras", "--seed 7 --threads 2"), "threads decide nothing");
    assert!(one != train("3.keras", "--seed 8"), "the seed decides");
}

#[test]
fn fine_tuning_goes_on_above_a_layer() {
    let place = Place::with_photos(2);
    let options = format!("{SMALL} --epochs 1 --validation-split 0 --fine-tune-from block5_conv3 --fine-tune-epochs 2");
    let run = place.run(&format!("train photos -o m.keras {options} --history h.json")).succeeds();
    for expected in [
        "Training  1 epoch of 1 step of 6 photos, Adam at a learning rate of 0.003\n",
        "          then fine-tuning: 2 epochs of 1 step of 6 photos, Adam at a learning rate of 0.0003\n",
        "          2,368,067 of 14,722,947 parameters are trainable: block5_conv3, dense, dense_1\n",
    ] {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    assert!(run.err.contains("Epoch 2/2 of fine-tuning: "), "{run}");
    assert!(run.out.ends_with("Saved m.keras: fine-tuning epoch 2 of 2\n"), "{run}");
    let history = place.json("h.json");
    assert_eq!(history["loss"].as_array().unwrap().len(), 3);
    assert!(history.get("val_loss").is_none(), "nothing was held out: {history}");
    // The file stores the trainable layers of the last phase, which is fine-tuning.
    let summary = place.run("summary m.keras").succeeds();
    let trainable = 3 * 3 * 512 * 512 + 512 + (512 * 16 + 16) + (16 * 3 + 3);
    assert!(summary.out.replace(',', "").contains(&format!("Trainable params: {trainable} ")), "{summary}");
}
