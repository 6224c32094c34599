//! Zip bombs: archives whose entries inflate a thousandfold, with true or false declared sizes.

use std::io::Cursor;

use engraft::recipe::Metadata;
use engraft_formats::inspect::inspect;
use engraft_formats::{keras, npy};
use engraft_hostile::{archive, peak};
use engraft_nn::prelude::*;
use zip::CompressionMethod::{Deflated, Stored};

use super::{MEMORY, at_a_path, data, entries, entry, h5_of_text, load, refused, refused_within};

/// 33 MiB of spaces, compressed to less than 128 KiB.
#[test]
fn a_config_of_nothing() {
    for name in ["config.json", "metadata.json"] {
        let mut entries = entries();
        entries.iter_mut().filter(|(entry, _)| *entry == name).for_each(|(_, bytes)| *bytes = vec![b' '; 33 << 20]);
        let bytes = archive(&entries, Deflated);
        assert!(bytes.len() < 1 << 17);
        refused(|| load(&bytes), &[&format!("entry `{name}`: expected at most"), "bytes, received 34603008 or more"]);
    }
}

/// A JSON list of at most `len` bytes that repeats `element`.
fn list(element: &str, len: usize) -> String {
    let elements = vec![element; (len - 1) / (element.len() + 1)].join(",");
    format!("[{elements}]")
}

/// A `.keras` archive with one entry replaced by `text`.
fn with_entry(name: &str, text: &str) -> Vec<u8> {
    let mut entries = entries();
    entries.iter_mut().filter(|(entry, _)| *entry == name).for_each(|(_, bytes)| *bytes = text.into());
    archive(&entries, Deflated)
}

/// A JSON value takes two bytes of text, but a hundred bytes or more in memory.
#[test]
fn values_without_number() {
    for (name, len) in [("config.json", 8 << 20), ("metadata.json", 4 << 20)] {
        let bytes = with_entry(name, &list("0", len));
        assert!(bytes.len() < 1 << 17);
        let expected = format!("{name}: expected at most 262144 values, received {}", len / 2);
        // The memory limit covers the growing buffer of the inflated text.
        refused_within(2 * len as u64 + MEMORY, || load(&bytes), &[&expected]);
        let (contents, peak_bytes) = at_a_path(&bytes, |path| peak(|| inspect(path).unwrap()));
        assert!(peak_bytes < 5 * len as u64, "{peak_bytes}");
        let problem = contents.problems[0].as_str();
        assert!(problem.contains("the model can't be loaded") && problem.contains(&expected), "{problem}");
    }
    let len = 8 << 20;
    let (bytes, expected) =
        (h5_of_text(&list("0", len)), "model_config: expected at most 262144 values, received 4194304");
    refused_within(8 * len as u64, || load(&bytes), &[expected]);
}

/// Metadata with more than a million class names, in 4 MB of text.
#[test]
fn classes_without_number() {
    let metadata = |classes: &str| format!("{{\"version\": 1, \"classes\": {classes}}}").into_bytes();
    let read = |text: Vec<u8>| {
        let entries = entries().into_iter().chain([(Metadata::ENTRY, text)]).collect::<Vec<_>>();
        let bytes = archive(&entries, Deflated);
        assert!(bytes.len() < 1 << 17);
        move || at_a_path(&bytes, Metadata::read)
    };
    let many = read(metadata(&list("\"\"", 4_000_000)));
    // The memory limit covers the growing buffer of the inflated text.
    refused_within((8 << 20) + MEMORY, many, &["engraft.json: expected at most 262144 values, received 1333336"]);
    let allowed = read(metadata(&list("\"\"", 3 * ((1 << 18) - 3))));
    refused_within(24 << 20, allowed, &["engraft.json: expected class names that differ, received `` twice"]);
}

/// The maximum number of values, for the JSON types that take the most memory. Memory stays limited.
#[test]
fn values_up_to_their_number() {
    for (element, values) in [("0", 1), ("[0]", 2), ("{\"\":0}", 2)] {
        let text = list(element, (element.len() + 1) * ((1 << 18) - 2) / values);
        refused_within(64 << 20, || load(&with_entry("config.json", &text)), &["expected an object with a class_name"]);
    }
}

/// Arrays without data inside a compressed archive: the HDF5 reader's budget counts declared sizes, not the inflated size.
#[test]
fn weights_that_grow_twice() {
    let mut weights = std::fs::read(data("unwritten.weights.h5")).unwrap();
    weights.resize(60 << 20, 0);
    let bytes = archive(&[("model.weights.h5", weights)], Deflated);
    let model = Sequential::new().add(Input::new([3000]));
    let model = (0..8).fold(model, |model, _| model.add(Dense::new(3000).use_bias(false))).build().unwrap();
    // The memory limit covers the growing buffer of the inflated archive, and one of its eight weights.
    refused_within(
        160 << 20,
        || keras::read_weights(Cursor::new(bytes.clone()), &model),
        &["weight `dense", "/kernel`: `layers/dense_1/vars/0`: declares 36000000 bytes, but only 31108864 are left"],
    );
}

/// Values of one byte become f32, and exist twice while a Fortran-ordered array is transposed.
#[test]
fn arrays_that_grow_when_they_are_read() {
    for (order, made) in [("False", 268_402_688), ("True", 536_805_376)] {
        let header = format!("{{'descr': '|u1', 'fortran_order': {order}, 'shape': (8192, 8191), }}\n");
        let zeros = vec![0; 8192 * 8191];
        let zeros = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &zeros].concat();
        let bytes = archive(&[("a.npy", zeros)], Deflated);
        let expected = format!(
            "`a`, array: expected at most 67108864 bytes as f32, which are left of the budget for this file, received {made}"
        );
        // The memory limit covers the growing buffer of the inflated entry.
        refused_within(140 << 20, || npy::read_npz(Cursor::new(bytes.clone())), &[&expected, "hint: "]);
    }
}

#[test]
fn weights_of_nothing() {
    let mut entries = entries();
    entries[2].1.resize(80 << 20, 0);
    let bytes = archive(&entries, Deflated);
    refused(|| load(&bytes), &["entry `model.weights.h5`: expected at most 67108864 bytes, received 83886080 or more"]);
}

/// The directory declares 100 bytes, but the entry has 80 MiB. Reading stops at the limit.
#[test]
fn sizes_that_are_a_lie() {
    let mut entries = entries();
    entries[2].1.resize(80 << 20, 0);
    let mut bytes = archive(&entries, Deflated);
    let at = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[at + 24..at + 28].copy_from_slice(&100_u32.to_le_bytes());
    // The memory limit covers a Vec that grows to 64 MiB: while it grows, its old and its new buffer exist.
    refused_within(200 << 20, || load(&bytes), &["entry `model.weights.h5`: "]);
}

/// The directory declares 4 GiB for entries of some kilobytes.
#[test]
fn sizes_that_cannot_be() {
    let mut bytes = archive(&entries(), Deflated);
    for at in 0..bytes.len() - 4 {
        if bytes[at..].starts_with(b"PK\x01\x02") {
            bytes[at + 24..at + 28].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        }
    }
    refused(|| load(&bytes), &["entry `metadata.json`: expected at most 4194304 bytes, received 4294967280 or more"]);
}

#[test]
fn entries_without_number() {
    let names: Vec<String> = (0..2000).map(|number| format!("assets/{number}")).collect();
    let many: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    let bytes = archive(&many, Stored);
    refused_within(8 << 20, || load(&bytes), &["archive: expected at most 1000 entries, received 2000"]);
}

/// Two arrays of 40 MiB: each fits into the file's budget alone, but both together exceed it.
#[test]
fn arrays_count_together() {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}\n", 10 << 20);
    let zeros = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &vec![0; 40 << 20]].concat();
    let bytes = archive(&[("a.npy", zeros.clone()), ("b.npy", zeros)], Deflated);
    // The memory limit covers the first array, which is read: the growing buffer of its bytes, and its values.
    refused_within(200 << 20, || npy::read_npz(Cursor::new(bytes.clone())), &["entry `b.npy`: expected at most"]);
}

/// A nested archive isn't unpacked; it is an entry with invalid contents.
#[test]
fn archives_in_archives() {
    let mut inner = archive(&entries(), Deflated);
    for _ in 0..20 {
        inner = archive(&[("config.json", inner), ("model.weights.h5", entry("model.weights.h5"))], Deflated);
    }
    refused(|| load(&inner), &["config.json: expected value at line 1 column 1"]);
}
