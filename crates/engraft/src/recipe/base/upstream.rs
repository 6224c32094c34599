//! [`upstream`]: the layers that a layer of a model depends on.

use std::collections::HashSet;

use crate::{Graph, Layer};

/// Ids of `layer` and of all layers that it depends on.
pub(super) fn upstream(graph: &Graph, layer: &Layer) -> HashSet<usize> {
    let mut pending: Vec<_> = graph.calls().iter().filter(|call| call.layer() == layer).collect();
    let (mut visited, mut layers) = (HashSet::new(), HashSet::new());
    while let Some(call) = pending.pop() {
        if visited.insert(call.id()) {
            layers.insert(call.layer().id());
            pending.extend(call.inputs());
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;
    use crate::prelude::*;

    #[test]
    fn what_a_layer_depends_on_leaves_out_side_branches() {
        let x = Input::new([4, 4, 3]);
        let [stem, side, last] = ["stem", "side", "last"].map(|name| Conv2D::new(3, 1).named(name));
        let split = stem.call(&x).unwrap();
        let sum = Add::new().call([&side.call(&split).unwrap(), &last.call(&split).unwrap()]).unwrap();
        let found = upstream(Model::new(&x, &sum).unwrap().graph(), &last);
        assert_eq!(found, HashSet::from([x.layer().id(), stem.id(), last.id()]));
    }
}
