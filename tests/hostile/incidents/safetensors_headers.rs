//! Malformed safetensors headers: huge lengths, offsets that overlap, leave holes or point outside, sizes that overflow.

use std::io::Cursor;

use engraft_formats::safetensors::SafetensorsFile;

use super::{refused, refused_within};

fn file(length: u64, header: &str, values: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], header.as_bytes(), values].concat()
}

#[track_caller]
fn header_refused(header: &str, expected: &str) {
    let bytes = file(header.len() as u64, header, &[0; 16]);
    refused(|| SafetensorsFile::new(Cursor::new(bytes)), &[expected]);
}

#[test]
fn a_length_beyond_the_file_or_reason() {
    for length in [3, 1 << 30, u64::MAX / 2, u64::MAX] {
        let bytes = file(length, "{}", &[]);
        let expected = format!("header: expected at most 2 bytes, in a file of 10, received {length}");
        refused(|| SafetensorsFile::new(Cursor::new(bytes)), &[&expected, "hint: "]);
    }
    // A header above the maximum, although the file contains all of its bytes.
    let spaces = " ".repeat(17 << 20);
    let bytes = file(spaces.len() as u64, &spaces, &[]);
    let file = Cursor::new(bytes);
    refused(|| SafetensorsFile::new(file), &["header: expected at most 16777216 bytes"]);
}

#[test]
fn offsets_that_overlap_leave_holes_or_point_outside() {
    let two = |first: [u64; 2], second: [u64; 2]| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{first:?}}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{second:?}}}}}"#
        )
    };
    for (first, second) in
        [([0, 8], [4, 12]), ([0, 8], [0, 8]), ([0, 8], [12, 20]), ([8, 16], [16, 24]), ([8, 0], [8, 16])]
    {
        header_refused(&two(first, second), "offset");
    }
    header_refused(&two([0, 8], [u64::MAX - 7, u64::MAX]), "offset");
    let one = r#"{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}"#;
    header_refused(one, "tensors: expected 32 bytes after the header, received 16");
}

#[test]
fn sizes_that_overflow() {
    for shape in ["[4611686018427387904,4]", "[18446744073709551615]", "[4294967296,4294967296,4294967296]"] {
        header_refused(
            &format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,16]}}}}"#),
            "header: expected JSON of tensors",
        );
    }
    header_refused(r#"{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#, "header: expected JSON of tensors");
    header_refused(
        r#"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]}}"#,
        "header: expected JSON",
    );
}

/// Readers differ in which of two tensors with the same name they use.
#[test]
fn two_tensors_of_one_name() {
    let tensor = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let again = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#;
    header_refused(&format!("{{{tensor},{again}}}"), "tensor `a`: occurs twice in the header");
    let same = r#""a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#;
    header_refused(&format!("{{{same},{same}}}"), "tensor `a`: occurs twice in the header");
}

#[test]
fn nesting() {
    header_refused(&"[".repeat(100_000), "header: expected JSON of tensors");
    header_refused(&r#"{"a":"#.repeat(100_000), "header: expected JSON of tensors");
}

/// Many empty tensors: the parsed header may take at most 20 times the memory of its text.
#[test]
fn many_tensors_of_nothing() {
    let tensors: Vec<String> = (0..100_000)
        .map(|number| format!(r#""{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    let bytes = file(header.len() as u64, &header, &[0; 4]);
    let memory = 20 * bytes.len() as u64;
    refused_within(
        memory,
        || SafetensorsFile::new(Cursor::new(bytes)),
        &["expected 0 bytes after the header, received 4"],
    );
}
