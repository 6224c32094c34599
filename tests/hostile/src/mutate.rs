//! Random changes to bytes and to JSON documents.

use fastrand::Rng;
use serde_json::{Value, json};

/// Numbers that often reveal errors in sizes, counts and offsets.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    1 << 20,
    0x7fff_ffff,
    0xffff_fff0,
    0xffff_ffff,
    1 << 40,
    (1 << 63) - 1,
    u64::MAX,
];

/// Changes `bytes` one to four times. Inserted pieces may come from `donor`, another file of the same format.
pub(crate) fn bytes(bytes: &mut Vec<u8>, donor: &[u8], rng: &mut Rng) {
    for _ in 0..rng.usize(1..=4) {
        if rng.u8(..) < 180 { in_place(bytes, rng) } else { resize(bytes, donor, rng) }
    }
}

/// Changes `bytes` without changing their number.
pub(crate) fn in_place(bytes: &mut [u8], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..6) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => put(&mut bytes[at..], NUMBERS[rng.usize(..NUMBERS.len())], rng),
        3 => {
            let width = 1 << rng.u8(..4);
            let old = bytes[at..].iter().take(width).rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
            for (byte, new) in bytes[at..].iter_mut().zip(&near(old, rng).to_le_bytes()[..width]) {
                *byte = *new;
            }
        }
        4 => digit(bytes, at, rng),
        _ => {
            let size = rng.usize(..=(bytes.len() - at).min(64));
            let from = rng.usize(..=bytes.len() - size);
            bytes.copy_within(from..from + size, at);
        }
    }
}

/// Writes a number in 1, 2, 4 or 8 bytes, in either byte order, truncated at the end of `bytes`.
fn put(bytes: &mut [u8], number: u64, rng: &mut Rng) {
    let width = 1 << rng.u8(..4);
    let mut number = number.to_le_bytes()[..width].to_vec();
    if rng.bool() {
        number.reverse();
    }
    bytes.iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
}

fn near(number: u64, rng: &mut Rng) -> u64 {
    let by = rng.u64(1..=16);
    if rng.bool() { number.wrapping_add(by) } else { number.wrapping_sub(by) }
}

/// Changes the first ASCII digit from `at` on.
fn digit(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
        *digit = b'0' + rng.u8(..10);
    }
}

/// Truncates, removes, repeats or inserts pieces.
fn resize(bytes: &mut Vec<u8>, donor: &[u8], rng: &mut Rng) {
    let piece = |len: usize, rng: &mut Rng| {
        let (start, most) = (rng.usize(..=len), if rng.bool() { 16 } else { 512 });
        start..start + rng.usize(..=most.min(len - start))
    };
    match rng.u8(..6) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 => drop(bytes.drain(piece(bytes.len(), rng))),
        2 => {
            let (piece, at) = (bytes[piece(bytes.len(), rng)].to_vec(), rng.usize(..=bytes.len()));
            bytes.splice(at..at, piece);
        }
        3 => {
            let (into, from) = (piece(bytes.len(), rng), piece(donor.len(), rng));
            bytes.splice(into, donor[from].iter().copied());
        }
        4 => {
            bytes.truncate(rng.usize(..=bytes.len()));
            bytes.extend_from_slice(&donor[rng.usize(..=donor.len())..]);
        }
        _ => bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(8).collect::<Vec<_>>()),
    }
}

/// Changes a JSON document one to three times. It stays valid JSON.
pub(crate) fn json(document: &mut Value, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=3) {
        let mut places = Vec::new();
        find(document, String::new(), &mut places);
        let (at, from) = (&places[rng.usize(..places.len())], &places[rng.usize(..places.len())]);
        let other = document.pointer(from).cloned().unwrap_or_default();
        if let Some(value) = document.pointer_mut(at) {
            change(value, other, rng);
        }
    }
}

/// Collects the JSON pointers of all values.
fn find(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, inner)| find(inner, format!("{place}/{i}"), places))
        }
        Value::Object(object) => object.iter().for_each(|(name, inner)| {
            find(inner, format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), places);
        }),
        _ => {}
    }
    places.push(place);
}

fn change(value: &mut Value, other: Value, rng: &mut Rng) {
    match (rng.u8(..6), &mut *value) {
        (0 | 1, Value::Array(list)) if !list.is_empty() => {
            let (at, with) = (rng.usize(..list.len()), rng.usize(..list.len()));
            match rng.u8(..4) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[at].clone()),
                2 => list.insert(at, other),
                _ => list.swap(at, with),
            }
        }
        (0 | 1, Value::Object(object)) if !object.is_empty() => {
            let name = object.keys().nth(rng.usize(..object.len())).cloned().unwrap_or_default();
            let old = object.remove(&name).unwrap_or_default();
            match rng.u8(..3) {
                0 => {}
                1 => drop(object.insert(format!("{name}_"), old)),
                _ => drop(object.insert(name, other)),
            }
        }
        (0..=2, Value::Number(number)) => {
            let number = number.as_i64().unwrap_or_default();
            *value = match rng.u8(..4) {
                0 => json!(NUMBERS[rng.usize(..NUMBERS.len())]),
                1 => json!(number.wrapping_neg()),
                2 => json!(number.wrapping_add(rng.i64(-3..=3))),
                _ => json!(number as f64 + 0.5),
            };
        }
        (0 | 1, Value::String(text)) => bytes_of(text, rng),
        (2, _) => *value = other,
        (3, _) => *value = (0..rng.usize(1..60)).fold(value.take(), |inner, _| json!([inner])),
        _ => {
            let odd = [
                json!(null),
                json!(true),
                json!(0),
                json!(-1),
                json!(1e308),
                json!(u64::MAX),
                json!(1 << 24),
                json!(""),
                json!("../../x"),
                json!("é\u{0}"),
                json!([]),
                json!({}),
                json!([null, 8]),
                json!("x".repeat(300)),
            ];
            *value = odd[rng.usize(..odd.len())].clone();
        }
    }
}

/// Changes a string. It stays valid UTF-8.
fn bytes_of(text: &mut String, rng: &mut Rng) {
    let mut changed = std::mem::take(text).into_bytes();
    bytes(&mut changed, b"Lambda", rng);
    *text = String::from_utf8_lossy(&changed).into_owned();
}
