//! `engraft summary`, `predict`, `evaluate`, `features` and `bench`: printed text, JSON and files.

mod support;

use engraft::formats::npy;
use engraft::prelude::*;
use support::{Place, save, small_model};

#[track_caller]
fn totals(arguments: &str) -> [usize; 3] {
    let run = Place::new().run(&format!("summary {arguments}")).succeeds();
    let total = |title: &str| {
        let number = run.out.lines().find_map(|line| line.strip_prefix(title)?.split_whitespace().next());
        number.and_then(|number| number.replace(',', "").parse().ok()).unwrap_or_else(|| panic!("{title} in {run}"))
    };
    [total(" Total params: "), total(" Trainable params: "), total(" Non-trainable params: ")]
}

#[test]
fn summaries_count_trainable_parameters() {
    let vgg16 = "--backbone vgg16 --image-size 256 --classes 5 --head 4096,4096";
    for (freeze, trainable) in [
        ("", 151_023_621),
        ("--freeze all", 151_023_621),
        ("--freeze none", 165_738_309),
        ("--freeze 15", 158_103_045),
        ("--freeze 15 --augment none", 158_103_045),
        ("--freeze block4_pool", 158_103_045),
        ("--freeze dense_1", 16_781_312 + 20_485),
    ] {
        assert_eq!(totals(&format!("{vgg16} {freeze}")), [165_738_309, trainable, 165_738_309 - trainable], "{freeze}");
    }
}

#[test]
fn a_saved_model_has_a_summary_too() {
    let place = Place::new();
    place.add_model("m.keras");
    let run = place.run("summary m.keras --show-trainable").succeeds();
    for expected in ["Model: \"small\"", "conv (Conv2D)", "(None, 14, 14, 8)", " Total params: 251 (1004.00 B)"] {
        assert!(run.out.contains(expected), "{run}");
    }
    let run = place.run("summary m.keras --freeze top").succeeds();
    assert!(run.out.contains(" Trainable params: 27 "), "{run}");
}

#[test]
fn predictions_read_as_a_list_of_the_likeliest() {
    let place = Place::with_photos(1);
    let model = small_model(3);
    // With a kernel of zeros, the bias alone decides: the softmax gives 1/8, 2/8 and 5/8 for every photo.
    let top = model.get_layer("top").unwrap();
    top.weights()[0].set(vec![0.0; 24]).unwrap();
    top.weights()[1].set([1.0_f32, 2.0, 5.0].map(f32::ln).to_vec()).unwrap();
    save(&model, &place.path("m.keras"));
    let run = place.run("predict m.keras photos/red/00.bmp photos/blue/00.bmp --top 2").succeeds();
    let expected = "photos/red/00.bmp\n   62.5 %  2\n   25.0 %  1\nphotos/blue/00.bmp\n   62.5 %  2\n   25.0 %  1\n";
    assert_eq!((run.out.as_str(), run.err.as_str()), (expected, ""));

    let run = place.run("evaluate m.keras photos").succeeds();
    let expected = "\
accuracy 33.3 % (95 % interval 6.1 to 79.2 %), loss 1.3119, calibration error 0.542 on 3 photos

  class  precision   recall       F1   right
  blue           -    0.0 %    0.0 %   0 of 1
  green          -    0.0 %    0.0 %   0 of 1
  red       33.3 %  100.0 %   50.0 %   1 of 1

confused most often:
  blue taken for red: 1 photo
  green taken for red: 1 photo
";
    assert_eq!((run.out.as_str(), run.err.as_str()), (expected, ""));
}

#[test]
fn one_output_is_a_yes_or_no() {
    let place = Place::with_photos(2);
    std::fs::remove_dir_all(place.path("photos/green")).unwrap();
    let model = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
    let model = model.add(Dense::new(1).activation(Sigmoid)).build().unwrap();
    model.compile(Adam::new(0.01), Loss::binary_crossentropy(), [Metric::Accuracy]).unwrap();
    save(&model, &place.path("m.keras"));
    place.run("train photos --model m.keras -o n.keras --validation-split 0 --epochs 30 --batch-size 4").succeeds();
    let found = place.run("evaluate n.keras photos --json").succeeds().json();
    assert_eq!(found["accuracy"], 1.0);
    let found = place.run("predict n.keras photos/red/00.bmp --json").succeeds().json();
    assert_eq!(found["class"], "red");
    let probabilities = &found["probabilities"];
    // One probability is p, the other 1 - p, each rounded to f32.
    assert!((probabilities["red"].as_f64().unwrap() + probabilities["blue"].as_f64().unwrap() - 1.0).abs() < 1e-6);
}

#[test]
fn a_model_saved_before_compile_can_be_used_as_well() {
    let place = Place::with_photos(1);
    let model = small_model(3);
    model.set_compiled(None);
    save(&model, &place.path("m.keras"));
    let found = place.run("evaluate m.keras photos --json").succeeds().json();
    assert_eq!(found["images"], 3);
    let run = place.run("train photos --model m.keras -o n.keras --validation-split 0 --epochs 1").succeeds();
    assert!(run.out.contains("Adam at a learning rate of 0.0001\n"), "{run}");
}

#[test]
fn features_are_a_numpy_array() {
    let place = Place::with_photos(2);
    place.add_model("m.keras");
    let images = "photos/red/00.bmp photos/red/01.bmp photos/blue/00.bmp";
    let run = place.run(&format!("features m.keras {images} --layer conv -o f.npy")).succeeds();
    assert_eq!(run.out, "f.npy: [3, 14, 14, 8] of float32\n");
    let features = npy::load(&place.path("f.npy")).unwrap();
    assert_eq!(features.shape(), [3, 14, 14, 8]);
    let values = features.data();
    assert!(values.iter().all(|value| *value >= 0.0) && values.iter().any(|value| *value > 0.0), "after a ReLU");

    place.run(&format!("features m.keras {images} --layer cov -o g.npy")).fails(1, &["no layer called `cov`", "conv"]);
    place.run("features m.keras absent.jpg --layer conv -o g.npy").fails(1, &["absent.jpg: not found"]);
    assert!(!place.path("g.npy").exists());
}

/// The reader of standard output closes the pipe early, as `head` does.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let run = place.run_with("summary --backbone vgg16", |command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer)
    });
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run}");
}

#[test]
fn a_machine_is_measured() {
    let bench = "bench --image-size 32 --head none --batch 2 --steps 2";
    for mode in ["predict", "frozen", "fine-tune=15", "full"] {
        let json = Place::new().run(&format!("{bench} --mode {mode} --threads 1 --json --layers")).succeeds().json();
        let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name} in {json}"));
        assert_eq!((json["mode"].as_str(), number("batch"), number("threads")), (Some(mode), 2.0, 1.0));
        for name in ["seconds_per_step", "images_per_second", "gflops", "peak_bytes"] {
            assert!(number(name) > 0.0, "{name} in {json}");
        }
        assert_eq!(json["seconds"].as_array().map(Vec::len), Some(2), "{json}");
        // VGG16 has 18 layers; preprocessing and head are added. Layers that were fused into one step share a row.
        let rows = json["layers"].as_array().unwrap_or_else(|| panic!("{json}"));
        let names = rows.iter().flat_map(|row| row["name"].as_str().unwrap_or_default().split(", "));
        assert!(names.filter(|name| !name.is_empty()).count() >= 20, "{json}");
    }
    let run = Place::new().run(&format!("{bench} --layers")).succeeds();
    for expected in ["vgg16 at 32 x 32 pixels, head 5, frozen, batch 2, f32", "images/s", "\nblock5_conv3 "] {
        assert!(run.out.contains(expected), "{expected} in {run}");
    }
    Place::new().run("bench --mode fine-tune").fails(2, &["fine-tune=N"]);
}

#[test]
fn bf16_is_computed_where_it_can_be_and_says_what_it_changes() {
    let place = Place::with_photos(5);
    let train = "train photos -o m.keras --backbone vgg16 --weights none --image-size 32 --head none --epochs 1 --precision bf16";
    let bench = "bench --image-size 32 --head none --batch 2 --steps 2 --precision bf16 --json";
    let can = engraft::runtime::Runtime::shared().unwrap().precision(engraft::ir::Precision::Bf16).is_ok();
    // On a CPU without bf16 instructions, the error must not mention `ENGRAFT_ISA`, because no value of it would help.
    let reason: &[_] = match can {
        true => &["precision: bf16 needs AVX-512", "ENGRAFT_ISA asks for portable", "hint: leave it at f32"],
        false => &["precision: bf16 needs a CPU with AVX-512", "this one has ", "hint: leave it at f32"],
    };
    let [_, forced] = [train, bench]
        .map(|arguments| place.run_with(arguments, |command| command.env("ENGRAFT_ISA", "portable")).fails(2, reason));
    if !can {
        assert_eq!(place.run(bench).fails(2, reason).err, forced.err);
        return;
    }
    assert_eq!(place.run(bench).succeeds().json()["precision"], "bf16");
    let trained = place.run(train).succeeds();
    assert!(
        trained.out.contains(" in bf16; in f32 accuracy ") && trained.out.contains(" points, loss by "),
        "{trained}"
    );
    let evaluated = place.run("evaluate m.keras photos --precision bf16").succeeds();
    assert!(evaluated.out.contains("\nin bf16; in f32 accuracy "), "{evaluated}");
    let json = place.run("evaluate m.keras photos --precision bf16 --json").succeeds().json();
    let difference = json["loss"].as_f64().unwrap() - json["f32"]["loss"].as_f64().unwrap();
    assert!(difference != 0.0 && difference.abs() < 0.1, "{json}");
    assert_eq!(json["f32"], {
        let json = place.run("evaluate m.keras photos --json").succeeds().json();
        serde_json::json!({"loss": json["loss"], "accuracy": json["accuracy"]})
    });
}

#[test]
fn help_shows_an_example_and_groups_options() {
    let place = Place::new();
    let start = place.run("");
    for command in ["train", "predict", "evaluate"] {
        assert!(start.err.contains(&format!("  engraft {command} ")), "{start}");
    }
    for command in
        ["summary", "train", "evaluate", "predict", "features", "export", "inspect", "cache", "backbones", "bench"]
    {
        let help = place.run(&format!("{command} --help")).succeeds();
        assert!(help.out.contains(&format!("\n  engraft {command} ")), "an example in {help}");
        // A longer example would be wrapped, and a copy of it would be two commands.
        let examples = help.out.lines().filter(|line| line.starts_with("  engraft "));
        examples.for_each(|example| assert!(example.chars().count() <= 78, "{example}"));
        assert!(help.out.contains("\nOutput:\n") && help.out.contains("\nGeneral:\n"), "groups in {help}");
        assert!(help.out.contains("\nOptions:\n  -h, --help"), "nothing but --help outside of the groups in {help}");
    }
    let help = place.run("train --help").succeeds();
    for group in ["Data", "Model", "Training", "Gradient training", "Linear classifier (the default)", "Output"] {
        assert!(help.out.contains(&format!("\n{group}:\n")), "{group} in {help}");
    }
}

#[test]
fn a_backbone_inside_the_program_trains_without_any_file() {
    let place = Place::with_photos(4);
    // Neither a weights file nor a server is there.
    let run = place.run(
        "train photos -o lite.keras --image-size 64 --augment none --epochs 8 --batch-size 4 \
         --learning-rate 0.01 --validation-split 0",
    );
    let run = run.succeeds();
    assert!(run.out.contains("efficientnet-lite0 with the ImageNet weights, 64 x 64 pixels"), "{run}");
    assert!(run.out.contains("3,843 of 3,416,867 parameters are trainable: dense\n"), "{run}");
    let found = place.run("evaluate lite.keras photos --json").succeeds().json();
    assert!(found["accuracy"].as_f64().unwrap() > 0.9, "{found}");
    let by_default = place.run("train photos -o default.keras --image-size 32 --epochs 1").succeeds();
    assert!(by_default.out.contains("Adam at a learning rate of 0.001\n"), "{by_default}");
    let summary = place.run("summary lite.keras").succeeds();
    assert!(summary.out.contains("block7a_project_bn") && summary.out.contains("(None, 1280)"), "{summary}");
}
