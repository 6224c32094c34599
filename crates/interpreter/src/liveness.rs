//! [`LiveTensors`]: the tensors that later nodes still read. Each is freed after its last use.

use std::collections::HashMap;

use engraft_formats::onnx::Graph;
use engraft_nn::{Error, ErrorKind, Result};

use super::value::Value;

/// The live tensors by name, with the number of their remaining reads.
pub(super) struct LiveTensors<'a> {
    values: HashMap<&'a str, Value>,
    remaining_reads: HashMap<&'a str, usize>,
    /// Total number of elements of all live tensors.
    elements: usize,
    limit: usize,
}

impl<'a> LiveTensors<'a> {
    /// Counts how often the nodes of `graph` read each tensor. A graph output counts as one more read.
    ///
    /// `limit` bounds the number of elements of all live tensors together.
    pub(super) fn new(graph: &'a Graph, limit: usize) -> Self {
        let mut reads = HashMap::new();
        let outputs = graph.outputs.iter().map(|output| &output.name);
        for name in graph.nodes.iter().flat_map(|node| &node.inputs).chain(outputs) {
            *reads.entry(name.as_str()).or_default() += 1;
        }
        Self { values: HashMap::new(), remaining_reads: reads, elements: 0, limit }
    }

    /// Adds a computed tensor. One that is never read is dropped at once.
    ///
    /// # Errors
    /// Where a tensor of this name is live, or the limit on elements is exceeded.
    pub(super) fn insert(&mut self, name: &'a str, value: Value) -> Result<()> {
        self.elements += value.len();
        if self.elements > self.limit {
            let expected = format!("at most {} elements at a time", self.limit);
            return Err(Error::new(format_args!("tensor `{name}`"), expected, self.elements)
                .with_kind(ErrorKind::OutOfMemory)
                .hint("use a smaller batch"));
        }
        if self.values.insert(name, value).is_some() {
            return Err(Error::because(format_args!("tensor `{name}`"), "computed more than once")
                .with_kind(ErrorKind::InvalidData));
        }
        self.release(name, 0);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Records one read of a tensor; drops it if that was the last.
    pub(super) fn mark_read(&mut self, name: &'a str) {
        self.release(name, 1);
    }

    /// Subtracts reads from a tensor's remaining ones, and drops it when none are left.
    fn release(&mut self, name: &'a str, reads: usize) {
        let left = self.remaining_reads.entry(name).or_default();
        *left = left.saturating_sub(reads);
        if *left == 0 {
            self.elements -= self.values.remove(name).map_or(0, |value| value.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{GraphNode, GraphValue};

    use super::*;

    #[test]
    fn a_tensor_stays_until_it_was_read_for_the_last_time() {
        let node = |input: &[&str]| GraphNode {
            inputs: input.iter().map(|&name| name.into()).collect(),
            ..GraphNode::default()
        };
        let outputs = vec![GraphValue { name: "b".into(), shape: Vec::new() }];
        let graph = Graph { nodes: vec![node(&["a", "a"])], outputs, ..Graph::default() };
        let mut live = LiveTensors::new(&graph, 100);
        for name in ["a", "b", "unread"] {
            live.insert(name, Value::Ints(vec![1, 2])).unwrap();
        }
        assert_eq!((live.elements, live.get("unread")), (4, None));
        live.mark_read("a");
        assert!(live.get("a").is_some());
        live.mark_read("a");
        assert_eq!((live.elements, live.get("a")), (2, None));
        let error = live.insert("b", Value::Ints(vec![])).unwrap_err().to_string();
        assert_eq!(error, "tensor `b`: computed more than once");
        let error = live.insert("a", Value::Ints(vec![0; 99])).unwrap_err().to_string();
        assert!(error.contains("tensor `a`: expected at most 100 elements at a time, received 101"), "{error}");
    }
}
