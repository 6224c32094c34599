//! `engraft backbones`, and what `engraft train` says of networks whose weights aren't there.

mod support;

use engraft::applications::Architecture;
use serde_json::Value;
use support::Place;

/// The object of a network in `engraft backbones --json`.
#[allow(clippy::unwrap_used, reason = "only tests use it")]
fn network(place: &Place, name: &str) -> Value {
    let json = place.run("backbones --json").succeeds().json();
    let networks = json["backbones"].as_array().unwrap();
    assert_eq!(networks.len(), Architecture::all().len());
    networks.iter().find(|network| network["name"] == name).unwrap().clone()
}

#[test]
fn every_network_is_listed_with_its_size_accuracy_and_weights() {
    let place = Place::new();
    let run = place.run("backbones").succeeds();
    let rows: Vec<&str> = run.out.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row.split_whitespace().next()).collect();
    assert_eq!(names, Architecture::all().iter().map(|network| network.name()).collect::<Vec<_>>());
    let default: Vec<&&str> = rows.iter().filter(|row| row.ends_with("in the program (default)")).collect();
    assert!(matches!(default[..], [row] if row.contains("efficientnet-lite0")), "{run}");
    let vgg16 = rows.iter().find(|row| row.contains(" vgg16 ")).map(|row| row.split_whitespace().collect::<Vec<_>>());
    assert_eq!(vgg16.unwrap().join(" "), "vgg16 14.7 M 15.47 G 224 32 71.3 download, 56.2 MiB");
    for (network, weights) in [("resnet50 ", "download, about 90.0 MiB"), ("resnet18 ", "with --weights FILE")] {
        let row = rows.iter().find(|row| row.contains(network));
        assert!(row.is_some_and(|row| row.ends_with(weights)), "{network} in {run}");
    }
    let sources: Vec<&str> = run.out.lines().rev().take(4).collect();
    assert_eq!(sources[0], "  all others: https://keras.io/api/applications");
    for (names, publisher) in [
        (
            "mobilenet-v3-small, mobilenet-v3-large",
            "keras-team/keras/blob/v3.15.1/keras/src/applications/mobilenet_v3.py",
        ),
        ("resnet18, resnet34, resnet50-torchvision", "docs.pytorch.org/vision/stable/models.html"),
        ("efficientnet-lite3, efficientnet-lite4", "official/efficientnet/lite"),
    ] {
        let source = sources.iter().find(|source| source.contains(names));
        assert!(source.is_some_and(|source| source.ends_with(publisher)), "{names} in {run}");
    }
}

#[test]
fn the_list_is_sorted_by_multiply_accumulates_on_request() {
    let run = Place::new().run("backbones --sort macs").succeeds();
    let rows = run.out.lines().skip(1).take_while(|line| !line.is_empty());
    // The columns are the name, `14.7 M` parameters and `15.47 G` MACs.
    let macs: Vec<f64> = rows.map(|row| row.split_whitespace().nth(3).unwrap().parse().unwrap()).collect();
    assert_eq!(macs.len(), Architecture::all().len());
    assert!(macs.is_sorted() && macs[0] < macs[macs.len() - 1], "{run}");
}

#[test]
fn json_has_the_fields_that_a_script_needs() {
    let place = Place::new();
    let resnet = network(&place, "resnet50");
    for (field, expected) in [
        ("keras", "ResNet50"),
        ("last_block", "conv5_block1_1_conv"),
        ("weights", "download"),
        ("file", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("hash", "4d473c1dd8becc155b73f8504c6f6626"),
    ] {
        assert_eq!(resnet[field], expected, "{resnet}");
    }
    assert_eq!((&resnet["parameters"], &resnet["image_size"]), (&23_587_712.into(), &224.into()));
    assert_eq!(resnet["top_1_source"], "https://keras.io/api/applications");
    assert_eq!(network(&place, "resnet18")["weights"], Value::Null);
    assert_eq!((&resnet["top_1"], &resnet["bytes"], &resnet["default"]), (&74.9.into(), &Value::Null, &false.into()));
    let url = resnet["url"].as_str().unwrap();
    assert!(url.starts_with("https://") && url.ends_with("/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"));
    let lite = network(&place, "efficientnet-lite0");
    assert_eq!((&lite["weights"], &lite["file"], &lite["keras"]), (&"program".into(), &Value::Null, &Value::Null));
    assert_eq!(lite["default"], true);
    // A file of this name counts; it is verified when it is used.
    place.write("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", b"weights");
    assert_eq!(network(&place, "resnet50")["weights"], "machine");
    let table = place.run("backbones").succeeds();
    assert!(
        table.out.lines().any(|row| row.contains("resnet50 ") && row.ends_with("found (verified when used)")),
        "{table}"
    );
}

#[test]
fn an_image_size_that_the_network_does_not_take_is_refused_before_anything_is_read_or_downloaded() {
    let place = Place::with_photos(2);
    for options in ["", "--epochs 1"] {
        let run = place.run(&format!("train photos -o m.keras --backbone xception --image-size 32 {options}"));
        let expected = "--image-size: expected at least 71 for xception, received 32";
        let run = run.fails(2, &[expected, "hint: leave it out for photos of 299 x 299 pixels"]);
        assert!(run.out.is_empty() && !run.err.contains("Downloading"), "{run}");
    }
}

#[test]
fn a_network_without_published_files_says_which_file_to_get() {
    let place = Place::with_photos(2);
    let run = place.run("train photos -o m.keras --backbone resnet18 --image-size 32");
    run.fails(
        1,
        &["pass `--weights FILE` with the state dict of torchvision's or timm's resnet18, saved as .safetensors"],
    );
    let run = place.run("summary --backbone=");
    run.fails(2, &["received an empty name"]);
}

#[test]
fn a_misspelled_name_suggests_the_nearest() {
    let place = Place::with_photos(2);
    for command in ["train photos -o m.keras", "summary", "bench"] {
        let run = place.run(&format!("{command} --backbone resnet-51"));
        run.fails(2, &["expected resnet50", "received resnet-51; `engraft backbones` lists all networks"]);
    }
}

#[test]
fn weights_that_are_nowhere_are_announced_and_the_error_says_what_else_to_do() {
    let place = Place::with_photos(2);
    for options in ["", "--epochs 1"] {
        let run = place.run(&format!("train photos -o m.keras --backbone resnet50 --image-size 32 {options}"));
        let run = run.fails(
            1,
            &[
                "hint: put resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 (MD5 4d473c1dd8becc155b73f8504c6f6626) into",
                "hint: give weights that you have with --weights FILE, or choose --backbone efficientnet-lite0",
            ],
        );
        assert!(run.err.contains("Downloading the ImageNet weights of resnet50, about 90.0 MiB"), "{run}");
    }
}
