//! Path traversal: archives with links or entries such as `../../x` or `/x`, which Keras' `get_file` unpacked outside its folder.
//!
//! Engraft unpacks nothing to disk. It refuses such archives anyway, because only an attacker writes them.

use std::io::{Cursor, Write};

use engraft_formats::{keras, npy};
use engraft_hostile::archive;
use zip::CompressionMethod::Stored;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{entries, golden, load, refused};

#[test]
fn entries_that_leave_the_archive() {
    for name in [
        "../../x",
        "/etc/cron.d/x",
        "assets/../../x",
        "..",
        "C:\\x",
        "\\\\server\\x",
        "assets\\..\\..\\x",
        "//server/x",
    ] {
        let mut entries = entries();
        entries.push((name, b"x".to_vec()));
        let place = format!("entry `{name}`: ");
        refused(|| load(&archive(&entries, Stored)), &[&place, "expected a name inside the archive", "hint: "]);
        let arrays = archive(&[(name, b"x".to_vec())], Stored);
        refused(|| npy::read_npz(Cursor::new(arrays)), &[&place, "expected a name inside the archive"]);
    }
}

#[test]
fn links() {
    for (name, target) in
        [("assets/x", "/etc/passwd"), ("model.weights.h5", "/etc/passwd"), ("config.json", "../config.json")]
    {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (entry, bytes) in entries().iter().filter(|(entry, _)| *entry != name) {
            zip.start_file(*entry, SimpleFileOptions::default().compression_method(Stored)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.add_symlink(name, target, SimpleFileOptions::default()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        refused(|| load(&bytes), &[&format!("entry `{name}`: expected a file, received a link"), "hint: "]);
    }
}

/// Readers differ in which entry they use, so that a scanner could check one entry and a reader use the other.
#[test]
fn two_entries_of_one_name() {
    for name in ["config.json", "model.weights.h5"] {
        // The zip writer refuses duplicates: the name is replaced in the finished archive.
        let placeholder = "x".repeat(name.len());
        let mut entries = entries();
        entries.push((&placeholder, b"{}".to_vec()));
        let mut bytes = archive(&entries, Stored);
        while let Some(at) = bytes.windows(name.len()).position(|window| window == placeholder.as_bytes()) {
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        refused(|| load(&bytes), &["archive: two entries have the same name"]);
    }
}

/// Keras writes entries in folders, for example the vocabulary of a lookup layer.
#[test]
fn entries_in_folders_are_no_harm() {
    let mut entries = entries();
    entries.push(("assets/", Vec::new()));
    entries.push(("assets/_layer_checkpoint_dependencies/vocabulary.txt", b"cat\ndog\n".to_vec()));
    entries.push(("notes..txt", Vec::new()));
    assert!(load(&archive(&entries, Stored)).is_ok());
    assert!(keras::load(&golden("functional.keras")).is_ok());
}
