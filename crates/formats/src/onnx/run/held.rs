//! The tensors that are still needed.

use std::collections::HashMap;

use engraft_nn::{Error, Result};

use super::value::Value;
use crate::onnx::proto::GraphProto;

/// Tensors by name, each until it has been read as often as the graph does.
pub(super) struct Held<'a> {
    values: HashMap<&'a str, Value>,
    reads: HashMap<&'a str, usize>,
    len: usize,
    limit: usize,
}

impl<'a> Held<'a> {
    /// `limit` values at a time and no more.
    pub(super) fn new(graph: &'a GraphProto, limit: usize) -> Self {
        let mut reads = HashMap::new();
        let outputs = graph.output.iter().map(|output| &output.name);
        for name in graph.node.iter().flat_map(|node| &node.input).chain(outputs) {
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
            return Err(Error::new(format_args!("tensor `{name}`"), expected, self.len).hint("use a smaller batch"));
        }
        if self.values.insert(name, value).is_some() {
            return Err(Error::because(format_args!("tensor `{name}`"), "made more than once"));
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
    use super::*;
    use crate::onnx::proto::{NodeProto, ValueInfoProto};

    #[test]
    fn a_tensor_stays_until_it_was_read_for_the_last_time() {
        let node = |input: &[&str]| NodeProto {
            input: input.iter().map(|&name| name.into()).collect(),
            ..NodeProto::default()
        };
        let output = vec![ValueInfoProto::batch("b", &[])];
        let graph = GraphProto { node: vec![node(&["a", "a"])], output, ..GraphProto::default() };
        let mut held = Held::new(&graph, 100);
        for name in ["a", "b", "unread"] {
            held.keep(name, Value::Ints(vec![1, 2])).unwrap();
        }
        assert_eq!((held.len, held.get("unread")), (4, None));
        held.read("a");
        assert!(held.get("a").is_some());
        held.read("a");
        assert_eq!((held.len, held.get("a")), (2, None));
        let error = held.keep("b", Value::Ints(vec![])).unwrap_err().to_string();
        assert_eq!(error, "tensor `b`: made more than once");
        let error = held.keep("a", Value::Ints(vec![0; 99])).unwrap_err().to_string();
        assert!(error.contains("tensor `a`: expected at most 100 values at a time, received 101"), "{error}");
    }
}
