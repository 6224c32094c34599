//! `engraft cache`: what it lists and clears, and what gradient training keeps there.

mod support;

use engraft::cache::FeatureCache;
use engraft::data::PhotoFolder;
use engraft::formats::keras;
use support::{Place, Run};

/// The cache of [`Place::run`].
fn cache(place: &Place) -> FeatureCache {
    FeatureCache::new(place.path("features"), 1 << 30)
}

fn run_with_limit(place: &Place, arguments: &str, limit: &str) -> Run {
    place.run_with(arguments, |command| command.env("ENGRAFT_FEATURE_CACHE", limit))
}

/// The number of photos with cached features of each network. Thumbnails, by which copies are found, don't count.
#[allow(clippy::unwrap_used, reason = "only tests use it")]
fn cached_photos(place: &Place) -> Vec<u64> {
    let json = run_with_limit(place, "cache --json", "").succeeds().json();
    let networks = json["networks"].as_array().unwrap().iter();
    let networks = networks.filter(|network| !network["name"].as_str().unwrap().starts_with("thumbnails"));
    networks.map(|network| network["photos"].as_u64().unwrap()).collect()
}

#[test]
fn networks_are_listed_and_cleared() {
    let place = Place::new();
    let empty = run_with_limit(&place, "cache", "500MiB").succeeds();
    assert!(empty.out.ends_with("features: 0.0 KiB of at most 500.0 MiB\n"), "{empty}");
    assert!(!place.path("features").exists(), "listing creates nothing");

    let features = cache(&place).open([0xab; 32], "VGG16, 224 x 224", 256);
    (0..40).for_each(|photo| features.put(&[photo; 32], 0, &[0.5; 256]));
    // A second variant of a photo is no other photo.
    features.put(&[0; 32], 1, &[0.5; 256]);
    drop(features);

    let run = run_with_limit(&place, "cache", "").succeeds();
    for expected in
        ["features: 42.7 KiB of at most 2.0 GiB", "VGG16, 224 x 224  abababababab      40  42.7 KiB  just now"]
    {
        assert!(run.out.contains(expected), "expected {expected:?} in {run}");
    }
    let json = run_with_limit(&place, "cache --json", "").succeeds().json();
    let bytes = 52 + 41 * (40 + 1024);
    assert_eq!((&json["bytes"], &json["limit"]), (&bytes.into(), &(2_u64 << 30).into()));
    assert!(json["folder"].as_str().unwrap().ends_with("features"));
    let network = &json["networks"][0];
    assert_eq!((&network["photos"], &network["bytes"]), (&40.into(), &bytes.into()));
    assert_eq!(network["key"].as_str().unwrap(), "ab".repeat(32));
    assert!(network["last_used"].as_u64().unwrap() > 1_700_000_000);

    assert_eq!(run_with_limit(&place, "cache --clear --json", "").succeeds().json()["freed"], bytes);
    assert!(!place.path("features").exists());
    assert_eq!(run_with_limit(&place, "cache --clear", "").succeeds().out, "Freed 0.0 KiB\n");
}

#[test]
fn a_cache_that_is_off_says_so_and_a_limit_that_is_none_is_refused() {
    let place = Place::new();
    let run = run_with_limit(&place, "cache", "off").succeeds();
    assert_eq!(run.out, "The feature cache is off: ENGRAFT_FEATURE_CACHE=off\n");
    let expected = "ENGRAFT_FEATURE_CACHE: expected a size such as 2GB or 500MiB, or `off`, received `big`";
    run_with_limit(&place, "cache", "big").fails(2, &[expected]);
}

#[cfg(unix)]
#[test]
fn names_of_networks_cannot_command_the_terminal() {
    let place = Place::new();
    cache(&place).open([1; 32], "VGG\u{1b}[2J16", 1).put(&[2; 32], 0, &[1.0]);
    let run = run_with_limit(&place, "cache", "").succeeds();
    assert!(run.out.contains("VGG[2J16") && !run.out.contains('\u{1b}'), "{run}");
}

#[test]
fn gradient_training_computes_frozen_layers_once_and_gives_the_same_model() {
    let place = Place::with_photos(4);
    let train = "train photos -o m.keras --epochs 2 --image-size 64";
    let run = |options: &str| {
        let run = run_with_limit(&place, &format!("{train} {options}"), "").succeeds();
        assert!(run.err.contains("Epoch 2/2: "), "{run}");
        place.entries("m.keras")
    };
    let networks = || cached_photos(&place);
    let expected = run("--augment none --no-cache");
    assert_eq!(networks(), [0; 0]);
    for pass in ["computed", "found"] {
        assert!(run("--augment none") == expected, "{pass}");
        assert_eq!(networks(), [12], "{pass}");
    }
    // Random augmentation: nothing is computed once.
    run("");
    assert_eq!(networks().len(), 1);
    // Each of the nine training photos has fixed augmented variants.
    run("--augment-variants 2");
    assert!(networks().contains(&9), "{:?}", networks());
    let none = run_with_limit(&place, &format!("{train} --augment none --augment-variants 2"), "");
    none.fails(1, &["no random layer lies below the boundary, received 2", "hint: add augmentation to the model"]);
    let conflict = run_with_limit(&place, &format!("{train} --no-cache --augment-variants 2"), "");
    conflict.fails(2, &["'--no-cache' cannot be used with '--augment-variants <K>'"]);
}

#[test]
fn a_second_run_of_gradient_training_decodes_no_photo() {
    let place = Place::with_photos(4);
    let train = |options: &str| {
        run_with_limit(
            &place,
            &format!("train photos -o m.keras --epochs 1 --image-size 64 --augment none {options}"),
            "",
        )
        .succeeds()
    };
    train("");
    // A file that can't be decoded, with features in the cache: a photo that is decoded anywhere would be skipped or fail.
    place.write("photos/red/04.bmp", b"no photo");
    let run = train("--no-cache");
    assert!(
        run.err.contains("04.bmp: skipped: ") && run.out.contains("12 photos of 3 classes, 1 file skipped"),
        "{run}"
    );
    let folder = PhotoFolder::scan_knowing(&place.path("photos"), &|_| true, &mut |_, _| {}).unwrap();
    let added = folder.photos.iter().find(|photo| photo.path.ends_with("red/04.bmp")).unwrap();
    let json = run_with_limit(&place, "cache --json", "").succeeds().json();
    let hex = json["networks"][0]["key"].as_str().unwrap().to_owned();
    let key: Vec<u8> = (0..32).map(|byte| u8::from_str_radix(&hex[2 * byte..][..2], 16).unwrap()).collect();
    cache(&place).open(key.try_into().unwrap(), "network", 1280).put(&added.digest, 0, &[0.5; 1280]);

    let run = train("");
    assert!(run.out.contains("13 photos of 3 classes\n") && !run.err.contains("skipped"), "{run}");
    // The validation photos are known, too.
    let run = train("--validation photos");
    assert!(run.out.contains("13 for training, 13 for validation\n") && !run.err.contains("skipped"), "{run}");
}

#[test]
fn features_are_normalized_by_the_training_photos_and_found_again() {
    let place = Place::with_photos(4);
    let train = "train photos -o m.keras --epochs 1 --image-size 64 --augment none --normalize-features";
    let run = run_with_limit(&place, train, "").succeeds();
    assert!(run.out.contains(", head 3 on normalized features\n"), "{run}");
    let cached = || cached_photos(&place);
    // The normalization and the head train on the same cached features. Another training set finds them, too.
    assert_eq!(cached(), [12]);
    run_with_limit(&place, &format!("{train} --seed 1"), "").succeeds();
    assert_eq!(cached(), [12]);
    let expected = place.entries("m.keras");
    run_with_limit(&place, &format!("{train} --seed 1 --no-cache"), "").succeeds();
    assert!(place.entries("m.keras") == expected);

    let model = keras::load_model(&place.path("m.keras")).unwrap();
    let statistics = model.get_layer("feature_normalization").unwrap().weights();
    assert!(statistics[0].values().iter().any(|mean| *mean != 0.0));
    let summary = place.run("summary m.keras").succeeds();
    assert!(summary.out.contains("feature_normalization"), "{summary}");
    // The layer is there when training goes on, with the same mean and variance.
    run_with_limit(&place, "train photos --model m.keras -o n.keras --epochs 1", "").succeeds();
    let trained = keras::load_model(&place.path("n.keras")).unwrap();
    let kept = trained.get_layer("feature_normalization").unwrap().weights();
    assert!(statistics.iter().zip(&kept).all(|(one, other)| *one.values() == *other.values()));
    let both = run_with_limit(&place, "train photos --model m.keras -o n.keras --normalize-features", "");
    both.fails(2, &["'--model <MODEL>' cannot be used with '--normalize-features'"]);
    // The linear classifier does so anyway.
    let run = run_with_limit(&place, "train photos -o m.keras --image-size 64 --normalize-features", "").succeeds();
    assert!(run.err.contains("note: --normalize-features changes nothing here"), "{run}");
}
