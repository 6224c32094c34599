//! Ctrl-C during training.

#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use support::Place;

#[test]
fn ctrl_c_stops_in_good_order_and_keeps_what_was_learned() {
    let place = Place::with_photos(4);
    place.add_model("m.keras");
    let train = "train photos --model m.keras -o n.keras --epochs 1000000 --history h.json";
    let mut child = Command::new(env!("CARGO_BIN_EXE_engraft"))
        .args(train.split(' '))
        .current_dir(place.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert!(line.starts_with("Epoch 1/1000000: "), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // Standard error is read to its end: with a full pipe, the child would block.
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{out}");
    assert!(rest.contains("Stopping after this step, then saving; Ctrl-C again"), "stopping is told");
    assert!(out.contains("Stopped at epoch ") && out.contains("the model so far is saved in n.keras\n"), "{out}");
    assert!(!place.json("h.json")["loss"].as_array().unwrap().is_empty());
    place.run("predict n.keras photos/red/00.bmp").succeeds();
}
