//! Reads small files of every format, truncated at every length, and with each bit flipped.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Cursor;

use engraft_formats::keras;
use engraft_hostile::{Reader, cached_photos, reader};

/// The smallest valid file of a reader.
fn smallest(reader: &Reader) -> Vec<u8> {
    let accepted = (reader.valid)().into_iter().filter(|bytes| reader.check(bytes));
    accepted.min_by_key(Vec::len).unwrap()
}

/// Asserts that every truncated file is refused.
fn truncate(name: &str) {
    let reader = reader(name);
    let bytes = smallest(reader);
    for len in 0..bytes.len() {
        assert!(!reader.check(&bytes[..len]), "{name}: {len} of {} bytes", bytes.len());
    }
}

/// Reads the file with one bit flipped, for each bit. Returns the numbers of refused files and of bits.
fn flip(name: &str) -> (usize, usize) {
    let reader = reader(name);
    let mut bytes = smallest(reader);
    let bits = bytes.len() * 8;
    let mut refused = 0;
    for at in 0..bits {
        let bit = 1 << (at % 8);
        bytes[at / 8] ^= bit;
        refused += usize::from(!reader.check(&bytes));
        bytes[at / 8] ^= bit;
    }
    (refused, bits)
}

macro_rules! damaged {
    ($($name:ident),*) => {
        mod cut_short_at_every_length {
            $(#[test]
            fn $name() {
                super::truncate(stringify!($name));
            })*
        }

        mod every_bit_flipped {
            $(#[test]
            fn $name() {
                let (refused, all) = super::flip(stringify!($name));
                // Without checksums, a changed value is still valid. Changed offsets and sizes must be refused.
                assert!(refused > 0 && refused <= all, "{refused} of {all} refused");
            })*
        }
    };
}

damaged!(keras, model_h5, weights_h5, safetensors, onnx, npy, npz, cache_pack, architecture, inspect);

/// Most bits of such a file are text, in which many other texts are valid, too: it is enough that nothing panics.
fn flip_and_truncate(name: &str) {
    let (refused, all) = flip(name);
    assert!(refused > 0 && refused < all, "{refused} of {all} refused");
    let reader = reader(name);
    for bytes in (reader.valid)() {
        (0..bytes.len()).for_each(|length| {
            reader.check(&bytes[..length]);
        });
    }
}

#[test]
fn a_label_file_with_any_bit_flipped_or_cut_short_is_read_or_refused() {
    flip_and_truncate("label_file");
}

#[test]
fn class_names_with_any_bit_flipped_or_cut_short_are_read_or_refused() {
    flip_and_truncate("class_names");
}

/// Many short names, deep nesting and long names: the reader's memory is limited.
#[test]
fn many_class_names_and_deep_layers_are_refused() {
    let names = reader("class_names");
    let layers = reader("architecture");
    let numbers = (0..600_000).map(|name| format!("{name}\n")).collect::<String>();
    let list = format!("[{}]", vec!["\"\""; 1 << 20].join(","));
    for (reader, text) in [
        (names, numbers),
        (names, "a\n".repeat(1 << 21)),
        (names, list.clone()),
        (names, format!("{{{}}}", vec!["\"\":0"; 1 << 19].join(","))),
        (names, "[".repeat(1 << 21)),
        (layers, list),
        (layers, "{\"class_name\":".repeat(1 << 17)),
        (layers, " ".repeat(9 << 20)),
    ] {
        assert!(!reader.check(text.as_bytes()), "{}: {}", reader.name, &text[..20]);
    }
}

/// The checksums of a zip archive detect changed weights.
#[test]
fn a_damaged_archive_is_refused_or_has_its_weights() {
    let mut bytes = smallest(reader("keras"));
    let weights = |bytes: &[u8]| {
        let archive = keras::read(Cursor::new(bytes.to_vec())).ok()?;
        Some(archive.model.weights().iter().map(|weight| weight.values().clone()).collect::<Vec<_>>())
    };
    let original = weights(&bytes).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        assert!(weights(&bytes).is_none_or(|weights| weights == original), "byte {at}");
        bytes[at] ^= 0x10;
    }
}

/// A damaged entry of the feature cache, or a whole damaged pack, is missing: its photo is computed again.
#[test]
fn a_damaged_pack_never_gives_other_values() {
    let mut bytes = (reader("cache_pack").valid)().into_iter().max_by_key(Vec::len).unwrap();
    let original = cached_photos(&bytes).unwrap();
    assert_eq!(original.len(), 3);
    let values_start = bytes.len() - 3 * 24 * 4;
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        let left = cached_photos(&bytes).unwrap_or_default();
        assert!(left.iter().all(|entry| original.contains(entry)), "byte {at}");
        assert_eq!(left.len(), if at < values_start { 0 } else { 2 }, "byte {at}");
        bytes[at] ^= 0x10;
    }
}

/// Headers that declare another number of entries or values than the file has. The reader's memory is limited.
#[test]
fn a_pack_that_declares_much_is_missing() {
    let reader = reader("cache_pack");
    for valid in (reader.valid)() {
        for (at, number) in [(40, u32::MAX), (40, 1 << 20), (40, 0), (44, u32::MAX), (44, 1 << 28), (44, 0)] {
            let mut bytes = valid.clone();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert!(!reader.check(&bytes), "{number} at {at}");
        }
    }
}
