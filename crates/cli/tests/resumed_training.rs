//! Training that continues from a saved model (`--model`).

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use engraft::formats::keras;
use engraft::prelude::*;
use support::{Place, save, small_model};

const GO_ON: &str = "train photos --model m.keras -o n.keras --validation-split 0 --batch-size 8";

#[test]
fn a_model_of_unknown_origin_learns_with_its_own_settings_and_gets_names() {
    let place = Place::with_photos(8);
    place.add_model("m.keras");
    let run = place.run(&format!("{GO_ON} --epochs 15")).succeeds();
    assert!(run.out.contains("Model     m.keras, 16 x 16 pixels\n"), "{run}");
    assert!(run.out.contains("15 epochs of 3 steps of 8 photos, Adam at a learning rate of 0.02\n"), "{run}");
    let before = place.run("predict m.keras photos/red/00.bmp --json").succeeds().json();
    assert_eq!(before["probabilities"].as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"]);
    let after = place.run("predict n.keras photos/red/00.bmp --json").succeeds().json();
    assert_eq!(after["class"], "red");

    // Folders are matched to classes by name for n.keras, and by order for m.keras, which has no class names.
    let accuracy = |model: &str| {
        let found = place.run(&format!("evaluate {model} photos --json")).succeeds().json();
        found["accuracy"].as_f64().unwrap()
    };
    assert!(accuracy("n.keras") > accuracy("m.keras") && accuracy("n.keras") > 0.9);
    let model = keras::load_model(&place.path("n.keras")).unwrap();
    let compiled = model.compiled();
    assert_eq!(compiled.as_ref().and_then(|compiled| compiled.loss), Some(Loss::sparse_categorical_crossentropy()));
}

#[test]
fn frozen_layers_stay_as_stored_unless_told_otherwise() {
    let place = Place::with_photos(2);
    let model = small_model(3);
    model.get_layer("conv").unwrap().set_trainable(false);
    save(&model, &place.path("m.keras"));
    let kernel = |name: &str| {
        let model = keras::load_model(&place.path(name)).unwrap();
        let conv = model.get_layer("conv").unwrap();
        conv.weights()[0].values().clone()
    };
    let run = place.run(&format!("{GO_ON} --epochs 1")).succeeds();
    assert!(run.out.contains("27 of 251 parameters are trainable: top\n"), "{run}");
    assert_eq!(kernel("m.keras"), kernel("n.keras"));
    place.run(&format!("{GO_ON} --epochs 1 --freeze none --optimizer sgd --learning-rate 0.5")).succeeds();
    assert_ne!(kernel("m.keras"), kernel("n.keras"));
}

#[test]
fn a_base_that_is_known_can_be_frozen_and_any_other_is_refused() {
    let place = Place::with_photos(2);
    let x = Input::new([16, 16, 3]);
    let y = Conv2D::new(4, 3).named("conv").call(&x).unwrap();
    let base = Model::named("base", &x, &Dense::new(4).named("pointwise").call(&y).unwrap()).unwrap();
    let model = Sequential::new().add(&base).add(GlobalMaxPooling2D::new()).add(Dense::new(3).named("top"));
    save(&model.build().unwrap(), &place.path("m.keras"));
    let run = place.run(&format!("{GO_ON} --epochs 1 --freeze all")).succeeds();
    assert!(run.out.contains("15 of 147 parameters are trainable: top\n"), "{run}");
    let summary = place.run("summary n.keras --freeze all").succeeds();
    assert!(summary.out.contains(" Trainable params: 15 "), "{summary}");

    place.add_model("m.keras");
    let expected = ["base of model `small`", "conv, global_max_pooling2d, top\nhint: name the first layer of the head"];
    place.run(&format!("{GO_ON} --epochs 1 --freeze all")).fails(1, &expected);
    place.run(&format!("{GO_ON} --epochs 1 --freeze top")).succeeds();
}

#[test]
fn without_shuffling_photos_come_in_the_order_of_keras() {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    let losses = |options: &str| {
        place.run(&format!("{GO_ON} --epochs 2 --history h.json {options}")).succeeds();
        place.json("h.json")["loss"].clone()
    };
    let ordered = losses("--no-shuffle --seed 1");
    assert_eq!(ordered, losses("--no-shuffle --seed 2"), "nothing is left to the seed");
    assert_ne!(losses("--seed 1"), losses("--seed 2"));
}

#[test]
fn the_model_and_the_folder_must_agree_on_classes() {
    let place = Place::with_photos(2);
    place.add_model("m.keras");
    place.run(&format!("{GO_ON} --epochs 1")).succeeds();
    std::fs::rename(place.path("photos/red"), place.path("photos/rot")).unwrap();
    let go_on = "train photos --model n.keras -o o.keras --validation-split 0 --epochs 1";
    let expected = "photos: expected folders of the model's classes blue, green, red, received blue, green, rot";
    place.run(go_on).fails(1, &[expected, "hint: rename the folders"]);
    place.run("evaluate n.keras photos").fails(1, &["rot: expected a folder named after one of the classes"]);
    std::fs::remove_dir_all(place.path("photos/rot")).unwrap();
    place.run("evaluate m.keras photos").fails(1, &["expected 3 folders, one for each class of the model, received 2"]);
    // If the model has class names, the folder of a class may be missing.
    let found = place.run("evaluate n.keras photos").succeeds();
    assert!(found.out.contains("\n  red            -        -        -   no photos\n"), "{found}");
}

#[test]
fn the_validation_set_may_be_another_folder() {
    let place = Place::with_photos(2);
    place.add_photos("held_out", 1, 5);
    place.add_model("m.keras");
    let go_on = "train photos --model m.keras -o n.keras --epochs 1 --history h.json --validation";
    let run = place.run(&format!("{go_on} held_out")).succeeds();
    assert!(run.out.contains("6 for training, 3 for validation\n"), "{run}");
    assert_eq!(place.json("h.json").as_object().unwrap().len(), 4);
    let run = place.run(&format!("{go_on} photos")).succeeds();
    assert!(run.err.contains("warning: 6 of 6 validation photos are also in the training set"), "{run}");
}

/// The weights in a model file.
fn values(place: &Place, name: &str) -> Vec<Vec<f32>> {
    let model = keras::load_model(&place.path(name)).unwrap();
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

#[test]
fn with_the_optimizer_saved_two_trainings_are_one() {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    place.run(&format!("{GO_ON} --no-shuffle --epochs 2")).succeeds();
    let at_once = values(&place, "n.keras");
    for (save, same) in [("--save-optimizer", true), ("", false)] {
        place.run(&format!("{GO_ON} --no-shuffle --epochs 1 {save}")).succeeds();
        let go_on = GO_ON.replace("m.keras", "n.keras").replace("-o n.keras", "-o twice.keras");
        place.run(&format!("{go_on} --no-shuffle --epochs 1")).succeeds();
        assert_eq!(values(&place, "twice.keras") == at_once, same, "{save}");
    }
}

#[test]
fn with_the_optimizer_saved_the_best_epoch_has_its_own_file() {
    let place = Place::with_photos(10);
    place.add_model("m.keras");
    let train = |model: &str, output: &str, epochs: usize, options: &str| {
        let train = format!("train photos --model {model} -o {output} --epochs {epochs} --no-shuffle --batch-size 8");
        place.run(&format!("{train} --history h.json {options}")).succeeds()
    };
    let run = train("m.keras", "n.keras", 4, "--save-optimizer");
    for expected in [
        "Output    n.keras, the last epoch with the optimizer state\n          n-best.keras, the best epoch\n",
        "Saved n.keras: epoch 4 of 4, with the optimizer state\nSaved n-best.keras: epoch ",
        " of 4, the best by val_loss ",
    ] {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    // 24 photos are trained on, in 3 steps.
    let iterations = |name: &str| {
        let model = keras::load_model(&place.path(name)).unwrap();
        model.compiled().map(|compiled| compiled.state.iterations())
    };
    assert_eq!((iterations("n.keras"), iterations("n-best.keras")), (Some(4 * 3), Some(0)));

    // Two trainings of two epochs are one of four, and the best epoch alone is that of a training without --save-optimizer.
    train("m.keras", "half.keras", 2, "--save-optimizer");
    train("half.keras", "twice.keras", 2, "--save-optimizer");
    assert_eq!(values(&place, "twice.keras"), values(&place, "n.keras"));
    train("m.keras", "best.keras", 4, "");
    assert_eq!(values(&place, "best.keras"), values(&place, "n-best.keras"));
}

#[test]
fn another_file_is_never_replaced_by_the_best_epoch() {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    let train = "train photos --model m.keras -o n.keras --epochs 1 --save-optimizer";
    // A model without class names isn't of `engraft train`.
    for content in [b"mine".to_vec(), place.read("m.keras")] {
        place.write("n-best.keras", &content);
        let expected = ["n-best.keras, another file\nhint: move this file away, or choose another name for --output"];
        let run = place.run(train).fails(1, &expected);
        assert!(!run.err.contains("Epoch 1/1"), "training didn't begin: {run}");
        assert_eq!((place.read("n-best.keras"), place.path("n.keras").exists()), (content, false));
    }
    std::fs::remove_file(place.path("n-best.keras")).unwrap();
    // The file of an earlier run is replaced. Without a validation set, there is none.
    (0..2).for_each(|_| drop(place.run(train).succeeds()));
    let best = place.read("n-best.keras");
    let run = place.run(&format!("{train} --validation-split 0")).succeeds();
    assert!(run.out.ends_with("Output    n.keras\nSaved n.keras: epoch 1 of 1, with the optimizer state\n"), "{run}");
    assert_eq!(place.read("n-best.keras"), best);
}

#[test]
fn going_on_gives_the_losses_of_never_having_stopped() {
    let place = Place::with_photos(8);
    let new =
        "train photos --image-size 32 --head 8 --augment flip,rotate=0.1 --dropout 0.2 --batch-size 8 --save-optimizer";
    let losses = |history: &str| -> Vec<f64> {
        let history = place.json(history);
        ["loss", "val_loss"]
            .iter()
            .flat_map(|name| history[name].as_array().unwrap().clone())
            .map(|loss| loss.as_f64().unwrap())
            .collect()
    };
    place.run(&format!("{new} -o whole.keras --epochs 4 --history whole.json")).succeeds();
    place.run(&format!("{new} -o half.keras --epochs 2 --history half.json")).succeeds();
    let go_on = "train photos --model half.keras -o rest.keras --batch-size 8 --save-optimizer";
    place.run(&format!("{go_on} --epochs 2 --history rest.json")).succeeds();
    let (whole, half, rest) = (losses("whole.json"), losses("half.json"), losses("rest.json"));
    let in_parts = [&half[..2], &rest[..2], &half[2..], &rest[2..]].concat();
    assert_eq!(whole, in_parts);
    let weights = |name: &str| {
        let model = keras::load_model(&place.path(name)).unwrap();
        model.weights().iter().map(|weight| weight.values().clone()).collect::<Vec<_>>()
    };
    assert!(weights("whole.keras") == weights("rest.keras"));
}
