//! Messages in messages in …, or groups in groups, overran the stack of a protobuf reader.

use engraft_formats::inspect::inspect;
use engraft_formats::onnx;

use super::{refused, refused_within};

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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.onnx");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(inspect(&path).unwrap().arrays, []);
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
