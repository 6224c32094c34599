//! HDF5 data in other files, by external links, external storage or virtual datasets. Keras read any such file as weights.

use engraft_formats::h5::H5File;

#[cfg(unix)]
use super::tripwire::Pipe;
use super::{data, refused};

/// The test files refer to `secret.bin` and `secret.h5` in their folder.
#[cfg(unix)]
#[test]
fn no_other_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipes = ["secret.bin", "secret.h5"].map(|name| Pipe::create(&folder.path().join(name)));
    for (name, expected) in [
        ("external_link.h5", "`outside`: expected a dataset, found none in this file (links to other places"),
        ("external_storage.h5", "`outside`: external storage is refused"),
        ("virtual_dataset.h5", "`outside`: a virtual dataset is refused"),
    ] {
        let path = folder.path().join(name);
        std::fs::copy(data(name), &path).unwrap();
        let file = H5File::open(&path).unwrap();
        refused(|| file.read_f32("outside"), &[expected]);
    }
    pipes.into_iter().for_each(Pipe::assert_untouched);
}

#[test]
fn a_link_to_another_file_is_no_member_of_its_group() {
    let file = H5File::open(&data("external_link.h5")).unwrap();
    let names: Vec<_> = file.children("").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["inside"]);
}
