//! Groups that contain themselves: a walk through them would never end.

use engraft_formats::h5::H5File;
use engraft_formats::inspect::inspect;
use engraft_formats::keras;
use engraft_nn::prelude::*;

use super::{data, refused};

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

/// Ten groups, each of which holds all ten: ten to the power of 64 paths.
#[test]
fn groups_that_all_hold_each_other() {
    let path = data("mesh.h5");
    let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build().unwrap();
    refused(|| inspect(&path), &["groups nested deeper than 64"]);
    refused(|| keras::load_weights_by_name(&path, &model.layers()), &["groups nested deeper than 64"]);
}
