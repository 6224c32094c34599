//! HDF5 groups that contain themselves: an unlimited traversal would never end.

use engraft_formats::h5::H5File;
use engraft_formats::inspect::inspect;
use engraft_formats::keras;
use engraft_nn::prelude::*;

use super::{at_a_path, data, refused};

#[test]
fn a_walk_ends_where_groups_are_nested_too_deeply() {
    let file = H5File::open(&data("cycle.h5")).unwrap();
    let path = "again/".repeat(engraft_formats::h5::MAX_DEPTH + 1);
    assert_eq!(file.children("again/again/again").unwrap()[0].name, "again");
    refused(|| file.children(&path), &["groups nested deeper than 64"]);
}

#[test]
fn so_does_everything_that_walks() {
    let path = data("cycle.h5");
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap();
    refused(|| inspect(&path), &["groups nested deeper than 64"]);
    refused(|| keras::load_weights(&path, &model), &["expected a group `layers`, found none"]);
    refused(|| keras::load_weights_by_name(&path, &model.layers()), &["groups nested deeper than 64"]);
}

/// Paths ignore empty names and dots, so a path through such a member leads to the same group again, without growing deeper.
#[test]
fn a_group_that_contains_itself_under_no_name() {
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap();
    for name in [b"\0", b".", b"/"] {
        let mut bytes = std::fs::read(data("cycle.h5")).unwrap();
        // The last occurrence of the name is the inner group's member.
        let at = bytes.windows(5).rposition(|window| window == b"again").unwrap();
        bytes[at..at + 5].fill(0);
        bytes[at] = name[0];
        let expected = ["`again`: damaged or unsupported: a member called `", "`, which no path can name"];
        at_a_path(&bytes, |path| {
            refused(|| inspect(path), &expected);
            refused(|| keras::load_weights_by_name(path, &model.layers()), &expected);
        });
    }
}

/// Ten groups that contain all ten: 10^64 paths up to the maximum depth.
#[test]
fn groups_that_all_hold_each_other() {
    let path = data("mesh.h5");
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap();
    refused(|| inspect(&path), &["groups nested deeper than 64"]);
    refused(|| keras::load_weights_by_name(&path, &model.layers()), &["groups nested deeper than 64"]);
}
