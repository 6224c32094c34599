//! The default recipe of `engraft train`: a linear probe on the features of the network inside the program.

mod support;

use engraft::formats::keras::load_model;
use support::{COLOURS, Place, bmp};

/// The weights of the trained model.
#[allow(clippy::unwrap_used, reason = "only tests use it")]
fn weights(place: &Place) -> Vec<Vec<f32>> {
    let model = load_model(&place.path("m.keras")).unwrap();
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

const TRAIN: &str = "train photos -o m.keras --image-size 64";

#[test]
fn the_bare_command_trains_scores_and_saves_without_a_network() {
    let place = Place::with_photos(6);
    place.add_photos("unseen", 2, 2);
    let run = place.run(TRAIN).succeeds();
    for expected in [
        "Photos    18 photos of 3 classes\n          blue 6, green 6, red 6\n",
        "efficientnet-lite0 with the ImageNet weights, 64 x 64 pixels (--backbone, --image-size)\n",
        "Score     accuracy ",
        "5-fold: each photo was classified by a head trained without its fold (--folds)\n",
        "Unknown   unsure answers and photos far from all classes are \"unknown\": ",
        "Saved     m.keras\nTry       engraft predict m.keras PHOTO\n",
    ] {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    let found = place.run("evaluate m.keras unseen --json").succeeds().json();
    // Chance is a third. The features are those of 64 pixels, where the network was trained on 224.
    assert!(found["accuracy"].as_f64().unwrap() >= 0.6, "{found}");
    let metadata = place.run("inspect m.keras --json").succeeds().json().to_string();
    assert!(metadata.contains("efficientnet-lite0"), "{metadata}");
}

#[test]
fn the_same_photos_give_the_same_bytes_cached_or_not_on_any_number_of_threads() {
    let place = Place::with_photos(4);
    place.run(&format!("{TRAIN} --threads 1")).succeeds();
    let first = place.read("m.keras");
    for options in ["--threads 3", "--no-cache", "--no-cache --threads 2 --batch-size 5"] {
        place.run(&format!("{TRAIN} {options}")).succeeds();
        assert!(place.read("m.keras") == first, "{options}");
    }
    let run = place.run(&format!("{TRAIN} --seed 1 --folds 3")).succeeds();
    assert!(!run.err.contains("instead of --folds"), "{run}");
    let run = place.run(&format!("{TRAIN} --folds 50")).succeeds();
    assert!(run.err.contains("note: 12 folds instead of --folds 50: there are no more photos"), "{run}");
}

#[test]
fn held_out_photos_are_scored_apart_and_take_no_part_in_the_model() {
    let place = Place::with_photos(6);
    place.add_photos("other", 2, 5);
    let run = place.run(&format!("{TRAIN} --validation other")).succeeds();
    assert!(run.out.contains("18 for training (blue 6, green 6, red 6), 6 held out\n"), "{run}");
    assert!(run.out.contains("Held out  accuracy ") && run.out.contains(" on 6 photos\n"), "{run}");
    let with = weights(&place);
    let json = place.run(&format!("{TRAIN} --validation other --json")).succeeds().json();
    assert_eq!(
        (&json["photos"], &json["held_out"]["photos"], &json["score"]["folds"]),
        (&18.into(), &6.into(), &5.into())
    );
    assert!(json["score"]["accuracy"].as_f64().unwrap() > 0.5 && json["held_out"]["log_loss"].is_number(), "{json}");
    place.run(TRAIN).succeeds();
    assert!(weights(&place) == with, "the held-out photos changed the model");
    let run = place.run(&format!("{TRAIN} --validation-split 0.34")).succeeds();
    assert!(run.out.contains("12 for training (blue 4, green 4, red 4), 6 held out\n"), "{run}");
}

#[test]
fn classes_of_one_photo_and_unreadable_photos_are_no_obstacle() {
    let place = Place::new();
    for (number, (class, colour)) in COLOURS.into_iter().enumerate() {
        for photo in 0..=number {
            place.write(&format!("photos/{class}/{photo}.bmp"), &bmp(4 * (photo + 1), 4, |_, _| colour));
        }
    }
    place.write("photos/red/text.jpg", b"not a photo at all");
    let run = place.run(TRAIN).succeeds();
    assert!(run.err.contains("text.jpg: skipped: "), "{run}");
    assert!(run.out.contains("Score     accuracy ") && !run.out.contains("NaN"), "{run}");
}

#[test]
fn what_only_gradient_training_has_says_so() {
    let place = Place::with_photos(2);
    for option in ["--history h.json", "--save-optimizer", "--no-shuffle"] {
        let run = place.run(&format!("{TRAIN} {option}"));
        run.fails(2, &["expected gradient training, received the default recipe", "hint: add --epochs 10"]);
    }
    assert!(!place.path("m.keras").exists());
    let run = place.run(&format!("{TRAIN} --epochs 1 --folds 3"));
    run.fails(2, &["--folds: expected the default recipe, a linear classifier, received gradient training"]);
    place
        .run(&format!("{TRAIN} --backbone auto --weights none"))
        .fails(2, &["expected the ImageNet weights of each network"]);
    let run = place.run(&format!("{TRAIN} --backbone auto --epochs 1"));
    run.fails(2, &["--backbone: expected one network for gradient training, received auto"]);
    let run = place.run(&format!("{TRAIN} --json --epochs 1"));
    run.fails(2, &["--json: expected the default recipe, received gradient training"]);
}

#[test]
fn unknown_answers_are_marked_and_keep_their_class() {
    let place = Place::with_photos(5);
    place.write("grey.bmp", &bmp(9, 9, |_, _| [90, 90, 90]));
    place.run(TRAIN).succeeds();
    let known = place.run("predict m.keras photos/red/00.bmp --json").succeeds().json();
    assert_eq!((&known["class"], known.get("unknown")), (&"red".into(), None), "{known}");
}

#[test]
fn a_model_that_knows_all_photos_says_so_when_it_is_trained_on() {
    let place = Place::with_photos(5);
    place.run(TRAIN).succeeds();
    let warning = "warning: the model was trained on all its photos";
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1").succeeds();
    assert!(run.err.contains(warning) && run.err.contains("the rule of \"unknown\" is dropped"), "{run}");
    // The next run continues from a model that has seen the photos, too.
    let run = place.run("train photos --model n.keras -o o.keras --epochs 1").succeeds();
    assert!(run.err.contains(warning), "{run}");
    let run = place.run("train photos --model n.keras -o o.keras --epochs 1 --validation-split 0").succeeds();
    assert!(!run.err.contains(warning), "{run}");
    place.run(&format!("{TRAIN} --validation-split 0.2")).succeeds();
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1").succeeds();
    assert!(!run.err.contains(warning), "{run}");
}

#[test]
fn the_best_of_the_networks_at_hand_is_chosen() {
    let place = Place::with_photos(3);
    let run = place.run(&format!("{TRAIN} --backbone auto --class-weights balanced --folds 2 --json")).succeeds();
    assert_eq!(run.json()["backbone"], "efficientnet-lite0");
    // No weights of other networks are where these tests look for them.
    let note = "of the networks aren't tried, as their weights aren't on this machine (`engraft backbones` lists them)";
    assert_eq!(run.err.matches("aren't tried").count(), 1, "{run}");
    assert!(run.err.contains(note), "{run}");
}

#[test]
fn a_photo_in_two_classes_is_warned_of() {
    let place = Place::with_photos(3);
    let run = place.run(TRAIN).succeeds();
    assert!(!run.err.contains("two classes"), "{run}");
    place.write("photos/green/copy.bmp", &place.read("photos/blue/01.bmp"));
    let expected = |run: support::Run| {
        let text = "warning: 1 photo is in two classes, such as photos/blue/01.bmp and photos/green/copy.bmp: a photo can't be both; \
                    remove one\n";
        assert!(run.err.contains(text), "{run}");
    };
    expected(place.run(TRAIN).succeeds());
    expected(place.run(&format!("{TRAIN} --epochs 1 --augment none")).succeeds());
    place.write("photos/red/copy.bmp", &place.read("photos/blue/01.bmp"));
    place.write("photos/red/other.bmp", &place.read("photos/green/02.bmp"));
    let run = place.run(TRAIN).succeeds();
    assert!(run.err.contains("warning: 2 photos are in two classes, such as photos/blue/01.bmp and "), "{run}");
}

#[test]
fn fine_tuning_within_a_budget_is_told_and_kept_only_if_better() {
    let place = Place::with_photos(3);
    let run = place.run(TRAIN).succeeds();
    assert!(run.out.contains("Fine-tune not tried: 100 steps and their trials cost "), "{run}");
    assert!(run.out.contains(" times the features, the budget is 6x (--budget "), "{run}");
    let without = place.run(&format!("{TRAIN} --budget 0")).succeeds();
    assert!(without.out.contains("Fine-tune left out (--budget 0)\n"), "{without}");
    let plain = weights(&place);

    let tuned = place.run("train photos -o m.keras --image-size 32 --folds 2 --budget 100000x --json");
    let tuning = &tuned.succeeds().json()["fine_tuning"];
    assert_eq!((&tuning["tried"], &tuning["epochs"]), (&true.into(), &100.into()), "{tuning}");
    let [linear, tuned, error] =
        ["linear_log_loss", "tuned_log_loss", "standard_error"].map(|name| tuning[name].as_f64().unwrap());
    assert_eq!(tuning["kept"], tuned < linear - error, "{tuning}");

    let timed = place.run(&format!("{TRAIN} --budget 0.001s")).succeeds();
    assert!(timed.err.contains("the result depends on the speed of this machine"), "{timed}");
    assert!(timed.out.contains(" s here, the budget is 0.001s (--budget "), "{timed}");
    assert!(weights(&place) == plain, "what isn't tried changes nothing");
    for wrong in ["soon", "-5x"] {
        let run = place.run(&format!("{TRAIN} --budget {wrong}"));
        let run = run.fails(2, &["expected a multiple such as 10x, a time such as 90s or 5m, or 0"]);
        assert!(!run.err.contains("tip:"), "{run}");
    }
    let gradient = place.run(&format!("{TRAIN} --budget 10x --epochs 1"));
    gradient.fails(2, &["--budget: expected the default recipe, a linear classifier, received gradient training"]);
}
