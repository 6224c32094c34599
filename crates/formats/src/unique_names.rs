//! Unique names for weights, for formats that require them (safetensors, the older `.h5`).

use std::collections::HashSet;

use engraft_nn::Weight;

/// The paths of weights, made unique by a suffix `_1`, `_2`, ….
///
/// Paths repeat where two nested models contain layers of the same name.
pub(crate) fn unique_paths(weights: &[Weight]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut unique = |weight: &Weight| {
        let path = weight.path();
        let numbered = (1..).map(|number| format!("{path}_{number}"));
        let mut names = std::iter::once(path.clone()).chain(numbered);
        names.find(|name| taken.insert(name.clone())).unwrap_or(path)
    };
    weights.iter().map(&mut unique).collect()
}
