//! What a file may make its reader hold.

/// The least of any file, so that small files of highly compressible values can be read.
const FLOOR: u64 = 64 << 20;

/// Values may take this many times the bytes of the file. Stored as f16 they double, and gzip
/// shrinks trained weights by a fifth; the rest is room for runs of zeros, such as fresh
/// optimizer slots. Deflate could reach 1032, which only a bomb needs.
const RATIO: u64 = 16;

/// Bytes that may be made of a file of `len` bytes on the disk, however often it is unpacked.
pub(crate) fn of_file(len: u64) -> u64 {
    len.saturating_mul(RATIO).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_still_has_room() {
        assert_eq!(of_file(100), FLOOR);
        assert_eq!(of_file(1 << 30), 16 << 30);
        assert_eq!(of_file(u64::MAX), u64::MAX);
    }
}
