//! Deeply nested protobuf messages or groups, which overflowed the stack of a protobuf parser, and huge numbers of messages.

use engraft_formats::inspect::inspect;
use engraft_formats::onnx;
use engraft_interpreter::OnnxModel;

use super::{at_a_path, refused, refused_within};

/// A length-delimited field with this field number.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut rest = contents.len();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend(contents);
    bytes
}

/// An ONNX model of graphs nested `depth` times in node attributes, like bodies of loops. The innermost has an initializer.
fn nested(depth: usize) -> Vec<u8> {
    let graph = (0..depth).fold(field(5, &field(8, b"x")), |graph, _| field(1, &field(5, &field(6, &graph))));
    field(7, &graph)
}

#[test]
fn graphs_in_graphs_are_passed_over() {
    let bytes = nested(10_000);
    let ((), peak_bytes) = engraft_hostile::peak(|| assert_eq!(onnx::initializers_from_bytes(&bytes).unwrap(), []));
    assert!(peak_bytes < 1 << 10, "{peak_bytes}");
    assert_eq!(at_a_path(&bytes, |path| inspect(path).unwrap()).arrays, []);
}

#[test]
fn groups_in_groups_are_refused() {
    let groups = vec![0x0b; 1 << 20];
    for bytes in [groups.clone(), field(7, &groups), field(7, &field(5, &groups))] {
        refused(|| onnx::initializers_from_bytes(&bytes), &["not an ONNX model, or a damaged one: field"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groups.onnx");
        std::fs::write(&path, &bytes).unwrap();
        refused_within(8 << 20, || inspect(&path), &["groups.onnx", "a damaged one: field"]);
    }
}

/// Messages of two bytes each, which would take a hundred bytes or more each in memory. They are refused before decoding.
#[test]
fn messages_without_number() {
    let many = |number: u8, depth: &[u8]| {
        depth.iter().rev().fold([number << 3 | 2, 0].repeat(8_000_000), |inside, &number| field(number, &inside))
    };
    let expected = "ONNX: more nodes or metadata than any model has";
    for graph in [
        // The repeated field, in order: nodes, inputs of a node, attributes of a node, numbers in an attribute, graph inputs,
        // axes of a graph input, axes of a graph output.
        many(1, &[]),
        many(1, &[1]),
        many(5, &[1]),
        field(1, &field(5, &field(8, &[0; 16_000_000]))),
        many(11, &[]),
        many(1, &[11, 2, 1, 2]),
        many(1, &[12, 2, 1, 2]),
    ] {
        let bytes = [field(8, &[16, 17]), field(7, &graph)].concat();
        refused(|| OnnxModel::from_bytes(&bytes), &[expected]);
    }
    for number in [8, 14] {
        // Fields 8 and 14 of a model: operator sets and metadata.
        let bytes = [many(number, &[]), field(7, &[])].concat();
        refused(|| OnnxModel::from_bytes(&bytes), &[expected]);
        // The memory limit covers the growing buffer into which `inspect` reads the file.
        let expected = "be read as ONNX either: more nodes or metadata than any model has";
        at_a_path(&bytes, |path| refused_within(2 * bytes.len() as u64, || inspect(path), &[expected]));
    }
}

/// A graph of slightly fewer nodes than the maximum is read, within the memory limit.
#[test]
fn messages_up_to_their_number() {
    let nodes = [10, 0].repeat((16 << 20) / 144 - 10);
    let bytes = [field(8, &[16, 17]), field(7, &nodes)].concat();
    let (read, peak_bytes) = engraft_hostile::peak(|| OnnxModel::from_bytes(&bytes));
    assert!(read.is_ok() && peak_bytes < 40 << 20, "{peak_bytes}: {read:?}");
}
