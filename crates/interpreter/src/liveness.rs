//! The tensors that are still needed.

use std::collections::HashMap;

use engraft_formats::onnx::Graph;
use engraft_nn::{Error, ErrorKind, Result};

use super::value::Value;

/// Tensors by name, each until it has been read as often as the graph does.
pub(super) struct LiveTensors<'a> {
    values: HashMap<&'a str, Value>,
    reads: HashMap<&'a str, usize>,
    len: usize,
    limit: usize,
}

impl<'a> LiveTensors<'a> {
    /// `limit` values at a time and no more.
    pub(super) fn new(graph: &'a Graph, limit: usize) -> Self {
        let mut reads = HashMap::new();
        let outputs = graph.outputs.iter().map(|output| &output.name);
        for name in graph.nodes.iter().flat_map(|node| &node.inputs).chain(outputs) {
            *reads.entry(name.as_str()).or_default() += 1;
        }
        Self { values: HashMap::new(), reads, len: 0, limit }
    }

    /// Keeps a tensor.
    ///
    /// # Errors
    /// There is one of this name, or too many values are kept at a time.
    pub(super) fn keep(&mut self, name: &'a str, value: Value) -> Result<()> {
        self.len += value.len();
        if self.len > self.limit {
            let expected = format!("at most {} values at a time", self.limit);
            return Err(Error::new(format_args!("tensor `{name}`"), expected, self.len)
                .with_kind(ErrorKind::OutOfMemory)
                .hint("use a smaller batch"));
        }
        if self.values.insert(name, value).is_some() {
            return Err(Error::because(format_args!("tensor `{name}`"), "made more than once")
                .with_kind(ErrorKind::InvalidData));
        }
        self.release(name, 0);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Says that a tensor has been read once.
    pub(super) fn read(&mut self, name: &'a str) {
        self.release(name, 1);
    }

    fn release(&mut self, name: &'a str, reads: usize) {
        let left = self.reads.entry(name).or_default();
        *left = left.saturating_sub(reads);
        if *left == 0 {
            self.len -= self.values.remove(name).map_or(0, |value| value.len());
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
            live.keep(name, Value::Ints(vec![1, 2])).unwrap();
        }
        assert_eq!((live.len, live.get("unread")), (4, None));
        live.read("a");
        assert!(live.get("a").is_some());
        live.read("a");
        assert_eq!((live.len, live.get("a")), (2, None));
        let error = live.keep("b", Value::Ints(vec![])).unwrap_err().to_string();
        assert_eq!(error, "tensor `b`: made more than once");
        let error = live.keep("a", Value::Ints(vec![0; 99])).unwrap_err().to_string();
        assert!(error.contains("tensor `a`: expected at most 100 values at a time, received 101"), "{error}");
    }
}
