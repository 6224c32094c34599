//! Bad input ends in an error that names the file or option and says what to do. No output is left incomplete.

mod support;

use std::fs;

use engraft::prelude::*;
use support::{COLOURS, Place, bmp, save, small_model, testdata};

const TRAIN: &str = "train photos --model m.keras -o n.keras --epochs 1 --batch-size 4";

/// Photos of three classes and a model for them.
fn place() -> Place {
    let place = Place::with_photos(5);
    place.add_model("m.keras");
    place
}

#[test]
fn mistakes_on_the_command_line_end_with_2() {
    let place = place();
    for (arguments, expected) in [
        ("", "engraft train photos -o model.keras"),
        ("trian photos", "a similar subcommand exists: 'train'"),
        ("train photos -o n.keras --epoch 3", "a similar argument exists: '--epochs'"),
        ("evalute m.keras photos", "tip: a similar subcommand exists: 'evaluate'\n"),
        ("predict m.keras a.jpg --tpo 3", "a similar argument exists: '--top'"),
        ("train photos -o n.keras --optimizer adm", "a similar value exists: 'adam'"),
        ("train photos", "--output <MODEL>"),
        ("summary", "required"),
        ("summary m.keras --backbone vgg16", "cannot be used with"),
        ("train photos -o n.keras --backbone vgg61", "expected vgg16 or vgg19, received vgg61"),
        ("train photos -o n.keras --folds 1", "expected a whole number from 2 to 100"),
        ("train photos -o n.keras --head 0", "expected `none` or numbers from 1"),
        ("train photos -o n.keras --augment flop", "expected flip, rotate=FACTOR, zoom=FACTOR or none"),
        ("train photos -o n.keras --image-size 16", "expected a whole number from 32 to 2048"),
        ("train photos -o n.keras --validation-split 1", "expected a number of at least 0 and below 1"),
        ("train photos -o n.keras --validation-split 0.5 --validation photos", "cannot be used with"),
        ("train photos -o n.keras --learning-rate -1", "-1"),
        ("train photos -o n.keras --learning-rate nan", "expected a number above 0"),
        ("train photos -o n.keras --epochs 0", "expected a whole number from 1"),
        ("train photos -o n.keras --fine-tune-epochs 2", "--fine-tune-from"),
        ("train photos -o n.keras --model m.keras --head 16", "cannot be used with"),
        ("train photos -o photos", "expected the name of a file to write, received photos"),
        ("predict m.keras", "<IMAGE|FOLDER|->"),
        ("predict m.keras a.jpg --threads 0", "expected a whole number from 1"),
        ("predict m.keras a.jpg --jobs 100000", "expected a whole number from 1 to 1024"),
    ] {
        let run = place.run(arguments).ends_with(2);
        assert!(run.err.contains(expected), "expected {expected:?} in {run}");
    }
}

/// A new model is built for the pixels of its network.
#[test]
fn preprocessing_is_refused_for_a_new_model() {
    let place = place();
    let run = place.run("train photos -o n.keras --preprocess tf").ends_with(2);
    assert!(run.err.contains("--model <MODEL>"), "{run}");
    for option in [
        "--backbone resnet50",
        "--weights none",
        "--pooling max",
        "--head 16",
        "--dropout 0.5",
        "--normalize-features",
        "--augment flip",
    ] {
        for command in ["train photos -o n.keras", "summary"] {
            let run = place.run(&format!("{command} {option} --preprocess tf")).ends_with(2);
            assert!(run.err.contains("cannot be used with") && run.out.is_empty(), "{run}");
        }
    }
}

#[test]
fn folders_that_hold_no_classes_of_photos_are_told() {
    let place = place();
    fs::create_dir(place.path("empty")).unwrap();
    for name in ["only_one/cat/1.bmp", "hole/cat/1.bmp", "flat/1.bmp"] {
        place.write(name, &place.read("photos/red/00.bmp"));
    }
    fs::create_dir(place.path("hole/dog")).unwrap();
    for (folder, expected, hint) in [
        (
            "empty",
            "empty: expected one folder per class, received an empty folder",
            "hint: make a folder for each class",
        ),
        (
            "only_one",
            "only_one: expected folders of two or more classes, received one, `cat`",
            "hint: put photos of another",
        ),
        ("hole", "hole/dog: expected at least one readable photo, received none", "hint: put photos there"),
        (
            "flat",
            "flat: expected one folder per class, received photos lying directly in it (1)",
            "hint: make a folder",
        ),
        ("absent", "absent: no such folder", "hint: give a folder"),
        ("m.keras", "m.keras: expected a folder of photos, received a model file", "hint: give a folder"),
    ] {
        let run = place.run(&format!("train {folder} -o n.keras --weights none"));
        run.fails(1, &[&format!("error: {expected}"), hint]);
    }
    assert!(!place.path("n.keras").exists());
}

#[test]
fn bad_photos_are_told_skipped_counted_and_left_alone() {
    let place = place();
    let jpeg = testdata("orientation_1.jpg");
    place.write("photos/red/cut.jpg", &jpeg[..jpeg.len() - 10]);
    place.write("photos/red/text.jpg", b"not a photo at all");
    place.write("photos/red/bomb.png", &testdata("bomb.png"));
    place.write("photos/red/empty.png", b"");
    // Unusual photos that can be decoded: 16-bit grey, CMYK, a single pixel.
    for name in ["grey16.png", "cmyk.jpg", "one_pixel.png"] {
        place.write(&format!("photos/blue/{name}"), &testdata(name));
    }
    let before = place.snapshot("photos");
    let run = place.run(TRAIN).succeeds();
    for expected in [
        "warning: photos/red/cut.jpg: skipped: JPEG cut short; copy the file again\n",
        "warning: photos/red/text.jpg: skipped: expected a JPEG, PNG, GIF, BMP, TIFF or WebP image, received another format\n",
        "warning: photos/red/bomb.png: skipped: expected at most 178956970 pixels",
        "warning: photos/red/empty.png: skipped: expected a photo, received an empty file\n",
    ] {
        assert!(run.err.contains(expected), "expected {expected:?} in {run}");
    }
    assert!(
        run.out.contains("Photos    18 photos of 3 classes, 4 files skipped\n          blue 8, green 5, red 5\n"),
        "{run}"
    );
    let found = place.run("evaluate n.keras photos --json").succeeds().json();
    assert_eq!((found["images"].as_u64(), found["skipped"].as_u64()), (Some(18), Some(4)));
    let run = place.run("predict n.keras photos/red/cut.jpg photos/blue/cmyk.jpg photos/blue/one_pixel.png --json");
    let run = run.fails(1, &["error: photos/red/cut.jpg: JPEG cut short", "1 of 3 images could not be read\n"]);
    assert_eq!((run.out.lines().count(), run.out.matches("\"error\":").count()), (3, 1), "{run}");
    assert_eq!(place.snapshot("photos"), before, "photos are only read");
}

#[test]
fn files_that_are_no_models_are_told() {
    let place = place();
    place.write("random.keras", &[7; 5000]);
    place.write("cut.keras", &place.read("m.keras")[..3000]);
    for model in ["random.keras", "cut.keras", "absent.keras", "photos"] {
        for command in ["summary", "evaluate", "predict"] {
            let argument = match command {
                "summary" => "",
                "evaluate" => "photos",
                _ => "photos/red/00.bmp",
            };
            let run = place.run(&format!("{command} {model} {argument}"));
            run.fails(1, &[&format!("error: {model}")]);
        }
        place.run(&format!("train photos --model {model} -o n.keras")).fails(1, &[&format!("error: {model}")]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_told() {
    let place = Place::with_photos(2);
    let vectors = Sequential::with_name("vectors").add(Input::new([4])).add(Dense::new(3)).build().unwrap();
    save(&vectors, &place.path("vectors.keras"));
    let expected = "vectors.keras, model `vectors`: expected an input of RGB photos, [height, width, 3], RGBA ones, [height, width, 4], or grey ones, [height, width, 1], received [4]";
    place.run("predict vectors.keras photos/red/00.bmp").fails(1, &[expected]);
    save(&small_model(4), &place.path("four.keras"));
    let expected = "photos: expected 4 folders, one for each class of the model, received 3";
    place.run("train photos --model four.keras -o n.keras").fails(1, &[expected]);
    place.run("evaluate four.keras photos").fails(1, &[expected]);
    let freeze =
        "train photos -o n.keras --backbone vgg16 --weights none --image-size 32 --validation-split 0 --freeze";
    place.run(&format!("{freeze} block6_conv1")).fails(1, &["no layer called `block6_conv1`", "block5_pool"]);
    place.run(&format!("{freeze} 21")).fails(1, &["expected at most 20 layers of the base to freeze, received 21"]);
}

#[test]
fn weights_that_cannot_be_had_say_which_file_to_put_where() {
    let place = place();
    let train = "train photos -o n.keras --backbone vgg16 --image-size 32 --head none";
    let name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
    let hint = format!("hint: put {name} (MD5 6d6bbae143d832006294945121d1f1fc) into ");
    place.run(train).fails(1, &["can't be reached", &hint, "ENGRAFT_WEIGHTS_URL"]);
    let expected = "--weights: expected imagenet, none or the path of a weights file, received imagnet";
    place.run(&format!("{train} --weights imagnet")).fails(1, &[expected, "hint: check the spelling"]);
    place.write("random.h5", &[7; 5000]);
    place.run(&format!("{train} --weights random.h5")).fails(1, &["random.h5"]);
}

#[test]
fn a_loss_that_is_no_number_stops_at_once_and_keeps_what_was_saved() {
    let place = place();
    place.add_classifier("n.keras");
    let last_good = place.read("n.keras");
    // This learning rate makes the weights overflow f32 within a few steps.
    let run = place.run(&format!("{TRAIN} --optimizer sgd --learning-rate 1e30 --history h.json"));
    let expected =
        ["epoch 1 of 1, learning rate 1", ", training step ", "the loss is ", "hint: use a smaller learning rate"];
    let run = run.fails(1, &expected);
    assert!(run.err.contains("n.keras is as it was before\n"), "{run}");
    assert!(place.read("n.keras") == last_good);
    assert_eq!(place.json("h.json"), serde_json::json!({}), "no epoch was finished");
}

#[test]
fn a_plan_larger_than_memory_is_told_before_it_starts() {
    let place = place();
    let train = "train photos -o n.keras --backbone vgg16 --weights none --epochs 1";
    // The first layer of the head has 32,768 x 4,000,000 weights, and Adam keeps two moments of each.
    let run = place.run(&format!("{train} --head 4000000,16"));
    let run = run
        .fails(1, &["memory: the plan needs ", " are available", "hint: no batch size would fit: use smaller images"]);
    assert!(run.out.contains("Memory    ") && run.out.contains(" GiB (weights "), "{run}");
    // A batch of 10,000 photos never fits. The hint isn't compared: the batch size that fits depends on the machine.
    let large = "--image-size 2048 --head none --freeze none --batch-size 10000";
    place.run(&format!("{train} {large}")).fails(1, &["memory: the plan needs ", "hint: "]);
    assert!(!place.path("n.keras").exists());
}

#[test]
fn a_memory_limit_is_kept_to_or_refused() {
    let place = place();
    let train =
        "train photos -o n.keras --backbone vgg16 --weights none --epochs 1 --image-size 128 --head 16 --batch-size 2";
    let bench = "bench --mode predict --batch 16 --image-size 128 --head 16 --steps 2 --json";
    let peak = |limit: &str| place.run(&format!("{bench}{limit}")).succeeds().json()["peak_bytes"].as_u64().unwrap();
    // VGG16's kernels in the Winograd domain take 235 MB. A session caches them only if the memory limit allows it.
    let (free, limited) = (peak(""), peak(" --memory-limit 250MB"));
    assert!(limited < 250_000_000 && free > limited + 150_000_000, "{limited} bytes with a limit, {free} without");
    place.run(&format!("{train} --memory-limit 100MB")).fails(1, &["memory: the plan needs ", "hint: "]);
    place.run(&format!("{train} --memory-limit 2")).fails(2, &["expected a number and a unit, such as 2GB"]);
    assert!(!place.path("n.keras").exists());
}

#[test]
fn advice_on_memory_is_what_the_command_can_do() {
    let place = Place::with_photos(1);
    let train = "train photos -o large.keras --backbone vgg16 --weights none --epochs 1 --image-size 64 --head none";
    place.run(&format!("{train} --validation-split 0")).succeeds();
    for command in ["predict large.keras photos/red/00.bmp", "evaluate large.keras photos"] {
        let run = place.run(&format!("{command} --memory-limit 60MB"));
        let run = run.fails(1, &["memory: the plan needs ", "hint: close other programs, or raise --memory-limit"]);
        assert!(!run.err.contains("batch size"), "{run}");
    }
}

#[test]
fn sizes_are_read_in_every_usual_unit() {
    let place = place();
    for size in ["2G", "2GB", "2GiB", "2gb", "2 G", "1.5 GiB", "512M", "512 MB"] {
        let arguments = ["predict", "m.keras", "photos/red/00.bmp", "--memory-limit", size];
        place.run_with("", |command| command.args(arguments)).succeeds();
        place.run_with("cache", |command| command.env("ENGRAFT_FEATURE_CACHE", size)).succeeds();
    }
}

#[test]
fn a_photo_whose_decoding_exceeds_the_memory_limit_is_refused() {
    let place = place();
    // A BMP of 8000 x 4000 pixels takes 96 MB as a file, and 96 MB of pixels.
    place.write("photos/red/large.bmp", &bmp(8000, 4000, |_, _| [200, 20, 20]));
    let refused = "large.bmp: expected a photo that decodes within 75 MB of the memory limit, received 8000 x 4000 pixels, \
                   which take 193 MB; scale it down, or raise the limit";
    let predict = "predict m.keras photos/red/large.bmp --memory-limit";
    place.run(&format!("{predict} 200MB")).fails(1, &[refused]);
    place.run(&format!("{predict} 600MB")).succeeds();
    let run = place.run(&format!("{TRAIN} --memory-limit 200MB")).succeeds();
    assert!(run.err.contains("large.bmp: skipped: expected a photo that decodes within"), "{run}");
    assert!(run.out.contains("1 file skipped"), "{run}");
    place
        .run("features m.keras photos/red/large.bmp --layer top -o f.npy --memory-limit 200MB")
        .fails(1, &["large.bmp: expected a photo that decodes within"]);
}

#[test]
fn a_place_that_cannot_be_written_is_known_before_the_work() {
    let place = place();
    let train = "train photos --model m.keras --epochs 1 -o";
    let run = place.run(&format!("{train} absent/n.keras"));
    let run = run.fails(1, &["error: absent: there is no such folder", "hint: create the folder first"]);
    assert!(!run.err.contains("Epoch"), "{run}");
    place
        .run(&format!("{train} n.keras --history n.keras"))
        .fails(1, &["--history: expected another file than --output"]);
    place.run(&format!("{train} n.keras --history absent/h.json")).fails(1, &["absent: there is no such folder"]);
    let run = place.run(&format!("{train} n")).succeeds();
    assert!(run.err.contains("warning: Keras opens model files only where their name ends in .keras"), "{run}");
}

/// A limit on the size of files simulates a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_the_old_model() {
    let place = place();
    place.add_classifier("n.keras");
    let last_good = place.read("n.keras");
    let program = env!("CARGO_BIN_EXE_engraft");
    // `trap` ignores the signal for exceeding the limit, so that the write itself fails. Every model exceeds 8 blocks.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {program} {TRAIN}");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let expected =
        "error: model: cannot write n.keras: the file would be larger than allowed here\nhint: make room there";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("n.keras is as it was before") && !error.contains("ZipWriter"), "{error}");
    assert!(place.read("n.keras") == last_good);
    let leftovers = fs::read_dir(place.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(leftovers.count(), 0, "no temporary file stays");
}

/// Training, evaluation and prediction say the same of a file that is no photo, and none waits for a pipe.
#[cfg(unix)]
#[test]
fn a_bad_photo_has_the_same_reason_in_all_commands() {
    let place = place();
    place.run(TRAIN).succeeds();
    let jpeg = testdata("orientation_1.jpg");
    place.write("photos/red/cut.jpg", &jpeg[..jpeg.len() - 10]);
    place.write("photos/red/text.jpg", b"not a photo at all");
    place.write("photos/red/page.jpg", b"<!DOCTYPE html><html>404</html>");
    place.write("photos/red/phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    place.write("photos/red/phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    place.write("photos/red/scan.jxl", b"II*\0\x08\0\0\0");
    place.write("photos/red/bomb.png", &testdata("bomb.png"));
    place.write("photos/red/empty.png", b"");
    std::os::unix::fs::symlink("nowhere", place.path("photos/red/dangling.jpg")).unwrap();
    std::os::unix::fs::symlink("loop.jpg", place.path("photos/red/loop.jpg")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(place.path("photos/red/pipe.jpg")).status();
    let has_pipe = pipe.is_ok_and(|status| status.success());
    let reasons = [
        ("cut.jpg", "JPEG cut short; copy the file again"),
        ("text.jpg", "expected a JPEG, PNG, GIF, BMP, TIFF or WebP image, received another format"),
        ("page.jpg", "expected a JPEG, PNG, GIF, BMP, TIFF or WebP image, received a web page"),
        ("phone.jpg", "HEIC isn't read; convert it to JPEG or PNG"),
        ("phone.heic", "HEIC isn't read; convert it to JPEG or PNG"),
        ("scan.jxl", "JXL isn't read; convert it to JPEG or PNG"),
        ("bomb.png", "expected at most 178956970 pixels"),
        ("empty.png", "expected a photo, received an empty file"),
        ("dangling.jpg", "not found"),
        ("loop.jpg", "can't be read: "),
        ("pipe.jpg", "expected a photo, received no regular file"),
    ];
    let probe = "train photos -o p.keras --image-size 32 --weights none --budget 0 --no-cache";
    for command in [TRAIN, probe, "evaluate n.keras photos", "predict n.keras photos --recursive"] {
        let run = place.run(command);
        for (name, reason) in reasons.iter().filter(|(name, _)| has_pipe || *name != "pipe.jpg") {
            let is_told = |line: &str| line.contains(&format!("photos/red/{name}: ")) && line.contains(reason);
            assert!(run.err.lines().any(is_told), "{name}: expected {reason:?} in {run}");
        }
    }
    for (name, reason) in reasons.iter().filter(|(name, _)| has_pipe || *name != "pipe.jpg") {
        place.run(&format!("predict n.keras photos/red/{name}")).fails(1, &[&format!("photos/red/{name}: "), reason]);
    }
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    let photo = place.path("photos/red/00.bmp");
    fs::set_permissions(&photo, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&photo).is_ok() {
        eprintln!("SKIPPED: this user may read everything");
        return;
    }
    let run = place.run(TRAIN).succeeds();
    assert!(run.err.contains("00.bmp: skipped: no permission to read it; give yourself read access"), "{run}");
    fs::set_permissions(place.path("photos/red"), fs::Permissions::from_mode(0o000)).unwrap();
    place.run(TRAIN).fails(1, &["photos/red: no permission to read it"]);
    fs::set_permissions(place.path("photos/red"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn too_few_photos_to_hold_any_out_say_so() {
    let place = Place::new();
    for (class, colour) in COLOURS {
        place.write(&format!("photos/{class}/1.bmp"), &bmp(4, 4, |_, _| colour));
    }
    place.add_model("m.keras");
    place
        .run(TRAIN)
        .fails(1, &["validation split: 0.2 of 3 photos leaves the validation set empty", "or 0 to train on every"]);
}
