//! Messages in messages in …, or groups in groups, overran the stack of a protobuf reader; many beside each other overrun
//! its memory.

use engraft_formats::inspect::inspect;
use engraft_formats::onnx;
use engraft_interpreter::OnnxModel;

use super::{at_a_path, refused, refused_within};

/// A length-delimited field of this number.
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

/// A node whose attribute holds a graph, whose node's attribute holds a graph, …, `depth` times; the last has an
/// initializer. Such graphs are the bodies of loops.
fn nested(depth: usize) -> Vec<u8> {
    let graph = (0..depth).fold(field(5, &field(8, b"x")), |graph, _| field(1, &field(5, &field(6, &graph))));
    field(7, &graph)
}

#[test]
fn graphs_in_graphs_are_passed_over() {
    let bytes = nested(10_000);
    let ((), held) = engraft_hostile::peak(|| assert_eq!(onnx::initializers_from_bytes(&bytes).unwrap(), []));
    assert!(held < 1 << 10, "{held}");
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

/// Messages of two bytes each, which take up to a hundred and more in memory: none is decoded.
#[test]
fn messages_without_number() {
    let many = |number: u8, depth: &[u8]| {
        depth.iter().rev().fold([number << 3 | 2, 0].repeat(8_000_000), |inside, &number| field(number, &inside))
    };
    let expected = "ONNX: more beside its weights than any model has";
    for graph in [
        // Nodes; their inputs, attributes and numbers; inputs of the graph; axes of its inputs and outputs.
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
        // Sets of operators, metadata.
        let bytes = [many(number, &[]), field(7, &[])].concat();
        refused(|| OnnxModel::from_bytes(&bytes), &[expected]);
        // The file itself, growing.
        let expected = "read as ONNX, more beside its weights than any model has";
        at_a_path(&bytes, |path| refused_within(2 * bytes.len() as u64, || inspect(path), &[expected]));
    }
}

/// As many as are allowed.
#[test]
fn messages_up_to_their_number() {
    let nodes = [10, 0].repeat((16 << 20) / 144 - 10);
    let bytes = [field(8, &[16, 17]), field(7, &nodes)].concat();
    let (read, held) = engraft_hostile::peak(|| OnnxModel::from_bytes(&bytes));
    assert!(read.is_ok() && held < 40 << 20, "{held}: {read:?}");
}
