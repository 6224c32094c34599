//! Names of weights in files.

use std::collections::HashSet;

use engraft_nn::Weight;

/// The paths of weights; models in a nested model may hold layers of one name.
pub(crate) fn unique_paths(weights: &[Weight]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |weight: &Weight| {
        let path = weight.path();
        let numbered = (1..).map(|number| format!("{path}_{number}"));
        let mut names = std::iter::once(path.clone()).chain(numbered);
        names.find(|name| taken.insert(name.clone())).unwrap_or(path)
    };
    weights.iter().map(&mut free).collect()
}
