//! Training that ends early: by Ctrl-C, by the end of the process, or by a loss that is not finite.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use engraft::formats::keras;
use serde_json::Value;
use support::Place;

/// A command that runs until it is stopped.
struct Endless {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Endless {
    /// Starts to train `m.keras` on the folder `photos`, and saves to `n.keras`.
    fn start(place: &Place, options: &str) -> Self {
        Self::spawn(
            place,
            &format!("train photos --model m.keras -o n.keras --epochs 1000000 {options}"),
            Stdio::null(),
        )
    }

    fn spawn(place: &Place, arguments: &str, input: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_engraft"))
            .args(arguments.split_whitespace())
            .current_dir(place.path(""))
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, errors }
    }

    /// Waits for a line on standard error.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line
    }

    /// Waits for the end of an epoch. Returns its `val_loss`, as printed.
    fn epoch(&mut self) -> Option<String> {
        let line = self.line();
        assert!(line.starts_with("Epoch ") && line.contains("/1000000: "), "{line}");
        line.split(" - ").find_map(|number| number.strip_prefix("val_loss: ")).map(str::to_owned)
    }

    /// Sends a signal, and waits for the end. Returns the exit code, standard output and the rest of standard error.
    fn signal(mut self, signal: &str) -> (Option<i32>, String, String) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        // Standard error is read to its end: with a full pipe, the child would block.
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), rest)
    }
}

/// The lowest `val_loss` in a history, as messages print it, and its epoch, counted from 1.
fn best(history: &Value) -> (usize, String) {
    let losses = history["val_loss"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap());
    let (epoch, loss) = losses.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    (epoch + 1, format!("{loss:.4}"))
}

#[test]
fn ctrl_c_keeps_the_best_epoch() {
    let place = Place::with_photos(10);
    place.add_model("m.keras");
    let mut training = Endless::start(&place, "--history h.json");
    training.epoch();
    let (code, out, rest) = training.signal("-INT");
    assert_eq!(code, Some(130), "{out}");
    assert!(rest.contains("Stopping after this step; Ctrl-C again exits at once"), "{rest}");
    let (epoch, val_loss) = best(&place.json("h.json"));
    let saved = format!("Saved n.keras: epoch {epoch} of 1000000, the best by val_loss {val_loss}\n");
    assert!(out.contains("\nStopped at epoch ") && out.ends_with(&saved), "expected {saved:?} in {out}");
    // The same photos are held out again, as the seed is the same: the loss of the model is that of its first epoch's
    // validation after a step of almost no size.
    let go_on = "train photos --model n.keras -o o.keras --epochs 1 --learning-rate 1e-30 --history again.json";
    place.run(go_on).succeeds();
    assert_eq!(best(&place.json("again.json")).1, val_loss);
}

#[test]
fn ctrl_c_without_validation_saves_the_weights_of_now() {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    let mut training = Endless::start(&place, "--validation-split 0 --history h.json");
    training.epoch();
    let (code, out, _) = training.signal("-INT");
    assert_eq!(code, Some(130), "{out}");
    assert!(out.contains("\nStopped at epoch ") && out.contains("\nSaved n.keras: epoch "), "{out}");
    assert!(!place.json("h.json")["loss"].as_array().unwrap().is_empty());
    place.run("predict n.keras photos/red/00.bmp").succeeds();
}

#[test]
fn a_killed_process_leaves_the_best_epoch() {
    let place = Place::with_photos(10);
    place.add_model("m.keras");
    for (options, best) in [("", "n.keras"), ("--save-optimizer", "n-best.keras")] {
        let mut training = Endless::start(&place, options);
        let losses: Vec<String> = (0..3).map(|_| training.epoch().unwrap()).collect();
        let (code, out, rest) = training.signal("-KILL");
        assert_eq!(code, None, "{out}");
        // Lines that were printed before the signal arrived. The last may be cut off, and a later epoch may be saved already.
        let later =
            rest.lines().filter_map(|line| line.split(" - ").find_map(|number| number.strip_prefix("val_loss: ")));
        let lowest = losses.iter().map(String::as_str).chain(later).map(|loss| loss.parse::<f64>().unwrap());
        let lowest = lowest.fold(f64::INFINITY, f64::min);
        let go_on =
            format!("train photos --model {best} -o o.keras --epochs 1 --learning-rate 1e-30 --history again.json");
        place.run(&go_on).succeeds();
        let found = place.json("again.json")["val_loss"][0].as_f64().unwrap();
        // The printed loss is rounded to four decimals.
        assert!(found <= lowest + 1e-4, "{best}: {found}, but an epoch had {lowest}");
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_training_and_says_what_is_saved() {
    let place = Place::with_photos(10);
    place.add_model("m.keras");
    let train = "train photos --model m.keras -o n.keras --optimizer sgd --learning-rate 1e38 --batch-size 8";
    let expected =
        ["epoch 1 of 10, learning rate 1", ": training has most likely diverged\nhint: use a smaller learning rate"];
    let run = place.run(train).fails(1, &expected);
    assert!(run.err.contains("n.keras was not written\n") && !place.path("n.keras").exists(), "{run}");

    place.add_classifier("n.keras");
    let earlier = place.read("n.keras");
    place.run(train).fails(1, &["n.keras is as it was before\n"]);
    assert!(place.read("n.keras") == earlier);

    // The learning rate of the second phase is far too high: the file keeps an epoch of the first.
    let options =
        "--epochs 2 --fine-tune-from conv --fine-tune-learning-rate 1e38 --optimizer sgd --learning-rate 0.01";
    let run = place.run(&format!("train photos --model m.keras -o n.keras --batch-size 8 {options}"));
    let run =
        run.fails(1, &["fine-tuning, epoch 1 of 5, learning rate 1", "Saved n.keras: epoch ", " of 2, the best by"]);
    assert!(keras::load_model(&place.path("n.keras")).is_ok(), "{run}");
}

/// A Parquet file can't be read without its end, so none is left. An older one stays.
#[test]
fn ctrl_c_leaves_no_parquet_file() {
    let place = Place::with_photos(1);
    place.add_classifier("m.keras");
    place.run("predict m.keras photos/red --parquet old.parquet").succeeds();
    let old = place.read("old.parquet");
    // The error of the first photo tells that the run is under way.
    place.write("list.txt", format!("absent.jpg\n{}", "photos/red/00.bmp\n".repeat(200_000)).as_bytes());
    for name in ["new.parquet", "old.parquet"] {
        let list = std::fs::File::open(place.path("list.txt")).unwrap();
        let mut run = Endless::spawn(&place, &format!("predict m.keras - --parquet {name}"), list.into());
        assert!(run.line().contains("error: absent.jpg"));
        let (code, out, rest) = run.signal("-INT");
        assert_eq!((code, &*out), (Some(130), ""), "{rest}");
        assert!(rest.contains("Stopping; the Parquet file is not written; Ctrl-C again exits at once"), "{rest}");
        assert!(rest.contains("Stopped, nothing is saved; a run with --csv can be stopped and go on"), "{rest}");
    }
    assert!(place.read("old.parquet") == old);
    let names = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains("parquet")).count(), 1);
}
