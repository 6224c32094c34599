//! Datasets that grow when they are read: compressed zeros, chunks never written, sizes that only the file's budget ends.

use engraft_formats::h5::H5File;

use super::{data, refused};

#[test]
fn declared_sizes_are_counted_before_anything_is_allocated() {
    let file = H5File::open(&data("shape_bomb.h5")).unwrap();
    for name in ["unwritten", "zeros", "one_huge_chunk", "overflowing"] {
        refused(|| file.read_f32(name), &[&format!("`{name}`: declares "), " bytes, but only 67108864 are left"]);
    }
}

/// Nothing, of a shape whose first axes alone can't be multiplied.
#[test]
fn an_empty_dataset_may_not_overflow() {
    let file = H5File::open(&data("overflowing_nothing.h5")).unwrap();
    let expected = "`nothing`: damaged or unsupported: shape [1099511627776, 1099511627776, 0] is too large";
    refused(|| file.read_f32("nothing"), &[expected]);
    refused(|| file.read_i64("nothing"), &[expected]);
}

/// None of them is too large alone.
#[test]
fn the_budget_is_that_of_the_whole_file() {
    let file = H5File::open(&data("many_small_bombs.h5")).unwrap();
    for index in 0..4 {
        assert_eq!(file.read_f32(&format!("unwritten{index}")).unwrap().0, [1 << 22]);
    }
    refused(
        || file.read_f32("unwritten4"),
        &["`unwritten4`: declares 16777216 bytes, but only 0 are left of the budget"],
    );
    refused(|| file.read_f32("chunked"), &["`chunked`: declares ", "raise the budget"]);
}

/// Room for a stored chunk is made before its bytes are found missing.
#[test]
fn a_chunk_longer_than_the_file_makes_no_room_for_itself() {
    let mut bytes = std::fs::read(data("many_small_bombs.h5")).unwrap();
    // A node of the B-tree over chunks: signature, type 1, 22 bytes of header, then the first chunk's stored size.
    let node = bytes.windows(5).position(|window| window == b"TREE\x01").unwrap();
    bytes[node + 24..node + 28].copy_from_slice(&u32::MAX.to_le_bytes());
    let expected =
        format!("`chunked`: damaged or unsupported: a chunk of 4294967295 bytes in a file of {}", bytes.len());
    let file = H5File::from_bytes(bytes).unwrap();
    refused(|| file.read_f32("chunked"), &[&expected]);
}

/// Where its values go overflowed.
#[test]
fn a_chunk_lies_within_its_dataset() {
    let mut bytes = std::fs::read(data("many_small_bombs.h5")).unwrap();
    let node = bytes.windows(5).position(|window| window == b"TREE\x01").unwrap();
    // After the chunk's size and its filters.
    bytes[node + 32..node + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    let file = H5File::from_bytes(bytes).unwrap();
    let expected = "`chunked`: damaged or unsupported: a chunk at [18446744073709551615] of shape [100]";
    refused(|| file.read_f32("chunked"), &[expected]);
}
