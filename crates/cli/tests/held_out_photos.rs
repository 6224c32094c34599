//! Photos that a model held out stay held out when training goes on, and figures that can't be trusted are named.

mod support;

use support::Place;

const OPTIONS: &str = "--image-size 32 --head none --weights none --epochs 1 --augment none";

/// A model that was trained on 24 photos and held out 6.
fn trained() -> Place {
    let place = Place::with_photos(10);
    place.run(&format!("train photos -o m.keras {OPTIONS}")).succeeds();
    place
}

#[test]
fn held_out_photos_stay_held_out_when_photos_are_added_and_the_seed_changes() {
    let place = trained();
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1 --seed 7").succeeds();
    assert!(run.err.contains("note: 6 photos that m.keras held out stay held out\n"), "{run}");
    assert!(!run.err.contains("warning"), "{run}");
    assert!(run.out.contains("24 for training, 6 for validation\n"), "{run}");
    place.add_photos("more", 5, 99);
    for class in ["blue", "green", "red"] {
        for number in 0..5 {
            let photo = place.read(&format!("more/{class}/0{number}.bmp"));
            place.write(&format!("photos/{class}/new{number}.bmp"), &photo);
        }
    }
    // The record goes from file to file.
    let run = place.run("train photos --model n.keras -o o.keras --epochs 1 --seed 8").succeeds();
    let expected = "note: 6 photos that n.keras held out stay held out; 15 new photos: 3 held out\n";
    assert!(run.err.contains(expected) && !run.err.contains("warning"), "{run}");
    let run = place.run("train photos --model o.keras -o p.keras --epochs 1 --seed 9").succeeds();
    assert!(run.err.contains("note: 9 photos that o.keras held out stay held out\n"), "{run}");
    let run = place.run("evaluate p.keras photos --json").succeeds();
    assert_eq!((&run.json()["images"], &run.json()["trained_on"]), (&45.into(), &36.into()));
    assert!(run.err.contains("warning: 36 of 45 photos were trained on: "), "{run}");
    let run = place.run("evaluate n.keras more --json").succeeds();
    assert_eq!((&run.json()["trained_on"], run.err.as_str()), (&0.into(), ""));
}

#[test]
fn photos_that_are_trained_on_after_all_are_counted() {
    let place = trained();
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1 --validation-split 0").succeeds();
    assert!(run.err.contains("note: 6 photos that m.keras held out are trained on now: "), "{run}");
    // Now none of the photos can be held out.
    let run = place.run("train photos --model n.keras -o o.keras --epochs 1").succeeds();
    assert!(run.err.contains("warning: the model was trained on all its photos: val_loss and val_accuracy "), "{run}");
    // New photos can.
    place.add_photos("photos", 5, 99);
    place.add_photos("other", 2, 98);
    let run = place.run("train photos --model m.keras -o o.keras --epochs 1 --validation photos").succeeds();
    assert!(run.err.contains("warning: m.keras was trained on "), "{run}");
    let run = place.run("train other --model m.keras -o o.keras --epochs 1 --validation photos").succeeds();
    assert!(run.err.contains(" validation photos: val_loss and val_accuracy will look too good; use "), "{run}");
    let run = place.run("train photos --model m.keras -o o.keras --epochs 1 --validation other").succeeds();
    assert!(!run.err.contains("warning"), "{run}");
}

#[test]
fn the_default_recipe_records_its_photos() {
    let place = Place::with_photos(5);
    let train = "train photos -o m.keras --image-size 32 --weights none --budget 0 --no-cache";
    place.run(&format!("{train} --validation-split 0.2")).succeeds();
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1 --seed 5").succeeds();
    assert!(run.err.contains("note: 3 photos that m.keras held out stay held out\n"), "{run}");
    let run = place.run("evaluate m.keras photos --json").succeeds();
    assert_eq!(run.json()["trained_on"], 12);
    place.run(&format!("{train} --force")).succeeds();
    place.add_photos("more", 5, 99);
    (0..5).for_each(|number| {
        let photo = place.read(&format!("more/red/0{number}.bmp"));
        place.write(&format!("photos/red/new{number}.bmp"), &photo);
    });
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1 --force").succeeds();
    assert!(run.err.contains("note: m.keras was trained on 15 of these photos; 5 new photos: 1 held out\n"), "{run}");
}

#[test]
fn a_model_without_a_record_gives_a_warning() {
    let place = Place::with_photos(5);
    place.add_classifier("m.keras");
    let warning = "doesn't record which photos it was trained on: ";
    let run = place.run("train photos --model m.keras -o n.keras --epochs 1").succeeds();
    assert!(run.err.contains(&format!("warning: m.keras {warning}")), "{run}");
    // Nor do its followers know what it was trained on.
    let run = place.run("train photos --model n.keras -o o.keras --epochs 1").succeeds();
    assert!(run.err.contains(&format!("warning: n.keras {warning}")), "{run}");
    let run = place.run("train photos --model m.keras -o o.keras --epochs 1 --validation-split 0").succeeds();
    assert!(!run.err.contains(warning), "{run}");
    let run = place.run("evaluate m.keras photos --json").succeeds();
    assert_eq!(run.json().get("trained_on"), None);
}

/// A picture of random squares, as large as wanted.
fn picture(seed: u64, [width, height]: [usize; 2]) -> Vec<u8> {
    let mut rng = engraft::random::Rng::new(seed);
    let squares: Vec<[u8; 3]> = (0..12 * 9).map(|_| [0; 3].map(|_: u8| rng.below(256) as u8)).collect();
    support::bmp(width, height, |x, y| squares[y * 9 / height * 12 + x * 12 / width])
}

#[test]
fn resized_copies_among_the_held_out_photos_are_named() {
    let place = Place::new();
    for (number, class) in ["a", "b"].into_iter().cycle().take(12).enumerate() {
        place.write(&format!("photos/{class}/{number}.bmp"), &picture(number as u64, [48, 36]));
        let seed = if number < 2 { number as u64 } else { 100 + number as u64 };
        place.write(&format!("val/{class}/{number}.bmp"), &picture(seed, [96, 72]));
    }
    for no_cache in ["", "--no-cache"] {
        let run = place.run(&format!("train photos --validation val -o m.keras {OPTIONS} {no_cache}")).succeeds();
        let expected = "warning: 2 held-out photos show the same picture as a training photo, such as ";
        assert!(run.err.contains(expected) && run.err.contains("val_loss and val_accuracy are too good"), "{run}");
        assert!(run.err.contains("photos/a/0.bmp and "), "{run}");
    }
}
