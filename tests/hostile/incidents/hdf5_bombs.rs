//! HDF5 decompression bombs: compressed zeros, chunks without data, and many datasets that are large together.

use engraft_formats::h5::H5File;
use engraft_hostile::peak;

use super::{data, refused};

#[test]
fn declared_sizes_are_counted_before_anything_is_allocated() {
    let file = H5File::open(&data("shape_bomb.h5")).unwrap();
    for name in ["unwritten", "zeros", "one_huge_chunk", "overflowing"] {
        refused(|| file.read_f32(name), &[&format!("`{name}`: declares "), " bytes, but only 67108864 are left"]);
    }
}

/// An empty dataset of shape [2^40, 2^40, 0]: the product of the first two axes overflows.
#[test]
fn an_empty_dataset_may_not_overflow() {
    let file = H5File::open(&data("overflowing_nothing.h5")).unwrap();
    let expected = "`nothing`: damaged or unsupported: shape [1099511627776, 1099511627776, 0] is too large";
    refused(|| file.read_f32("nothing"), &[expected]);
    refused(|| file.read_i64("nothing"), &[expected]);
}

/// Each dataset fits into the file's budget alone, but all together exceed it.
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

/// A buffer for a chunk is allocated before its bytes are read, so the chunk's size must be checked first.
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

/// A chunk offset that overflowed when the position in the dataset was computed.
#[test]
fn a_chunk_lies_within_its_dataset() {
    let mut bytes = std::fs::read(data("many_small_bombs.h5")).unwrap();
    let node = bytes.windows(5).position(|window| window == b"TREE\x01").unwrap();
    // The chunk's offset, after its size and its filter mask.
    bytes[node + 32..node + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    let file = H5File::from_bytes(bytes).unwrap();
    let expected = "`chunked`: damaged or unsupported: a chunk at [18446744073709551615] of shape [100]";
    refused(|| file.read_f32("chunked"), &[expected]);
}

/// A thousand links to one dataset with a header of 60 KB: the headers of all members would take 60 MB.
#[test]
fn links_that_share_a_header_do_not_multiply_it() {
    let path = data("shared_header.h5");
    let len = path.metadata().unwrap().len();
    let ((), peak_bytes) = peak(|| {
        let file = H5File::open(&path).unwrap();
        assert_eq!(file.children("layers").unwrap().len(), 1000);
        assert_eq!(file.read_f32("layers/999").unwrap().1, [1.0]);
    });
    assert!(len < 200 << 10 && peak_bytes < 4 << 20, "{peak_bytes} bytes for a file of {len}");
}
