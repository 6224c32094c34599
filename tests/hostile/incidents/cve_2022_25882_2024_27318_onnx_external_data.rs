//! ONNX external data: a tensor may name any file on the disk as the source of its values, and the onnx package read it.

#[cfg(unix)]
use super::tripwire::Pipe;
use super::{data, refused};
use engraft_formats::inspect::inspect;
use engraft_formats::onnx;
use engraft_interpreter::OnnxModel;
use engraft_nn::prelude::*;

fn model() -> Model {
    Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap()
}

/// `external.onnx` with another path, padded to the same length.
fn with_location(location: &str) -> Vec<u8> {
    const WRITTEN: &str = "../../../../../../../../../../../../tmp/engraft-external-data.bin";
    let mut bytes = std::fs::read(data("external.onnx")).unwrap();
    let at = bytes.windows(WRITTEN.len()).position(|part| part == WRITTEN.as_bytes()).unwrap();
    let padded = format!("{}{location}", "./".repeat((WRITTEN.len() - location.len()) / 2));
    bytes[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    bytes
}

#[cfg(unix)]
#[test]
fn the_other_file_is_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = Pipe::create(&folder.path().join("data.bin"));
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, with_location("data.bin")).unwrap();
    let expected = ["initializer `kernel`: its values are in another file, which is never read"];
    refused(|| onnx::initializers(&path), &expected);
    refused(|| onnx::load_weights(&path, &model()), &expected);
    refused(|| OnnxModel::load(&path), &expected);
    assert!(inspect(&path).unwrap().problems[0].contains(expected[0]));
    pipe.assert_untouched();
}

#[test]
fn wherever_it_is() {
    for location in ["/etc/passwd", "../../../../etc/passwd", "http://localhost/data", "file:///etc/passwd", "C:\\data"]
    {
        let bytes = with_location(location);
        refused(|| onnx::initializers_from_bytes(&bytes), &["initializer `kernel`: its values are in another file"]);
        refused(
            || onnx::load_weights_from_bytes(&bytes, &model()),
            &["initializer `kernel`: its values are in another"],
        );
    }
}
