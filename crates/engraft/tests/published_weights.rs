//! The published weight files of all networks are those that Keras asks for: name in its folder, URL and hash.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashSet;

use engraft::applications::{Architecture, Network, PublishedWeights};
use engraft::hub::Hash;
use engraft_golden::{Case, cases};

/// The network of a case, with its arguments.
fn network(case: &Case) -> Network {
    let mut network = Network::new(Architecture::find(case.get("network").as_str().unwrap()).unwrap());
    for (argument, value) in case.get("arguments").as_object().unwrap() {
        network = match argument.as_str() {
            "include_top" => network.include_top(value.as_bool().unwrap()),
            "alpha" => network.alpha(value.as_f64().unwrap()),
            "minimalistic" => network.minimalistic(value.as_bool().unwrap()),
            other => panic!("{}: unknown argument {other}", case.name()),
        };
    }
    match case.get("size").as_u64() {
        Some(size) => network.input_shape([size as usize, size as usize, 3]),
        None => network,
    }
}

#[test]
fn every_weight_file_is_the_one_that_keras_loads() {
    let cases = cases("weight_files");
    for case in &cases {
        let Some(PublishedWeights::File { file, .. }) = network(case).published_weights() else {
            panic!("{}: no file", case.name())
        };
        let hash = file.hash.map(Hash::digits);
        let found = [Some(&*file.name), Some(&*file.url), hash];
        assert_eq!(found, ["name", "url", "hash"].map(|key| case.get(key).as_str()), "{}", case.name());
    }
    let covered: HashSet<_> = cases.iter().map(|case| case.get("network").as_str().unwrap()).collect();
    let of_keras: HashSet<_> = Architecture::all().iter().filter_map(|network| network.keras_name()).collect();
    assert_eq!(covered, of_keras);
}
