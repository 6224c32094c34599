//! Pickles, such as PyTorch's files: unpickling can call any Python function, even with `weights_only`.
//!
//! Every reader recognises pickles by their contents, refuses them and recommends safetensors.

use std::io::Cursor;

use engraft_formats::inspect::inspect;
use engraft_formats::keras::{self, legacy};
use engraft_formats::safetensors::SafetensorsFile;
use engraft_formats::{npy, onnx};
use engraft_hostile::archive;
use engraft_nn::prelude::*;
use zip::CompressionMethod::Stored;

use super::{load, refused};

const REFUSED: &str = "pickle";
const ADVICE: &str = "safetensors";

/// A pickle that runs `touch PATH` when it is loaded.
fn pickle(made: &std::path::Path) -> Vec<u8> {
    [
        b"\x80\x04cposix\nsystem\n\x8c",
        &[6 + made.as_os_str().len() as u8][..],
        format!("touch {}", made.display()).as_bytes(),
        b"\x85R.",
    ]
    .concat()
}

#[test]
fn by_whatever_door_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let plain = pickle(&made);
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap();
    // PyTorch's format since 1.6 is a zip archive.
    let zipped = archive(&[("model/data.pkl", plain.clone()), ("model/version", b"3\n".to_vec())], Stored);
    for bytes in [&plain, &zipped] {
        let path = folder.path().join("model.pt");
        std::fs::write(&path, bytes).unwrap();
        refused(|| load(bytes), &[REFUSED, ADVICE]);
        refused(|| keras::load_weights(&path, &model), &[REFUSED, ADVICE]);
        refused(|| inspect(&path), &[REFUSED, ADVICE]);
    }
    let path = folder.path().join("model.pkl");
    std::fs::write(&path, &plain).unwrap();
    refused(|| legacy::load_weights(&path, &model.layers()), &[REFUSED, ADVICE]);
    refused(|| SafetensorsFile::new(Cursor::new(plain.clone())), &[REFUSED, ADVICE]);
    refused(|| onnx::initializers_from_bytes(&plain), &[REFUSED, ADVICE]);
    refused(|| npy::read(&plain), &[REFUSED, ADVICE]);
    assert!(!made.exists());
}

/// NumPy's object arrays are pickles after a header.
#[test]
fn arrays_of_objects() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
    let bytes = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &pickle(&made)].concat();
    refused(|| npy::read(&bytes), &["array: ", REFUSED]);
    let npz = archive(&[("x.npy", bytes)], Stored);
    refused(|| npy::read_npz(Cursor::new(npz)), &["`x`", REFUSED]);
    assert!(!made.exists());
}
