//! Recognition of files by their first bytes.

use super::Foreign;

/// The beginning of a file that PyTorch before 1.6 wrote: a pickle of its magic number.
const PICKLED_BY_PYTORCH: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The kind of a file that starts like this; `None` for a model and for any other file.
pub(super) fn kind(start: &[u8]) -> Option<Foreign> {
    let at = |position: usize, signature: &[u8]| start.get(position..).is_some_and(|rest| rest.starts_with(signature));
    let found = if start.is_empty() {
        Foreign::Empty
    } else if at(0, b"version https://git-lfs.github.com/spec/") {
        Foreign::GitLfsPointer
    } else if at(0, PICKLED_BY_PYTORCH) || is_zip_of_pytorch(start) {
        Foreign::PyTorch
    } else if at(4, b"TFL3") {
        Foreign::TensorFlowLite
    } else if at(0, b"\x1f\x8b") || at(257, b"ustar") {
        Foreign::TarArchive
    } else if is_web_page(start) {
        Foreign::WebPage
    } else if at(0, b"{") && has(start, b"\"modelTopology\"") {
        Foreign::TensorFlowJs
    } else if at(0, b"{") && has(start, b"\"class_name\"") {
        Foreign::ArchitectureJson
    } else if at(4, &[0; 4]) && at(8, b"{") {
        Foreign::Safetensors
    } else if is_saved_model(start) {
        Foreign::SavedModel { of_keras_2: false }
    } else if matches!(start, [0x08, 1..=20, 0x12 | 0x1a | 0x3a | 0x42, ..]) {
        // ONNX has no signature. Its first field is ir_version; producer, graph or operator sets follow.
        Foreign::Onnx
    } else if is_graph(start) {
        Foreign::TensorFlowGraph
    } else {
        return None;
    };
    Some(found)
}

fn is_zip_of_pytorch(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") && has(start, b"/data.pkl")
}

fn has(start: &[u8], part: &[u8]) -> bool {
    start.windows(part.len()).any(|window| window == part)
}

/// Whether this is an HTML page, or an error message that a server sent in place of a file: XML of a cloud storage, or plain text of
/// GitHub or Hugging Face.
fn is_web_page(start: &[u8]) -> bool {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html", b"<?xml", b"404: not found", b"not found", b"entry not found"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|opening| opening.eq_ignore_ascii_case(tag)))
}

/// Whether this is a `SavedModel` message: version 1, then a `MetaGraphDef` that starts with its `MetaInfoDef`.
///
/// An ONNX model of version 1 has the same three bytes, but then text.
fn is_saved_model(start: &[u8]) -> bool {
    start
        .strip_prefix(&[0x08, 0x01])
        .and_then(|rest| after_length(rest, 0x12))
        .is_some_and(|(_, graph)| graph.first() == Some(&0x0a))
}

/// Whether this is a `GraphDef` message: a `NodeDef` that starts with its name and its operation.
fn is_graph(start: &[u8]) -> bool {
    let operation = || {
        let (_, node) = after_length(start, 0x0a)?;
        let (length, name) = after_length(node, 0x0a)?;
        let (length, operation) = after_length(name.get(length..)?, 0x12)?;
        operation.get(..length)
    };
    operation().is_some_and(|name| name.first().is_some_and(u8::is_ascii_uppercase) && name.is_ascii())
}

/// The length of a protobuf field with this tag, and the bytes after the length.
fn after_length(bytes: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let bytes = bytes.strip_prefix(&[tag])?;
    // A varint: seven bits a byte, the lowest first; the last byte is below 128.
    let last = bytes.iter().take(5).position(|&byte| byte < 0x80)?;
    let length = bytes[..=last].iter().rev().fold(0, |length, &byte| length << 7 | usize::from(byte & 0x7f));
    Some((length, &bytes[last + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let mut tar = [0; 300];
        tar[257..262].copy_from_slice(b"ustar");
        for (start, expected) in [
            (&b""[..], Some(Foreign::Empty)),
            (b"version https://git-lfs.github.com/spec/v1\noid", Some(Foreign::GitLfsPointer)),
            (b"version 2", None),
            (b"\x1c\0\0\0TFL3\0\0", Some(Foreign::TensorFlowLite)),
            (b"\x1f\x8b\x08\0", Some(Foreign::TarArchive)),
            (&tar, Some(Foreign::TarArchive)),
            (b"\xef\xbb\xbf\n<!DOCTYPE html>", Some(Foreign::WebPage)),
            (b"<html lang=", Some(Foreign::WebPage)),
            (b"<svg", None),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied", Some(Foreign::WebPage)),
            (b"404: Not Found", Some(Foreign::WebPage)),
            (b"Entry not found", Some(Foreign::WebPage)),
            (b"{\"format\": \"layers-model\", \"modelTopology\": {\"class_name\"", Some(Foreign::TensorFlowJs)),
            (b"{\"class_name\": \"Functional\"", Some(Foreign::ArchitectureJson)),
            (b"{\"loss\": 1}", None),
            (b"\x40\0\0\0\0\0\0\0{\"a\":{}}", Some(Foreign::Safetensors)),
            // As TensorFlow 2.20 writes them: a SavedModel, and the graph of one placeholder.
            (b"\x08\x01\x12\xc8\xb7\x01\x0a\xaa\x11", Some(Foreign::SavedModel { of_keras_2: false })),
            (b"\x0a\x1d\x0a\x01x\x12\x0bPlaceholder*\x0b", Some(Foreign::TensorFlowGraph)),
            (b"\x0a\x1d\x0a\x01x\x12\x0bplaceholder*\x0b", None),
            (b"\x08\x08\x12\x07pytorch", Some(Foreign::Onnx)),
            (b"\x08\x0e\x3a\xd5\x01\x0a", Some(Foreign::Onnx)),
            (b"\x08\x01\x12\x07caffe2x", Some(Foreign::Onnx)),
            (b"\x0a\xff\xff\xff\xff\xff\xff", None),
            (b"\x0a", None),
            (b"\x89HDF\r\n\x1a\n", None),
            (b"PK\x03\x04", None),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02", Some(Foreign::PyTorch)),
            (b"\x80\x02}q\0.", None),
            (b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl\x80\x02", Some(Foreign::PyTorch)),
        ] {
            assert_eq!(kind(start), expected, "{start:?}");
        }
    }
}
